"""Looks whether what stands in the tables about runs agrees with itself, while everything goes on.

Nothing is locked. Of each run the row is read before and after its steps and escalations: when it
has moved on in between, what was read is thrown away. What looks wrong is looked at again some time
later, since a recovery pass may be about to mend it; only what is still so is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from orchestrator.core.plan import Plan
from orchestrator.core.saga import Saga, current, undo_order
from orchestrator.core.states import DONE, FINAL, SETTLED, TIMED, Direction, LinkStatus, RunStatus
from orchestrator.errors import RefusedError
from orchestrator.ports import (
    ClaimedRun,
    EscalationFilter,
    EscalationRecord,
    EscalationStore,
    RunFilter,
    RunRecord,
    RunStore,
    WorkerStore,
    WorkflowStore,
)
from orchestrator.service.auditing import Verification

LOOK_AGAIN_SECONDS = 10.0
"""Longer than it takes until a dead worker's runs are taken from it."""
MOST_READS = 5
"""Of a run that moves on each time while it is read; then it is alive, and left out."""
_GOING = frozenset(RunStatus) - SETTLED
_EXPLAIN = "orchestrator audit explain {run}"


class LookedAt(RunStore, WorkflowStore, WorkerStore, EscalationStore, Protocol):
    """What is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inconsistency:
    """Something about one run that cannot be."""

    run: str  # id
    place: str
    found: str
    wanted: str
    do: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeepLook:
    """What was looked at, and what is wrong with it."""

    runs: int
    moving: int  # left out, since they moved on each time while they were read
    found: list[Inconsistency]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """All that the tables say of a run at one moment."""

    run: RunRecord
    saga: Saga
    letters: Sequence[EscalationRecord]
    workers: frozenset[str]  # that have a row


class Consistency:
    """The look. `verify` holds a run's audit against its chain."""

    def __init__(
        self, store: LookedAt, verify: Callable[[str], Awaitable[Verification]], *,
        again_seconds: float = LOOK_AGAIN_SECONDS,
    ) -> None:  # fmt: skip
        self._store, self._verify, self._again_seconds = store, verify, again_seconds

    async def look(self, *, most: int) -> DeepLook:
        """At the newest `most` runs each of those under way, escalated, and ended."""
        ids = await self._chosen(most)
        first = {run_id: await self._of(run_id) for run_id in ids}
        moving = sum(found is None for found in first.values())
        suspects = [run_id for run_id, found in first.items() if found]
        if suspects:
            await asyncio.sleep(self._again_seconds)
        still: list[Inconsistency] = []
        for run_id in suspects:
            before = first[run_id] or []
            again = await self._of(run_id) or []
            still += [each for each in again if each in before]
        return DeepLook(runs=len(ids) - moving, moving=moving, found=still)

    async def _chosen(self, most: int) -> list[str]:
        """Ids; also of runs of which an escalation is open, whatever they are."""
        ids: dict[str, None] = {}
        for status in (_GOING, frozenset({RunStatus.ESCALATED}), FINAL):
            runs = await self._store.runs(RunFilter(status=status, limit=most))
            ids.update(dict.fromkeys(run.id for run in runs))
        letters = await self._store.escalations(EscalationFilter(limit=most))
        ids.update(dict.fromkeys(letter.run_id for letter in letters))
        return list(ids)

    async def _of(self, run_id: str) -> list[Inconsistency] | None:
        """What is wrong with a run; None: it never stood still."""
        for _ in range(MOST_READS):
            before = await self._store.run(run_id)
            steps = await self._store.steps(run_id)
            letters = await self._store.escalations_of(run_id)
            version = await self._store.workflow_by_id(before.workflow_id)
            workers = frozenset(worker.id for worker in await self._store.workers())
            verified = await self._verify(run_id)
            if version.unread is not None:
                return _unread(before.id, version.unread)
            if await self._store.run(run_id) == before:
                saga = ClaimedRun(run=before, steps=steps).saga(version.plan)
                seen = Seen(run=before, saga=saga, letters=letters, workers=workers)
                return [*inconsistencies(seen, version.plan), *_of_audit(before.id, verified)]
        return None


def _unread(run_id: str, error: RefusedError) -> list[Inconsistency]:
    """Of a run whose plan cannot be read nothing else can be said."""
    do = "restore the row of the workflow's version, then retry the run's escalation"
    return [
        Inconsistency(run=run_id, place=each.place, found=each.found, wanted=each.wanted, do=do)
        for each in error.problems
    ]


def inconsistencies(seen: Seen, plan: Plan) -> list[Inconsistency]:
    """What cannot be, of one run at one moment."""
    found = [*_of_row(seen), *_of_escalations(seen), *_of_links(seen, plan)]
    return [
        Inconsistency(
            run=seen.run.id, place=place, found=what, wanted=wanted,
            do=do.format(run=seen.run.id),
        )
        for place, what, wanted, do in found
    ]  # fmt: skip


_Wrong = Iterator[tuple[str, str, str, str]]


def _of_row(seen: Seen) -> _Wrong:
    run = seen.run
    settled = run.status in SETTLED
    if settled and run.owner is not None:
        yield "owner", f"{run.status}, in the hands of {run.owner}", "nobody's", _EXPLAIN
    if settled != (run.settled_at is not None):
        wanted = "a time" if settled else "none"
        yield "settled_at", f"{run.status} since {run.settled_at}", wanted, _EXPLAIN
    if run.status in TIMED and run.wake_at is None:
        yield (
            "wake_at", f"{run.status} until no time", "a time to go on",
            "orchestrator runs cancel {run}",
        )  # fmt: skip
    going = {RunStatus.RUNNING: Direction.FORWARD, RunStatus.COMPENSATING: Direction.BACKWARD}
    if going.get(run.status, run.direction) is not run.direction:
        yield "direction", f"{run.status} and going {run.direction}", "one way", _EXPLAIN
    if run.owner is None and run.status in going and run.published_at is None:
        yield (
            "published_at", f"{run.status}, nobody's, and no hint was ever sent",
            "a time, by which its silence is seen", "orchestrator runs cancel {run}",
        )  # fmt: skip
    if not settled and run.owner is not None and run.owner not in seen.workers:
        yield (
            "owner", f"{run.owner}, which is no worker any more", "a living worker, or nobody",
            "start a worker: its recovery pass takes the run over",
        )  # fmt: skip


def _of_escalations(seen: Seen) -> _Wrong:
    open_ones = [each.id for each in seen.letters if each.closed_at is None]
    wanted = int(seen.run.status is RunStatus.ESCALATED)
    if len(open_ones) != wanted:
        told = ", ".join(open_ones) or "none"
        yield (
            "escalations", f"{seen.run.status}, and open: {told}", f"{wanted} open", _EXPLAIN
        )  # fmt: skip


def _of_links(seen: Seen, plan: Plan) -> _Wrong:
    saga, status = seen.saga, seen.run.status
    undone = [
        step for step in undo_order(saga) if saga.steps[step].undo.status is LinkStatus.LANDED
    ]
    for later, earlier in pairwise(undone):
        one, other = (saga.steps[step].undo.sequence or 0 for step in (later, earlier))
        if one > other:
            place = f"undo of {saga.plan_step(earlier).id}"
            found = f"done before that of {saga.plan_step(later).id}"
            yield place, found, "the reverse order of completion", _EXPLAIN
    if status is RunStatus.SUCCEEDED and (at := current(saga)) is not None:
        place = f"step {saga.plan_step(at[0]).id}"
        yield place, f"{saga.link(*at).status}, and the run succeeded", "done", _EXPLAIN
    if status is RunStatus.COMPENSATED:
        for step in undo_order(saga):
            undo = saga.steps[step].undo.status
            if saga.has_call(step, Direction.BACKWARD) and undo not in DONE:
                place = f"undo of {plan.steps[saga.path.steps[step]].id}"
                yield (
                    place, f"{undo}, and the run is compensated", "done, or left by a person",
                    "see at the API whether it stands: " + _EXPLAIN,
                )  # fmt: skip


def _of_audit(run_id: str, verified: Verification) -> Iterator[Inconsistency]:
    for breach in verified.breaches:
        place = "audit" if breach.seq is None else f"audit record {breach.seq}"
        yield Inconsistency(
            run=run_id, place=place, found=breach.what, wanted="as it was written",
            do=f"orchestrator audit verify {run_id}",
        )  # fmt: skip
