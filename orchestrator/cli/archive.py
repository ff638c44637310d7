"""`orchestrator archive …`: ended runs in files; whether they are whole, and what they tell."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from orchestrator.cli.audit import PublicKeys, add_chains, trusted_keys
from orchestrator.cli.output import EXIT_UNEXPECTED, JsonFlag, answer, stderr
from orchestrator.cli.retention import age_of
from orchestrator.cli.session import current_user, with_services
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from orchestrator.service.archive_erasing import ArchiveErased
    from orchestrator.service.archive_reading import ArchiveVerification
    from orchestrator.service.archiving import Archived, Archiving
    from orchestrator.wiring_services import Services

app = typer.Typer(
    help="Ended runs as Parquet files: write, verify and read them.", no_args_is_help=True
)

At = Annotated[
    str,
    typer.Option(
        "--at", metavar="URL", help="Of this archive, without a database. Default: archive_url."
    ),
]


@app.callback()
def archive() -> None:
    """Ended runs as Parquet files: write, verify and read them."""


@app.command("run")
def run(
    *,
    older_than: Annotated[
        str, typer.Option(help="Time since they settled: 90d, 12w, 36h. Default: retention_days.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Archive succeeded, compensated and abandoned runs that settled so long ago; delete nothing.

    `retention run`, and each worker where retention_days is set, do this before they delete.
    """
    age = age_of(older_than)

    async def act(services: Services) -> Archived:
        return await _configured(services).archive(older_than=age)

    done = with_services(act)
    days = age / timedelta(days=1)
    drawn = Text(
        f"{done.runs:,} runs that settled {days:,.6g} days ago are archived:"
        f" {done.batches:,} batches, {done.bytes:,} bytes"
    )
    answer(done, lambda: drawn, as_json=as_json)


@app.command("list")
def list_batches(*, as_json: JsonFlag = False) -> None:
    """List the batches that this database knows, with how many of their runs are still in it."""

    async def look(services: Services) -> list[dict[str, Any]]:
        return [
            {
                "batch": each.id, "tenant": each.tenant, "day": each.day,
                "still_here": len(each.heads), "manifest": each.manifest,
            }
            async for each in _configured(services).batches()
        ]  # fmt: skip

    found = with_services(look)
    answer(found, lambda: _draw_batches(found), as_json=as_json)


@app.command("verify")
def verify(*, at: At = "", public_key: PublicKeys = None, as_json: JsonFlag = False) -> None:
    """Read all of an archive: signatures, digests, each run's chain; exit code 1 if one is wrong.

    Without --at also whether each batch that the database knows is the one that was written.
    """
    keys = trusted_keys(public_key or ())
    from orchestrator.wiring_archive import archive_reading

    reading = archive_reading(load_settings(), at)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} runs"), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task("verify", total=None)
        found = asyncio.run(
            reading.verify(keys, seen=lambda runs: bar.update(task, completed=runs))
        )
    if not at:
        found.note(with_services(lambda services: _configured(services).lost()))
    value = {
        "whole": found.whole, "batches": found.batches, "unsigned_batches": found.unsigned_batches,
        "runs": found.runs, "records": found.records, "erased_records": found.erased_records,
        "older_records": found.older_records, "bytes": found.bytes, "broken": found.broken,
        "breaches": [{"place": b.place, "seq": b.seq, "what": b.what} for b in found.breaches],
    }  # fmt: skip
    answer(value, lambda: _draw(found), as_json=as_json)
    if not found.whole:
        raise typer.Exit(EXIT_UNEXPECTED)


@app.command("explain")
def explain(
    run: Annotated[str, typer.Argument(help="Its whole id.")],
    *,
    at: At = "",
    as_json: JsonFlag = False,
) -> None:
    """Tell what happened to a run that was archived, as `audit explain` does."""
    from orchestrator.api import reading as shapes
    from orchestrator.cli.draw_story import draw_story
    from orchestrator.wiring_archive import archive_reading

    told = asyncio.run(archive_reading(load_settings(), at).explain(run))
    found = shapes.archived_story(told)
    answer(found, lambda: draw_story(found), as_json=as_json)


@app.command("erase")
def erase(
    run: Annotated[str, typer.Argument(help="Its whole id.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in its audit.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Erase the payloads of a run that is in the archive alone; its audit can still be verified.

    Its batch is written anew without them. Runs that it began are runs of their own: each is erased
    by itself.
    """
    if not yes:
        typer.confirm(f"Erase all payloads of run {run}? They cannot be had back", abort=True)

    async def act(services: Services) -> ArchiveErased:
        if services.archive_erasing is None:
            raise _no_archive()
        return await services.archive_erasing.erase(run, by=current_user(), reason=reason)

    done = with_services(act)
    drawn = Text(
        f"written anew without the details of {done.records:,} records (batches: {done.batches})"
    )
    answer(done, lambda: drawn, as_json=as_json)


def _configured(services: Services) -> Archiving:
    if services.archiving is None:
        raise _no_archive()
    return services.archiving


def _no_archive() -> InvalidSetting:
    problem = Problem(place="setting archive_url", found="nothing", wanted="where the archive is")
    return InvalidSetting("there is no archive", problems=[problem])


def _draw_batches(found: list[dict[str, Any]]) -> Table | Text:
    if not found:
        return Text("no batch yet")
    table = Table("batch", "tenant", "day", "runs still here", box=None, pad_edge=False)
    for each in found:
        table.add_row(
            Text(each["batch"]), Text(each["tenant"]), each["day"], f"{each['still_here']:,}"
        )
    return table


def _draw(found: ArchiveVerification) -> Table:
    drawn = Table.grid(padding=(0, 2))
    drawn.add_row(f"{found.batches:,} batches", f"{found.bytes:,} bytes")
    drawn.add_row(f"{found.records:,} records", f"of {found.runs:,} runs")
    if found.unsigned_batches:
        drawn.add_row(
            f"{found.unsigned_batches:,} batches",
            "without a signature of a key known here: whoever can write to the archive can make"
            " them anew",
        )
    add_chains(drawn, found)
    return drawn
