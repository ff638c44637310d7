"""Run the REST face as a process."""

from __future__ import annotations

import uvicorn

from orchestrator.api.app import make_app
from orchestrator.api.guard import OwnPages
from orchestrator.console.frame import ROOT
from orchestrator.console.pages import add_console
from orchestrator.embedded.address import KEPT_SECONDS, is_loopback
from orchestrator.embedded.connections import Patience, bounded
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.settings import Settings
from orchestrator.wiring import version
from orchestrator.wiring_metrics import reading_pusher
from orchestrator.wiring_services import open_services


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises InvalidSetting where anybody could reach it keyless."""
    require_keys_elsewhere(settings)
    push = reading_pusher(settings, version())
    app = make_app(
        lambda: open_services(settings), version=version(), wants_keys=wants_keys(settings),
        max_input_bytes=settings.max_input_bytes, most_streams=settings.api_connections // 2,
        beside=None if push is None else lambda services: push(services.measuring),
    )  # fmt: skip
    add_console(
        app, lambda: app.state.services, wants_keys=wants_keys(settings),
        flower_url=settings.flower_url,
    )  # fmt: skip
    if wants_keys(settings):
        app.add_middleware(OwnPages, below=ROOT, public_url=settings.public_url)
    uvicorn.run(
        app, host=settings.api_address, port=settings.api_port, log_config=None,
        access_log=False, timeout_graceful_shutdown=round(settings.shutdown_grace_seconds),
        server_header=False, timeout_keep_alive=KEPT_SECONDS,
        http=bounded(Patience(connections=settings.api_connections)),
    )  # fmt: skip


def wants_keys(settings: Settings) -> bool:
    """Whether each request has to show a key."""
    return settings.api_auth == "keys"


def require_keys_elsewhere(settings: Settings) -> None:
    """Without keys only loopback is served. Raises InvalidSetting."""
    if not wants_keys(settings) and not is_loopback(settings.api_address):
        problem = Problem(
            place="setting api_auth", found=f"none, with api_address {settings.api_address}",
            wanted="keys (make one: orchestrator keys create NAME), or a loopback address",
        )  # fmt: skip
        raise InvalidSetting("the API was not started", problems=[problem])
