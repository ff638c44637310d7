"""`orchestrator api` and `orchestrator openapi`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.output import print_json, stderr
from orchestrator.settings import load_settings
from orchestrator.telemetry.logging import configure_logging


def api(
    *,
    address: Annotated[str | None, typer.Option(help="To listen on; default: api_address.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: the setting api_port.")] = None,
) -> None:
    """Serve REST over HTTP until Ctrl-C; the documentation of it is at /docs."""
    from orchestrator.api.serving import serve

    given = {"api_address": address, "api_port": port}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    where = f"http://{settings.api_address}:{settings.api_port}"
    stderr.print(f"REST at {where}, documented at {where}/docs; Ctrl-C ends it", style="dim")
    serve(settings)


def openapi() -> None:
    """Print the OpenAPI document of the REST interface."""
    from orchestrator.api.app import make_app
    from orchestrator.wiring import version
    from orchestrator.wiring_services import open_services

    settings = load_settings()
    app = make_app(
        lambda: open_services(settings), version=version(), wants_keys=True,
        max_input_bytes=settings.max_input_bytes,
    )  # fmt: skip
    print_json(app.openapi())
