"""What can be done with all runs that fit a filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from nicegui import ui

from orchestrator.console.bulk import Arguments, Bulk, bulk_button
from orchestrator.console.desk import Visitor
from orchestrator.console.pauses import Terms
from orchestrator.core.events import CancelMode
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.ports import Role, RunFilter
from orchestrator.service.run_jobs import GOING

STOP = "Leave what is done as it is (role admin); they end abandoned"


async def draw_bulk(visitor: Visitor, which: RunFilter) -> None:
    """A button for each act that makes sense in the statuses that are shown."""
    steps = await _steps(visitor, which.workflow)
    acts = [bulk for bulk, among in _acts(steps) if which.status is None or which.status & among]
    if not acts:
        return
    with ui.row().classes("items-center gap-2"):
        ui.label("All like these, older pages too:")
        for each in acts:
            bulk_button(visitor, which, each)


def _acts(steps: Sequence[str]) -> list[tuple[Bulk, frozenset[RunStatus]]]:
    """Each, and the statuses in which it makes sense. Of many workflows nothing is run again:
    their steps differ."""
    acts = [
        (Bulk(kind="runs.pause", verb="Pause all", asks=_pause_terms,
              means="Each by itself begins nothing more; those that come later are not meant."),
         GOING - {RunStatus.PAUSED}),
        (Bulk(kind="runs.resume", verb="Resume all",
              means="Ends the pause that each has by itself; pauses of more stay."),
         frozenset({RunStatus.PAUSED})),
        (Bulk(kind="runs.cancel", verb="Cancel all", grave=True, asks=_cancel_mode, least=_least,
              means="What each did is undone, and it ends compensated."), GOING),
    ]  # fmt: skip
    if steps:
        again = Bulk(
            kind="runs.rerun", verb="Run all again from", asks=partial(_rerun_fields, steps),
            means="For each that has ended a new run takes over what it did before that step.",
        )  # fmt: skip
        acts.append((again, frozenset(FINAL)))
    return acts


async def _steps(visitor: Visitor, workflow: str | None) -> Sequence[str]:
    """Of the newest version; none for a workflow that there is not."""
    if workflow is None:
        return ()
    try:
        found = await visitor.services.workflows.show(workflow)
    except NotFound:
        return ()
    return [each.id for each in found.plan.steps]


def _pause_terms() -> Callable[[], Arguments]:
    terms = Terms()
    terms.draw()

    def read() -> Arguments:
        seconds = terms.seconds()
        ends = {} if seconds is None else {"seconds": seconds}
        return {"also_undoing": terms.also_undoing, **ends}

    return read


def _cancel_mode() -> Callable[[], Arguments]:
    stop = ui.checkbox(STOP)
    return lambda: {"mode": str(CancelMode.STOP if stop.value else CancelMode.UNDO)}


def _least(arguments: Arguments) -> Role:
    return Role.ADMIN if arguments["mode"] == CancelMode.STOP else Role.OPERATOR


def _rerun_fields(steps: Sequence[str]) -> Callable[[], Arguments]:
    step = ui.select(list(steps), value=steps[0], label="From step").classes("w-full")
    version = ui.number("Version of the workflow (empty: that of each)", min=1)
    version.props("step=1").classes("w-full")
    effects = ui.checkbox("Effects from there on that stand may come a second time")

    def read() -> Arguments:
        wanted = {} if version.value is None else {"version": _whole(version.value)}
        return {"step": str(step.value), "repeat_effects": bool(effects.value), **wanted}

    return read


def _whole(value: float) -> int:
    if value != int(value):
        problem = Problem(place="version", found=str(value), wanted="a whole number")
        raise InvalidInput("there is no such version", problems=[problem])
    return int(value)
