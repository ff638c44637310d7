"""`orchestrator up` and `orchestrator worker`."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.output import JsonFlag, print_json, stderr, stdout
from orchestrator.embedded.address import free_port, is_free, is_loopback
from orchestrator.embedded.supervise import StopRequested, Supervisor, UpOptions
from orchestrator.embedded.workers import worker_argv
from orchestrator.errors import InvalidSetting, Problem, Unavailable
from orchestrator.settings import Settings, load_settings
from orchestrator.telemetry.logging import configure_logging
from orchestrator.telemetry.redact import address_of


def up(
    *,
    workers: Annotated[int, typer.Option(min=0, max=256, help="Worker processes.")] = 2,
    flower: Annotated[bool, typer.Option(help="Start Flower as well.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Start broker, workers and Flower, and keep them running until Ctrl-C.

    Without a broker address in the settings, an embedded Valkey is started; its data, all logs
    and up.json are in the state folder.
    """
    configure_logging(level="INFO")
    settings = load_settings()
    stop = StopRequested().install()
    supervisor = Supervisor(up_options(settings, workers=workers, flower=flower))
    supervisor.start()
    try:
        _announce(supervisor, settings, as_json=as_json)
        failure = supervisor.run(until=stop)
    finally:
        if not as_json:
            stderr.print("ending: workers hand their runs back …", style="dim")
        supervisor.stop()
    if failure:
        raise Unavailable("broker", address_of(supervisor.broker_url), failure)


def up_options(settings: Settings, *, workers: int, flower: bool = True) -> UpOptions:
    """What to start, by the settings. A taken default Flower port is replaced by a free one."""
    return UpOptions(
        state_dir=settings.state_dir,
        workers=workers,
        broker_url=settings.broker_url,
        database_url=address_of(settings.database),
        flower=flower,
        flower_host=settings.flower_address,
        flower_port=_flower_port(settings),
        flower_basic_auth=settings.flower_basic_auth,
        worker_log_level=settings.log_level,
    )


def _flower_port(settings: Settings) -> int:
    wanted = settings.flower_port
    if wanted and is_free(wanted, settings.flower_address):
        return wanted
    chosen = "flower_port" in settings.model_fields_set
    if wanted and (chosen or not is_loopback(settings.flower_address)):
        raise InvalidSetting(
            "Flower was not started",
            problems=[
                Problem(
                    place="setting flower_port",
                    found=f"{wanted}, which another program is using",
                    wanted="a free port, or 0 for any",
                )
            ],
        )
    return free_port()


def _announce(supervisor: Supervisor, settings: Settings, *, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "broker": address_of(supervisor.broker_url),
        "database": address_of(settings.database),
        "flower": supervisor.flower_url,
        "workers": {child.spec.name: child.pid for child in supervisor.workers},
        "logs": str(settings.state_dir / "logs"),
    }
    if as_json:
        print_json(facts)
    else:
        stdout.print(_draw(facts))


def _draw(facts: dict[str, Any]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        text = (
            ", ".join(f"{key} (pid {pid})" for key, pid in value.items())
            if name == "workers"
            else value
        )
        grid.add_row(Text(name, style="dim"), Text(text or "none"))
    return Group(Text("up", style="bold green"), grid, Text("Ctrl-C ends all of it", style="dim"))


def worker(
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="Unique on this machine.")] = "",
    lanes: Annotated[
        str, typer.Option(help="Lanes to serve, with commas between; default: the setting.")
    ] = "",
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "",
) -> None:
    """Become one worker process; the same as `celery -A orchestrator worker`.

    Start one for each core. SIGTERM or one Ctrl-C is a warm shutdown: runs are handed back.
    """
    if lanes:
        wanted = [lane for lane in (each.strip() for each in lanes.split(",")) if lane]
        os.environ["ORCHESTRATOR_LANES"] = json.dumps(wanted)  # the process that this one becomes
    settings = load_settings()
    if settings.broker_urls:
        from orchestrator.wiring_brokers import broker_of_lanes

        broker_of_lanes(settings)  # refused here, where somebody reads it
    argv = worker_argv(name or f"w{os.getpid()}", log_level=log_level or settings.log_level)
    os.execv(sys.executable, argv)  # noqa: S606 -- one process, so that signals reach the worker
