"""`orchestrator retention …`: delete what is old enough."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import current_user, with_services
from orchestrator.cli.spans import span_of
from orchestrator.errors import InvalidInput, Problem
from orchestrator.settings import load_settings
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from orchestrator.ports.retention import Retired
    from orchestrator.wiring_services import Services

app = typer.Typer(help="Delete finished runs that are old enough.", no_args_is_help=True)

_SUCH_AS = "90d, 12w or 36h"


@app.callback()
def retention() -> None:
    """Delete finished runs that are old enough."""


@app.command("run")
def run(
    *,
    older_than: Annotated[
        str, typer.Option(help="Time since they settled: 90d, 12w, 36h. Default: retention_days.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete succeeded, compensated and abandoned runs that settled so long ago, with all records.

    Runs that are under way or escalated stay, however old they are. Jobs that ended so long ago go
    as well. Where archive_url is set, runs are archived first, and only those go that are.
    """
    age = age_of(older_than)
    found = with_services(lambda services: _retire(services, age, dry_run))
    days = age / timedelta(days=1)
    value = {"older_than_days": days, "dry_run": dry_run, **plain(found)}
    answer(value, lambda: _draw(value), as_json=as_json)


async def _retire(services: Services, age: timedelta, dry_run: bool) -> Retired:
    if dry_run:
        return await services.retention.expired(older_than=age)
    return await services.retention.retire(older_than=age, by=current_user())


def age_of(given: str) -> timedelta:
    """How long ago runs have to have settled: as given, or as retention_days says.

    Raises InvalidInput.
    """
    if not given:
        kept = load_settings().keep_for
        if kept is None:
            raise _no_age()
        return kept
    # What is deleted is gone: a month must not be taken for a minute.
    return span_of(given, place="--older-than", units="hdw", such_as=_SUCH_AS)


def _no_age() -> InvalidInput:
    found = "nothing, and the setting retention_days is 0 (for ever)"
    problem = Problem(place="--older-than", found=found, wanted=f"a time such as {_SUCH_AS}")
    return InvalidInput("it is not known what is old", problems=[problem])


def _draw(value: dict[str, Any]) -> Text:
    says = "would go" if value["dry_run"] else "are gone"
    counted = ", ".join(
        f"{value[name]:,} {name}"
        for name in ("steps", "attempts", "audit", "escalations")
        if value[name]
    )
    dropped = ", ".join(value["partitions"])
    lines = [f"{value['runs']:,} runs that settled {value['older_than_days']:g} days ago {says}"]
    lines += [f"with {counted}"] if counted else []
    if value["jobs"]:
        lines.append(f"and {value['jobs']:,} jobs that ended then")
    lines += [f"dropped: {dropped}"] if dropped and not value["dry_run"] else []
    lines += [f"would be dropped: {dropped}"] if dropped and value["dry_run"] else []
    return Text("\n".join(lines))
