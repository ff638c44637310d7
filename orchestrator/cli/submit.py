"""`orchestrator submit WORKFLOW`: one run, or as many as a file has lines."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from orchestrator.cli import remote
from orchestrator.cli.draw_common import short
from orchestrator.cli.draw_plans import draw_plan
from orchestrator.cli.draw_runs import draw_run, draw_runs
from orchestrator.cli.input import RunLine, parse_inputs, read_lines
from orchestrator.cli.output import JsonFlag, answer, stderr
from orchestrator.cli.runs import settled
from orchestrator.cli.session import current_user, with_client, with_services
from orchestrator.core.states import RunStatus
from orchestrator.definitions.attribute_texts import parse_pairs
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports.dry_runs import DryRun, Mode, Simulation

if TYPE_CHECKING:
    from orchestrator.api.plan_shapes import DryRunShape
    from orchestrator.api.shapes import RunSummary
    from orchestrator.api.shapes import Submitted as SubmittedRun
    from orchestrator.client import Client
    from orchestrator.ports import Accepted
    from orchestrator.service.runs import RunView
    from orchestrator.service.submitting import Submission
    from orchestrator.wiring_services import Services

BATCH = 4_000
"""Lines of one call: a few transactions, so that the next is made ready while one is under way."""
_SUBMISSION = re.compile(r"^submission (\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """What became of a file. `repeated` lines had been accepted before."""

    accepted: int
    repeated: int


def submit(
    workflow: Annotated[
        str, typer.Argument(metavar="WORKFLOW", help="Or WORKFLOW@3, WORKFLOW@stable.")
    ],
    *,
    one: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", help="name=value; repeatable. Values are JSON or text."),
    ] = None,
    inputs: Annotated[str | None, typer.Option(help="All inputs as one JSON object.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help='JSON Lines: {"inputs": {…}, "idempotency_key": …, "tenant": …, "priority": …,'
            ' "attributes": {…}}'
        ),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(min=1, help="Default: the one that `stable` names, else the latest."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key; with --file: put before each line's own.")
    ] = None,
    tenant: Annotated[str, typer.Option()] = "default",
    actor: Annotated[str, typer.Option(help="Who or what asks; default: you.")] = "",
    priority: Annotated[int, typer.Option()] = 0,
    deadline: Annotated[
        float | None, typer.Option(min=0, help="Seconds until forward work stops.")
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="By which the run is looked up; repeatable. With --file: of each line as well.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it settles; exit code 1 unless it succeeded.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only tell what would be sent and undone; keep nothing."),
    ] = False,
    reads: Annotated[
        bool,
        typer.Option("--reads", help="With --dry-run: ask what only reads (dry_run_reads)."),
    ] = False,
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="With --dry-run: play it to its end with made-up answers."),
    ] = False,
    fail_at: Annotated[
        str | None, typer.Option(metavar="STEP", help="With --simulate: this step is refused.")
    ] = None,
    recorded: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="With --simulate: an ended run whose answers are taken."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Submit a run, or with --file one run for each line, in few transactions.

    The same idempotency key with the same inputs is the same run; with other inputs it is refused.
    With --dry-run nothing is submitted.
    """
    from orchestrator.service.submitting import Submission

    wish = Submission(
        workflow=workflow,
        version=version,
        idempotency_key=key,
        tenant=tenant,
        actor=actor or current_user(),
        priority=priority,
        deadline_seconds=deadline,
        attributes=parse_pairs("--attribute", attribute or []),
        # Where a caller that is traced leaves its context for the programs it starts.
        traceparent=os.environ.get("TRACEPARENT"),
        tracestate=os.environ.get("TRACESTATE"),
    )
    how = Simulation(fail_at=fail_at, recorded=recorded)
    if dry_run or reads or simulate or how != Simulation():
        _refuse_beside_dry_run(dry_run=dry_run, file=file, wait=wait, both=reads and simulate)
        wish = replace(wish, inputs=parse_inputs(one or [], inputs))
        mode = Mode.READS if reads else Mode.SIMULATE if simulate else Mode.DRY_RUN
        _plan(wish, mode, how, as_json=as_json)
        return
    if file is None:
        wish = replace(wish, inputs=parse_inputs(one or [], inputs))
        _submit_one(wish, wait=wait, as_json=as_json)
        return
    _refuse_together(one=one, inputs=inputs, wait=wait)
    _submit_file(wish, file, as_json=as_json)


def _refuse_together(*, one: list[str] | None, inputs: str | None, wait: bool) -> None:
    if one or inputs is not None or wait:
        problem = Problem(
            place="options", found="--file with --input, --inputs or --wait", wanted="--file alone"
        )
        raise InvalidInput("nothing was submitted", problems=[problem])


def _refuse_beside_dry_run(*, dry_run: bool, file: Path | None, wait: bool, both: bool) -> None:
    found = ""
    if not dry_run:
        found = "--reads, --simulate, --fail-at or --recorded alone"
    elif file is not None or wait:
        found = "--dry-run with --file or --wait"
    elif both:
        found = "--reads and --simulate"
    if found:
        wanted = "--dry-run with the inputs of one run; beside it --reads, or --simulate"
        problem = Problem(place="options", found=found, wanted=wanted)
        raise InvalidInput("nothing was planned", problems=[problem])


def _plan(wish: Submission, mode: Mode, how: Simulation, *, as_json: bool) -> None:
    """What it would do; exit code 1 where it would be refused, or did not end well."""
    found: DryRun | DryRunShape = with_services(
        lambda services: services.dry_runs.of(wish, mode, how),
        remote=lambda client: remote.plan(client, wish, mode, how),
    )
    told = found.plan if isinstance(found, DryRun) else found.as_plan()
    head = {"workflow": found.workflow, "version": found.version, "meaning": found.meaning}
    answer(
        {**head, "status": found.status, **told},
        lambda: draw_plan(found.workflow, found.version, found.meaning, told), as_json=as_json,
    )  # fmt: skip
    if "refused" in told or told.get("ends", "succeeded") != "succeeded":
        raise typer.Exit(1)


def _submit_one(wish: Submission, *, wait: bool, as_json: bool) -> None:
    async def ask(services: Services) -> tuple[str, bool, RunView | None]:
        (accepted,) = await _send(services, [wish], ["inputs"])
        view = await settled(services, accepted.run_id) if wait else None
        return accepted.run_id, accepted.repeated, view

    if remote.chosen_url():
        _submit_elsewhere(wish, wait=wait, as_json=as_json)
        return
    run_id, repeated, view = with_services(ask)
    if view is not None:
        answer(view, lambda: draw_run(view), as_json=as_json)
        raise typer.Exit(0 if view.run.status is RunStatus.SUCCEEDED else 1)
    _tell_one(run_id, repeated, as_json=as_json)


def _submit_elsewhere(wish: Submission, *, wait: bool, as_json: bool) -> None:
    def ask(client: Client) -> tuple[SubmittedRun, RunSummary | None]:
        accepted = remote.submit(client, wish)
        return accepted, client.settled(accepted.run_id) if wait else None

    accepted, run = with_client(ask)
    if run is not None:
        answer(run, lambda: draw_runs([run]), as_json=as_json)
        raise typer.Exit(0 if run.status is RunStatus.SUCCEEDED else 1)
    _tell_one(accepted.run_id, accepted.repeated, as_json=as_json)


def _tell_one(run_id: str, repeated: bool, *, as_json: bool) -> None:
    data = {"run_id": run_id, "repeated": repeated}
    answer(data, lambda: _draw_one(run_id, repeated), as_json=as_json)


def _draw_one(run_id: str, repeated: bool) -> RenderableType:
    news = "accepted before" if repeated else "accepted"
    return Text(f"{news}: run {run_id}\n  orchestrator runs show {short(run_id)}")


def _submit_file(wish: Submission, file: Path, *, as_json: bool) -> None:
    total = sum(1 for _ in read_lines(file))  # every line is looked at before the first is sent
    lines = read_lines(file, key_prefix=wish.idempotency_key or "")

    async def send(services: Services) -> Submitted:
        done = Submitted(accepted=0, repeated=0)
        with _progress(hidden=as_json) as progress:
            task = progress.add_task(f"submitting {wish.workflow}", total=total)
            for batch in _batches(lines):
                wishes = [_of_line(wish, line) for line in batch]
                answers = await _send(services, wishes, [line.place for line in batch])
                again = sum(one.repeated for one in answers)
                done = Submitted(
                    accepted=done.accepted + len(answers) - again, repeated=done.repeated + again
                )
                progress.advance(task, len(batch))
        return done

    def send_elsewhere(client: Client) -> Submitted:
        every = list(lines)
        wishes = [_of_line(wish, line) for line in every]
        places = [line.place for line in every]
        again = sum(one.repeated for one in remote.submit_many(client, wishes, places))
        return Submitted(accepted=len(wishes) - again, repeated=again)

    done = with_services(send, remote=send_elsewhere)
    answer(done, lambda: _draw_many(done), as_json=as_json)


async def _send(
    services: Services, wishes: Sequence[Submission], places: Sequence[str]
) -> list[Accepted]:
    """Submit; a refused one, counted from 0 by the service, is named by its place."""
    try:
        return await services.submitter.submit(wishes)
    except InvalidInput as error:
        problems = [
            replace(problem, place=_SUBMISSION.sub(lambda at: places[int(at[1])], problem.place))
            for problem in error.problems
        ]
        raise InvalidInput(error.message, problems=problems) from error


def _of_line(wish: Submission, line: RunLine) -> Submission:
    return replace(
        wish,
        inputs=line.inputs,
        attributes={**wish.attributes, **line.attributes},
        idempotency_key=line.idempotency_key,
        tenant=line.tenant if line.tenant is not None else wish.tenant,
        priority=line.priority if line.priority is not None else wish.priority,
    )


def _batches(lines: Iterator[RunLine]) -> Iterator[list[RunLine]]:
    while batch := list(itertools.islice(lines, BATCH)):
        yield batch


def _progress(*, hidden: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr,
        disable=hidden,
    )


def _draw_many(done: Submitted) -> RenderableType:
    text = f"accepted {done.accepted:,} runs"
    if done.repeated:
        text += f"; {done.repeated:,} had been accepted before"
    return Text(text + "\n  orchestrator runs watch")
