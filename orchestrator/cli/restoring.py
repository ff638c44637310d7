"""`orchestrator restore-check`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import current_user, with_services
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from orchestrator.service.restoring import Doubted
    from orchestrator.wiring_services import Services


def restore_check(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be doubted, and write nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """After the database was restored from a backup, and before a worker is started.

    Whatever runs had ahead at the backup may have been done since: steps with a key are done again
    under it, others are asked about, and what nobody can ask stops with a person. Old messages and
    processes are refused from then on. Not for a database that was not restored: it would doubt
    what nobody did.
    """
    if not dry_run and not yes:
        typer.confirm(
            "Was this database restored, and are all workers stopped?", abort=True, err=True
        )
    found = with_services(lambda services: _doubt(services, dry_run))
    value = {"dry_run": dry_run, **plain(found)}
    answer(value, lambda: _draw(value), as_json=as_json)


async def _doubt(services: Services, dry_run: bool) -> Doubted:
    if dry_run:
        return await services.restoring.look()
    return await services.restoring.restore(by=current_user())


def _draw(value: dict[str, Any]) -> Text:
    says = "would be" if value["dry_run"] else "are"
    lines = [f"{value['runs']:,} runs had not ended, {value['escalated']:,} of them escalated."]
    if value["missing"]:
        lines.insert(0, f"The database went back: {value['missing']}.")
    lines.append(
        f"In doubt {says} {value['keyed']:,} links with a key (done again under it), "
        f"{value['asked']:,} of which the API is asked, "
        f"{value['people']:,} that only people can know."
    )
    if not value["dry_run"]:
        lines.append(
            "Workers may be started. Escalations follow where runs get to what nobody knows."
        )
    return Text("\n".join(lines))
