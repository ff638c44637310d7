"""A run and those that its steps have begun as one story: what was done, and what undone, in order.

Where one thing waits for the other (a step for the run that it has begun) their order is known;
what goes on at once (branches, a run that nobody waits for) is put in order by the times at which
it was recorded.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from orchestrator.core.blocks import GIVEN_METHOD
from orchestrator.core.states import HAPPENED, LinkStatus
from orchestrator.definitions.children import runs_of
from orchestrator.ports import StepRecord
from orchestrator.ports.children import CHILD_OF

if TYPE_CHECKING:
    from orchestrator.testing.played import Played

Enters: TypeAlias = "Callable[[Played, StepRecord], bool]"
"""Whether the runs that a step of a run has begun belong to the story."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """A step of one of the runs, done or undone."""

    at: float  # seconds since 1970; never earlier than what its run did before
    run: Played
    step: StepRecord


def done(run: Played, enters: Enters) -> list[Visit]:
    """What landed. A run that only undoes others has done nothing."""
    if only_undoes(run):
        return []
    chain, beside, latest = list[Visit](), list[list[Visit]](), 0.0
    for step in run.steps:
        parts = [done(each, enters) for each in _begun_by(run, step)] if enters(run, step) else []
        if run.definition.step(step.step_id).call.on_cancel is None:
            beside += parts  # nobody waits for it
        else:
            chain += _in_time(parts)
        if step.forward.link.status in HAPPENED and not _is_given(step):
            latest = max([latest, _finished_at(step), *(each.at for each in chain[-1:])])
            chain.append(Visit(at=latest, run=run, step=step))
    return _in_time([chain, *beside])


def undone(run: Played, enters: Enters) -> list[Visit]:
    """First what has turned back by itself, then what this run has undone, step by step."""
    found = list[Visit]()
    for step in run.steps:
        if enters(run, step):
            found += _in_time([undone(each, enters) for each in _begun_by(run, step)])
    for step in reversed(run.steps):
        for each in _undoing(run, step):
            found += undone(each, enters)
        if _is_undone(run, step):
            finished = step.undo.finished_at
            at = 0.0 if finished is None else finished.timestamp()
            found.append(Visit(at=at, run=run, step=step))
    return found


def only_undoes(run: Played) -> bool:
    """Whether it was begun to undo what others did."""
    if run.record.map_id is not None:
        return run.record.rerun_of is not None
    return any("undoes" in each.data for each in run.audit if each.kind == CHILD_OF)


def _begun_by(run: Played, step: StepRecord) -> list[Played]:
    told = runs_of(step.forward.request)
    return [each for each in _begun(run, step, told) if not only_undoes(each)]


def _undoing(run: Played, step: StepRecord) -> list[Played]:
    told = runs_of(step.undo.request)
    return [each for each in _begun(run, step, told) if only_undoes(each)]


def _begun(run: Played, step: StepRecord, told: Sequence[str]) -> Iterator[Played]:
    """Those that the link names; it does so once it was answered, until then it is the last one."""
    named = {known for each in run.steps for known in _named_by(each)}
    last = [each for each in run.steps if each.step_id == step.step_id][-1] is step
    for child in run.children:
        under_way = last and child.id not in named and begun_at(run, child) == step.step_id
        if child.id in told or under_way:
            yield child


def _named_by(step: StepRecord) -> tuple[str, ...]:
    return runs_of(step.forward.request) + runs_of(step.undo.request)


def begun_at(run: Played, child: Played) -> str:
    """The step of the run by which this one was begun."""
    if child.record.map_id is not None:
        return next(each.step_id for each in run.waits if each.id == child.record.map_id)
    (began,) = (each for each in child.audit if each.kind == CHILD_OF)
    return str(began.data["step"])


def _in_time(parts: Sequence[list[Visit]]) -> list[Visit]:
    return list(heapq.merge(*parts, key=lambda visit: visit.at))


def _finished_at(step: StepRecord) -> float:
    finished = step.forward.finished_at
    return 0.0 if finished is None else finished.timestamp()


def _is_given(step: StepRecord) -> bool:
    """Whether it is the head of a branch, which says what that was given."""
    request = step.forward.request
    return request is not None and request.method == GIVEN_METHOD


def _is_undone(run: Played, step: StepRecord) -> bool:
    status = step.undo.link.status
    if status is LinkStatus.NOT_NEEDED:  # said of a step without an undo as well
        return run.definition.step(step.step_id).compensation is not None
    return status in HAPPENED
