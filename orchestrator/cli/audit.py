"""`orchestrator audit …`: what happened to a run, and whether that is as it was written."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from orchestrator.cli.elsewhere import erased, erased_whole, on, sent
from orchestrator.cli.key_files import write_key_pair
from orchestrator.cli.output import EXIT_UNEXPECTED, JsonFlag, answer, stderr
from orchestrator.cli.session import as_look, current_user, with_services
from orchestrator.definitions.attribute_texts import parse_pairs
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import RunFilter
from orchestrator.service.exporting import ExportFormat
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from orchestrator.api.story_shapes import StoryShape, TogetherShape
    from orchestrator.client import Client
    from orchestrator.engine.signing import TrustedKeys
    from orchestrator.ports.auditing import Checkpoint
    from orchestrator.service.auditing import ChainsSeen, Kept, Verification
    from orchestrator.service.erasing import Erased
    from orchestrator.wiring_services import Services

app = typer.Typer(
    help="Tell a run's story from its audit; verify that it is as it was written.",
    no_args_is_help=True,
)

_KEPT = re.compile(r"(?P<number>[0-9]+):(?P<digest>[0-9a-f]{64})")
PublicKeys = Annotated[
    list[Path] | None,
    typer.Option("--public-key", help="A key whose signatures count (PEM). Repeatable."),
]


@app.callback()
def audit() -> None:
    """Tell a run's story from its audit; verify that it is as it was written."""


@app.command("verify")
def verify(
    *,
    run: Annotated[str, typer.Argument(help="A run; default: all, with the checkpoints.")] = "",
    public_key: PublicKeys = None,
    kept: Annotated[
        list[str] | None,
        typer.Option(help="NUMBER:DIGEST of a checkpoint that you kept elsewhere. Repeatable."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Find what was changed, left out, put elsewhere or cut off; exit code 1 if there is such."""
    wanted = [_kept(text) for text in kept or ()]
    keys = trusted_keys(public_key or ())
    found = with_services(lambda services: _verify(services, run, keys, wanted))
    value = _as_value(found)
    answer(value, lambda: _draw(found), as_json=as_json)
    if not found.whole:
        raise typer.Exit(EXIT_UNEXPECTED)


async def _verify(
    services: Services, run: str, keys: TrustedKeys, kept: Sequence[Kept]
) -> Verification:
    if run:
        return await services.auditing.verify_run((await services.runs.get(run)).id)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} runs"), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task("verify", total=None)
        return await services.auditing.verify(
            keys, kept=kept, seen=lambda runs: bar.update(task, completed=runs)
        )


@app.command("explain")
def explain(
    *,
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Its id, or the last 6 digits or more.")
    ] = "",
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="All runs that have it instead; repeatable."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Of those only this tenant's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell what happened to a run in plain words, with times and evidence.

    With --attribute: to the newest runs that have it, and what was done in them more than once.
    """
    _either(run, attribute)
    if attribute:
        which = RunFilter(attributes=parse_pairs("--attribute", attribute), tenant=tenant)
        _explain_all(which, as_json=as_json)
    else:
        _explain_one(run, as_json=as_json)


def _explain_one(run: str, *, as_json: bool) -> None:
    from orchestrator.api import reading
    from orchestrator.cli.draw_story import draw_story

    async def told(services: Services) -> StoryShape:
        return reading.story(await services.explaining.explain(run))

    found: StoryShape = with_services(as_look(told), remote=on("run", run, "story"))
    answer(found, lambda: draw_story(found), as_json=as_json)


def _explain_all(which: RunFilter, *, as_json: bool) -> None:
    from orchestrator.api import reading
    from orchestrator.cli.draw_story import draw_together

    async def told(services: Services) -> TogetherShape:
        return reading.together(await services.explaining.explain_all(which))

    asked = sent("stories", which.attributes or {}, tenant=which.tenant)
    found: TogetherShape = with_services(as_look(told), remote=asked)
    answer(found, lambda: draw_together(found), as_json=as_json)


@app.command("erase")
def erase(
    *,
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="One that has ended: its id, or its end.")
    ] = "",
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="All ended runs that have it; repeatable."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Of those only this tenant's.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Erase the payloads of runs for good; their audit can still be verified.

    With a run go those that its steps began: children, branches, items of maps.
    Inputs, requests, answers, reasons, attributes and details of the audit go.
    What stays: what happened when, who acted, and digests.
    """
    _either(run, attribute)
    meant = f"run {run}" if run else f"all ended runs with {' and '.join(attribute or ())}"
    if not yes:
        typer.confirm(f"Erase all payloads of {meant}? They cannot be had back", abort=True)

    wanted = parse_pairs("--attribute", attribute or [])

    async def act(services: Services) -> Erased:
        by = current_user()
        if run:
            return await services.erasing.erase_whole(run, by=by, reason=reason)
        return await services.erasing.erase_all(wanted, tenant=tenant, by=by, reason=reason)

    remote = (
        erased_whole(run, reason=reason) if run
        else erased(wanted, tenant=tenant, reason=reason)
    )  # fmt: skip
    done = with_services(act, remote=remote)
    below = f" and {done.parts:,} below them" if done.parts else ""
    lines = [
        f"{len(done.runs)} runs{below}: payloads erased, with the details of {done.records} records"
    ]
    lines += [f"{run_id}: not erased, since it has not ended" for run_id in done.under_way]
    answer(done, lambda: Text("\n".join(lines)), as_json=as_json)


def _either(run: str, attribute: list[str] | None) -> None:
    """Raises InvalidInput unless it is said once what is meant."""
    if bool(run) == bool(attribute):
        found = "both" if run else "neither"
        problem = Problem(place="arguments", found=found, wanted="a RUN, or --attribute NAME=VALUE")
        raise InvalidInput("it is not said what is meant", problems=[problem])


@app.command("export")
def export(
    *,
    since: Annotated[
        int, typer.Option(min=0, help="A checkpoint's number: what later ones cover; 0: all.")
    ] = 0,
    until: Annotated[
        int | None, typer.Option(min=0, help="The last checkpoint that is wanted.")
    ] = None,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="How each record is written.")
    ] = ExportFormat.JSONL,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant's runs alone.")] = None,
    cursor: Annotated[
        Path | None,
        typer.Option(help="A file that keeps --since: read first, written when all is out."),
    ] = None,
) -> None:
    """Write the audit to standard output, a JSON object a line; each record once, in order.

    Up to the newest checkpoint, whose number is told on standard error: the --since of next time.
    """
    if cursor is not None and cursor.exists():
        since = _kept_cursor(cursor)

    async def here(services: Services) -> int:
        upto = await services.exporting.reach(since, until=until)
        async for line in services.exporting.lines(since, upto, form, tenant=tenant):
            _write(line)
        return upto

    def there(client: Client) -> int:
        from orchestrator.client import ask

        asked = ask.export(since, until=until, form=form, tenant=tenant)
        with client.export(asked) as exported:
            for record in exported.records:
                _write(record)
        return exported.upto

    reached = with_services(as_look(here), remote=there)
    sys.stdout.flush()
    if cursor is not None:
        beside = cursor.with_name(cursor.name + ".new")
        beside.write_text(f"{reached}\n")
        beside.replace(cursor)
    stderr.print(f"up to checkpoint {reached}; what comes after it: --since {reached}")


def _write(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")


def _kept_cursor(file: Path) -> int:
    text = file.read_text().strip()
    if not text.isdecimal():
        problem = Problem(place=f"--cursor {file}", found=text[:40], wanted="a checkpoint's number")
        raise InvalidInput("that is no cursor of an export", problems=[problem])
    return int(text)


@app.command("checkpoint")
def checkpoint(
    *,
    everything: Annotated[
        bool, typer.Option(help="Look for uncovered runs among all, not only the new ones.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a checkpoint now, beside those that workers make, and print it to be kept elsewhere."""
    made = with_services(lambda services: services.checkpoints.make(everything=everything))
    if made is None:
        answer(None, lambda: Text("a worker is just making one"), as_json=as_json)
        return
    answer(_checkpoint_value(made), lambda: Text(_told(made)), as_json=as_json)


@app.command("new-key")
def new_key(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; FILE.pub: the other.")],
) -> None:
    """Make a key pair for the checkpoints; name the private one in `audit_key` as file:/path."""
    beside, _ = write_key_pair(file)
    typer.echo(f"{file}: the private key; workers need it, nobody else\n{beside}: for auditors")


def _kept(text: str) -> Kept:
    from orchestrator.service.auditing import Kept

    match = _KEPT.fullmatch(text)
    if match is None:
        wanted = "NUMBER:DIGEST, as `orchestrator audit checkpoint` prints them"
        problem = Problem(place="--kept", found=text, wanted=wanted)
        raise InvalidInput("that is no checkpoint", problems=[problem])
    return Kept(number=int(match["number"]), digest=match["digest"])


def trusted_keys(files: Sequence[Path]) -> TrustedKeys:
    """The keys of these files; without any the configured one."""
    from orchestrator.engine.signing import TrustedKeys, public_key_of, signer_of

    keys = []
    for path in files:
        try:
            pem = path.read_bytes()
        except OSError as error:
            problem = Problem(
                place=f"--public-key {path}", found=str(error.strerror), wanted="a file with a key"
            )
            raise InvalidInput("the key cannot be read", problems=[problem]) from None
        keys.append(public_key_of(pem, place=f"--public-key {path}"))
    reference = load_settings().audit_key
    if reference and not files:
        keys.append(signer_of(reference, setting="audit_key").public_key)
    return TrustedKeys(keys)


def _checkpoint_value(made: Checkpoint) -> dict[str, Any]:
    return {
        "number": made.number, "digest": made.digest, "heads": made.heads,
        "deletions": made.deletions, "key_id": made.key_id,
    }  # fmt: skip


def _told(made: Checkpoint) -> str:
    signed = f"signed with {made.key_id}" if made.key_id else "not signed (setting audit_key)"
    return (
        f"{made.number}:{made.digest}\n{made.heads:,} runs, {made.deletions:,} deletions, {signed}"
    )


def _as_value(found: Verification) -> dict[str, Any]:
    last = found.last_checkpoint
    return {
        "whole": found.whole, "runs": found.runs, "records": found.records,
        "erased_records": found.erased_records, "older_records": found.older_records,
        "deleted_runs": found.deleted_runs, "uncovered_runs": found.uncovered_runs,
        "checkpoints": found.checkpoints,
        "unsigned_checkpoints": found.unsigned_checkpoints,
        "last_checkpoint": None if last is None else _checkpoint_value(last),
        "broken": found.broken,
        "breaches": [
            {"place": each.place, "seq": each.seq, "what": each.what} for each in found.breaches
        ],
    }  # fmt: skip


def add_chains(drawn: Table, found: ChainsSeen) -> None:
    """What is said of chains wherever they lie, below what is said of the place."""
    if found.erased_records:
        drawn.add_row(f"{found.erased_records:,} records", "erased, and in the chain by a digest")
    if found.older_records:
        drawn.add_row(
            f"{found.older_records:,} records", "older than the chains: nothing is known of them"
        )
    for each in found.breaches:
        at = "" if each.seq is None else f", record {each.seq}"
        drawn.add_row(Text("broken", style="bold red"), Text(f"{each.place}{at}: {each.what}"))
    if found.broken > len(found.breaches):
        drawn.add_row("", f"and {found.broken - len(found.breaches):,} more")
    drawn.add_row(Text("whole", style="green") if found.whole else "", "")


def _draw(found: Verification) -> Table:
    drawn = Table.grid(padding=(0, 2))
    drawn.add_row(f"{found.records:,} records", f"of {found.runs:,} runs")
    if found.deleted_runs:
        drawn.add_row(f"{found.deleted_runs:,} runs", "deleted by retention, with proof")
    if found.checkpoints:
        drawn.add_row(f"{found.checkpoints:,} checkpoints", "agree" if found.whole else "")
    if found.unsigned_checkpoints:
        drawn.add_row(
            f"{found.unsigned_checkpoints:,} checkpoints",
            "without a signature of a key known here: whoever can write to the database can make"
            " them anew",
        )
    if found.uncovered_runs:
        drawn.add_row(f"{found.uncovered_runs:,} runs", "not covered by a checkpoint yet")
    add_chains(drawn, found)
    return drawn
