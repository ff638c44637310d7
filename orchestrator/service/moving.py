"""Have waiting runs go on by another version of their workflow, at a step of it.

All is checked before anything is written; what is written is one transaction, and only if nothing
has happened to the run since it was read. What the run has done stays what its own version did, and
is undone by what that version promised (`core.joining`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core import journal
from orchestrator.core.deciding import decide
from orchestrator.core.differing import Change, differences
from orchestrator.core.events import Migrated
from orchestrator.core.joining import ids_in, joined_id, why_not_movable
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Saga, begun, current
from orchestrator.core.states import Direction
from orchestrator.definitions.moving import (
    Needs,
    Target,
    keeps,
    left_out,
    obstacles,
    passed_over,
    target,
)
from orchestrator.definitions.programs import Programs
from orchestrator.errors import Conflict, InvalidInput, Problem
from orchestrator.ports import (
    ClaimedRun,
    JobItem,
    LinkWrite,
    Redelivery,
    RunRecord,
    StepRecord,
    Store,
    facts_of,
    visits_ahead,
)
from orchestrator.ports.auditing import ERASED_INPUTS
from orchestrator.ports.moving import RunMove
from orchestrator.service.escalations import require_reason
from orchestrator.service.redelivery import Redeliverer

MOST_VERSIONS = 20
"""By which one run may have gone, so that its plan does not grow without end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """What is wanted of a run, or of each of many."""

    to: int  # version
    step: str | None = None  # to go on at; None: the one at which the run waits


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a move would be. Nothing was written."""

    run_id: str
    workflow: str
    version: int  # that it follows
    to: int
    step: str  # at which it would go on; empty where no such step is known
    keeps_waiting: bool  # for what it waits for; else it goes on at once
    changes: Sequence[Change]  # between the two versions, in the words of `workflows diff`
    passed_over: Sequence[str]  # steps before that it has not done
    left_out: Sequence[str]  # outputs that it will not have
    problems: Sequence[Problem]  # why it cannot be moved; none: it can


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    run: RunRecord
    steps: Sequence[StepRecord]
    saga: Saga


class Moving:
    """Moves runs."""

    def __init__(self, store: Store, programs: Programs, redeliverer: Redeliverer) -> None:
        self._store, self._programs, self._redeliverer = store, programs, redeliverer
        self._needs = Needs()

    async def look(self, run_id: str, wish: Migration) -> Look:
        """What moving a run would be. Raises NotFound for the run or the version."""
        read = await self._read(run_id)
        found = await self._store.workflow(read.run.workflow, wish.to)
        plan = (await self._programs.trusted(found.id)).plan
        to, problems, _ = await self._checked(read, wish, plan, found.id)
        facts = facts_of(read.run, read.steps)
        return Look(
            run_id=read.run.id, workflow=read.run.workflow, version=read.run.version, to=wish.to,
            step="" if to is None else to.step_id,
            keeps_waiting=to is not None and keeps(read.saga, to),
            changes=differences(await self._own_plan(read.run), plan),
            passed_over=[] if to is None else passed_over(read.saga, to),
            left_out=[] if to is None else left_out(read.saga, facts, to), problems=problems,
        )  # fmt: skip

    async def migrate(self, run_id: str, wish: Migration, *, by: str, reason: str) -> RunRecord:
        """Move a run. Raises Conflict that names every reason against it, NotFound, Untrusted."""
        wake = await self.move(run_id, wish, by=by, reason=reason)
        if wake is not None:
            await self._redeliverer.publish([wake])
        return await self._store.run(run_id)

    async def move(
        self, run_id: str, wish: Migration, *, by: str, reason: str, item: JobItem | None = None
    ) -> Redelivery | None:
        """The same in the tables alone; the wake-up is the caller's. Raises JobHeld as well."""
        require_reason(reason)
        read = await self._read(run_id)
        run, saga = read.run, read.saga
        found = await self._store.workflow(run.workflow, wish.to)
        plan = (await self._programs.trusted(found.id)).plan
        to, problems, inputs = await self._checked(read, wish, plan, found.id)
        if problems or to is None:
            raise Conflict(f"run {run.id} cannot be moved to version {wish.to}", problems=problems)
        joined = joined_id(found.id, run.workflow_id)
        event = Migrated(
            to=joined, step=to.step, keeps=keeps(saga, to),
            plan=(await self._programs.trusted(joined)).plan,
        )  # fmt: skip
        now = await self._store.now()
        decision = decide(saga, event, now)
        at, after = current(saga), decision.saga
        assert at is not None, "it waits at a step"
        handled = begun(saga.link(*at)) and not event.keeps
        gone_on = f"the run went on by version {wish.to} at step {to.step_id}"
        links = (
            LinkWrite(
                step=at[0], direction=Direction.FORWARD, error=gone_on, finished_at=now,
                link=after.link(at[0], Direction.FORWARD),
            ),
        )  # fmt: skip
        data = {
            "from": run.version, "to": wish.to, "step": to.step_id, "reason": reason,
            "waited_at": saga.plan_step(at[0]).id, "keeps_waiting": event.keeps,
            **({"passed_over": missing} if (missing := passed_over(saga, to)) else {}),
            "events": [journal.entry(event, now, decision.command)],
        }  # fmt: skip
        return await self._store.migrate_run(
            RunMove(
                run=run, workflow_id=joined, version=wish.to, saga=after,
                links=links if handled else (), ahead=at[0] + handled, keeps=event.keeps,
                inputs=inputs, by=by, data=data,
            ),
            item=item,
        )  # fmt: skip

    async def _read(self, run_id: str) -> _Read:
        run = await self._store.run(run_id)
        steps = await self._store.steps(run.id)
        plan = (await self._programs.get(run.workflow_id)).plan
        return _Read(run=run, steps=steps, saga=ClaimedRun(run=run, steps=steps).saga(plan))

    async def _own_plan(self, run: RunRecord) -> Plan:
        """Of the version that it follows now, whatever it followed before."""
        return (await self._programs.get(ids_in(run.workflow_id)[0])).plan

    async def _checked(
        self, read: _Read, wish: Migration, plan: Plan, workflow_id: str
    ) -> tuple[Target | None, list[Problem], Mapping[str, Any]]:
        """Where it would go on, all that stands against it, and the inputs that it would have."""
        run, saga = read.run, read.saga
        problems, inputs = [*_of_the_run(run, saga, read.steps, wish.to)], run.inputs
        try:
            inputs = (await self._programs.trusted(workflow_id)).check_inputs(run.inputs)
        except InvalidInput as error:
            problems += [replace(each, place=f"inputs{each.place}") for each in error.problems]
        to = target(workflow_id, plan, wish.to, wish.step, saga, self._needs)
        if isinstance(to, Problem):
            return None, _of(run, [*problems, to]), inputs
        problems += obstacles(saga, facts_of(run, read.steps), to)
        if not keeps(saga, to):
            problems += await self._answered(run, saga)
        return to, _of(run, problems), inputs

    async def _answered(self, run: RunRecord, saga: Saga) -> list[Problem]:
        """Somebody has answered the question at which it stands, and would not be heard."""
        at = current(saga)
        if at is None or not begun(saga.link(*at)) or not saga.call(*at).is_answered:
            return []
        wait = next(
            (each for each in reversed(await self._store.waits_of(run.id)) if each.step == at[0]),
            None,
        )
        if wait is None or wait.is_open:
            return []
        found = f"{wait.outcome}{'' if wait.closed_by is None else f' by {wait.closed_by}'}"
        return [
            Problem(
                place=f"step {saga.plan_step(at[0]).id}", found=found,
                wanted="a question without an answer, or the same one in both versions",
            )
        ]  # fmt: skip


def _of(run: RunRecord, problems: Sequence[Problem]) -> list[Problem]:
    """Each with the run that it is about."""
    named = f"run {run.id}"
    return [
        each if each.place.startswith(named) else replace(each, place=f"{named}, {each.place}")
        for each in problems
    ]


def _of_the_run(
    run: RunRecord, saga: Saga, steps: Sequence[StepRecord], to: int
) -> Iterator[Problem]:
    place = f"run {run.id}"
    if run.version == to:
        yield Problem(place=place, found=f"version {to}", wanted="a run of another version")
    found = why_not_movable(saga)
    if found:
        wanted = "a run that waits on its way forward, with nothing in doubt"
        yield Problem(place=place, found=found, wanted=wanted)
    if run.owner is not None:
        yield Problem(
            place=place, found=f"in the hands of {run.owner}",
            wanted="a run that nobody works on: pause it first",
        )  # fmt: skip
    if run.parent_id is not None or run.whole_id is not None or run.map_id is not None:
        yield Problem(
            place=place, found=f"a part of run {run.whole_id or run.parent_id}",
            wanted="a run that nobody else waits for",
        )  # fmt: skip
    if run.inputs == ERASED_INPUTS:
        yield Problem(place=place, found="its payloads were erased", wanted="a run that has them")
    if len(ids_in(run.workflow_id)) >= MOST_VERSIONS:
        yield Problem(
            place=place, found=f"{MOST_VERSIONS} versions by which it went",
            wanted="a run that was moved less often",
        )  # fmt: skip
    edited = [step for step in run.edits if visits_ahead(run, steps, step)]
    if edited:
        yield Problem(
            place=f"{place}, step {edited[0]}", found="values that somebody has given it ahead",
            wanted="none: they were given for what its version sends",
        )  # fmt: skip
