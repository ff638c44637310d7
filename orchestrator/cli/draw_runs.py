"""Runs as people read them: a list, and one run as its saga."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.cli.draw_common import (
    between,
    clock,
    link_status,
    moment,
    outcome,
    run_status,
    short,
    table,
)
from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.ports import AuditRecord, EscalationRecord, RunRecord

if TYPE_CHECKING:
    from orchestrator.api.shapes import ItemShape, RunSummary
    from orchestrator.ports.maps import MapRecord
    from orchestrator.service.runs import ChainLink, ItemView, RunView

_SPARE_OF_RUNS = ("tenant", "took", "created")
_SPARE_OF_ATTEMPTS = ("worker", "took", "code")


def draw_runs(runs: Sequence[RunRecord | RunSummary]) -> RenderableType:
    """Newest first, one line each."""
    if not runs:
        return Text("no runs", style="dim")
    columns = ("run", "workflow", "status", "tenant", "created", "took", "cause")
    drawn = table(*columns, right=("took",), wide=("workflow", "cause"), spare=_SPARE_OF_RUNS)
    for run in runs:
        drawn.add_row(
            short(run.id),
            f"{run.workflow} v{run.version}",
            run_status(run.status),
            run.tenant,
            moment(run.created_at),
            between(run.created_at, run.settled_at),
            Text(run.cause, overflow="ellipsis", no_wrap=True),
        )
    return drawn


def draw_items(items: Sequence[ItemView | ItemShape]) -> RenderableType:
    """Items of a map, by index, one line each."""
    if not items:
        return Text("no items", style="dim")
    drawn = table(
        "item", "run", "outcome", "status", "took", "cause", right=("item", "took"),
        wide=("cause",), spare=("took",),
    )  # fmt: skip
    for item in items:
        run = item.run
        drawn.add_row(
            f"{item.index:,}", short(run.id), Text(item.outcome.value), run_status(run.status),
            between(run.created_at, run.settled_at),
            Text(run.cause, overflow="ellipsis", no_wrap=True),
        )  # fmt: skip
    return drawn


def draw_counts(counts: Mapping[RunStatus, int]) -> Text:
    """How many runs stand where, in one line."""
    line = Text()
    for status in RunStatus:
        if counts.get(status):
            line.append_text(run_status(status)).append(f" {counts[status]:,}   ")
    return line or Text("no runs", style="dim")


def draw_run(view: RunView, *, attempts: bool = False, audit: bool = False) -> RenderableType:
    """One run: what it is, its steps forward, its compensations in their order, what to do next."""
    parts: list[RenderableType] = [
        _heading(view.run),
        _facts(view),
        _chain("step", view.forward),
    ]
    if view.backward:
        parts += [
            Text("compensations, in this order", style="bold"),
            _chain("undoes", view.backward),
        ]
    if attempts:
        parts += [Text("attempts", style="bold"), _attempts([*view.forward, *view.backward])]
    if audit:
        parts += [Text("audit", style="bold"), _audit(view.audit)]
    parts += [_what_now(item) for item in view.escalations if item.closed_at is None]
    return Group(*parts)


def _heading(run: RunRecord) -> RenderableType:
    line = Text.assemble((f"{run.workflow} v{run.version}", "bold"), "  ", run_status(run.status))
    if run.status in SETTLED:
        line.append(f" after {between(run.created_at, run.settled_at)}")
    return line


def _facts(view: RunView) -> RenderableType:
    run, pause = view.run, view.stopped_by
    grid = Table.grid(padding=(0, 2))
    rows = [
        ("run", run.id),
        ("tenant", f"{run.tenant}, submitted by {run.actor} at {clock(run.created_at)}"),
        ("key", run.idempotency_key),
        ("owner", f"{run.owner or 'nobody'}, epoch {run.epoch}"),
    ]
    if view.alias:
        rows.append(("version", f"{run.version}, by the alias {view.alias}"))
    if view.code:
        rows.append(("waits for", f"a worker that has {view.code}"))
    elif run.wake_at and run.status not in SETTLED:
        rows.append(("goes on", clock(run.wake_at)))
    if run.cause:
        rows.append(("cause", run.cause))
    if view.attributes:
        told = ", ".join(f"{name}={value}" for name, value in view.attributes.items())
        rows.append(("attributes", told))
    if run.rerun_of is not None:
        rows.append(("rerun of", run.rerun_of))
    rows += [("run again as", f"{each.id}, {each.status}") for each in view.reruns]
    if run.parent_id is not None:
        rows.append((_of_parent(run), run.parent_id))
    rows += [(_child(each), f"{each.id}, {each.status}") for each in reversed(view.children)]
    rows += [
        (_map(each), each.counts.in_words(undoes=each.undoes is not None)) for each in view.maps
    ]
    rows += [
        (f"edited {step}", ", ".join(f"{name}={value!r}" for name, value in values.items()))
        for step, values in run.edits.items()
    ]
    if pause is not None:
        until = "" if pause.until is None else f", until {clock(pause.until)}"
        why = f"{pause.scope}, by {pause.by} since {clock(pause.since)}{until}: {pause.reason}"
        rows.append(("paused", why))
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), Text(value))
    return Padding(grid, (0, 0, 1, 2))


def _of_parent(run: RunRecord) -> str:
    """What it is to the run that began it."""
    if run.branch is not None:
        return f"branch {run.branch} of" if "/" in run.branch else f"undoes {run.branch} of"
    if run.item is not None:
        return f"undoes item {run.item} for" if run.rerun_of else f"item {run.item} of"
    return "undoes for" if run.rerun_of else "begun by"


def _child(run: RunRecord) -> str:
    if run.branch is not None:
        return f"branch {run.branch}" if "/" in run.branch else f"undo of {run.branch}"
    return f"undo of {run.workflow}" if run.rerun_of else f"began {run.workflow}"


def _map(found: MapRecord) -> str:
    return f"items of {found.step_id}" if found.undoes is None else f"undo of {found.step_id}"


def _chain(what: str, links: Sequence[ChainLink]) -> RenderableType:
    """Links in the order given, numbered."""
    columns = ("", what, "calls", "kind", "status", "tries", "took", "last answer")
    drawn = table(
        *columns,
        right=("", "tries", "took"),
        wide=("last answer",),
        spare=("kind", "calls", "tries"),
    )
    for place, link in enumerate(links, start=1):
        drawn.add_row(
            str(place),
            Text(_name(link) + (" (pivot)" if link.pivot else "")),
            Text(link.label),
            Text(link.kind, style="dim"),
            _status(link),
            str(len(link.attempts) or link.record.link.attempts or ""),
            between(link.record.started_at, link.record.finished_at),
            Text(link.attempts[-1].reason if link.attempts else (link.record.error or "")),
        )
    return drawn


def _name(link: ChainLink) -> str:
    """The step, the number of the visit where it is not the first, its version in a moved run."""
    visit = f" #{link.iteration + 1}" if link.iteration else ""
    return link.step_id + visit + ("" if link.version is None else f" (v{link.version})")


def _status(link: ChainLink) -> Text:
    status = link_status(link.record.link.status, link.standing)
    if link.record.link.doubt and link.standing != "waiting":
        status.append(" in doubt", style="bold red")
    return status


def _attempts(links: Sequence[ChainLink]) -> RenderableType:
    """Every attempt, oldest first."""
    columns = ("at", "step", "way", "try", "outcome", "code", "took", "answer", "worker")
    drawn = table(
        *columns, right=("try", "code", "took"), wide=("answer",), spare=_SPARE_OF_ATTEMPTS
    )
    found = [(link, attempt) for link in links for attempt in link.attempts]
    for link, attempt in sorted(found, key=lambda pair: pair[1].started_at):
        drawn.add_row(
            attempt.started_at.astimezone().strftime("%H:%M:%S.%f")[:-3],
            Text(_name(link)),
            attempt.direction.value + (" (verify)" if attempt.kind == "verify" else ""),
            str(attempt.number),
            outcome(attempt.outcome),
            str(attempt.status_code or "–"),
            between(attempt.started_at, attempt.finished_at),
            Text(attempt.reason),
            short(attempt.worker),
        )
    return drawn


def _audit(records: Sequence[AuditRecord]) -> RenderableType:
    drawn = table("", "at", "what", "who", "data", right=("",), wide=("data",))
    for record in records:
        told = {key: value for key, value in record.data.items() if key != "events"}
        data = ", ".join(f"{key}={value}" for key, value in told.items())
        drawn.add_row(
            str(record.seq), moment(record.at), record.kind, short(record.actor), Text(data)
        )
    return drawn


def _what_now(escalation: EscalationRecord) -> RenderableType:
    name = short(escalation.id)
    return Group(
        Text(f"escalated: {escalation.detail or escalation.reason.value}", style="bold red"),
        Text(f"  orchestrator escalations show {name}", style="dim"),
        Text(
            f"  orchestrator escalations retry|resolve|skip|abandon {name} --reason …", style="dim"
        ),
    )
