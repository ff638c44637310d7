"""Run again from a step: a new run that takes over what the old one did before it.

What is safe to take over: steps that happened, are not in doubt and were not undone, and that are
the same in the version that the new run follows. Effects of a run that succeeded stay its own: the
new run never undoes them. An abandoned run will never undo its own any more, so the new run does
where it turns back, and only one new run may take them over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import orjson
import structlog

from orchestrator.core.joining import JoinedPlan
from orchestrator.core.plan import Effects, Plan
from orchestrator.core.saga import Link, Saga
from orchestrator.core.states import (
    FINAL,
    HAPPENED,
    Direction,
    LinkStatus,
    RunStatus,
)
from orchestrator.definitions.blocks import branches_of
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.errors import Conflict, NotFound, Problem, Unavailable
from orchestrator.ports import (
    Accepted,
    ClaimedRun,
    Hint,
    HintPublisher,
    JobItem,
    LinkWrite,
    NewRerun,
    NewRun,
    RunRecord,
    StepRecord,
    Store,
    WorkflowVersion,
)
from orchestrator.ports.auditing import ERASED_INPUTS
from orchestrator.service.escalations import require_reason

log = structlog.get_logger(__name__)

F, B = Direction.FORWARD, Direction.BACKWARD
_UNDONE = {LinkStatus.LANDED: "undone", LinkStatus.RESOLVED: "undone by hand"}
_IN_DOUBT = {LinkStatus.STARTED, LinkStatus.UNKNOWN}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerun:
    """What is wanted. `version`: None is the one that the old run followed."""

    run_id: str
    step: str  # to begin with
    by: str
    reason: str
    version: int | None = None
    repeat_effects: bool = False  # effects of this step and later ones that stand may come twice
    key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RerunLook:
    """What a rerun would be."""

    run_id: str
    version: int  # by which the new run would go
    takes_over: Sequence[str]  # steps that it would not do: done, and still standing
    does: Sequence[str]  # steps that it would do
    twice: Sequence[str]  # of those: effects of the old run that stand, or may
    problems: Sequence[Problem]  # why it is refused; none: it is not


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """The old run, and the version that the new one is to follow."""

    old: RunRecord
    steps: Sequence[StepRecord]
    before: Plan
    saga: Saga
    found: WorkflowVersion
    program: Program
    at: int  # step of the version to begin with


class Rerunning:
    """Makes new runs of old ones."""

    def __init__(
        self,
        store: Store,
        programs: Programs,
        publisher: HintPublisher,
        *,
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._programs = store, programs
        self._publisher, self._new_id = publisher, new_id

    async def look(self, wish: Rerun) -> RerunLook:
        """What it would be. Nothing is written. Raises NotFound."""
        read = await self._read(wish)
        plan, at, saga = read.program.plan, read.at, read.saga
        twice = [each.place.removeprefix("step ") for each in _standing(saga, at)]
        return RerunLook(
            run_id=read.old.id, version=read.found.version,
            takes_over=[step.id for step in plan.steps[:at]],
            does=[step.id for step in plan.steps[at:]], twice=twice,
            problems=_problems(read, wish),
        )  # fmt: skip

    async def _read(self, wish: Rerun) -> _Read:
        old = await self._store.run(wish.run_id)
        steps = await self._store.steps(old.id)
        before = (await self._programs.get(old.workflow_id)).plan
        found = await self._store.workflow(old.workflow, wish.version or old.version)
        program = await self._programs.trusted(found.id)
        return _Read(
            old=old, steps=steps, before=before, saga=ClaimedRun(run=old, steps=steps).saga(before),
            found=found, program=program, at=_place(program.plan, wish.step),
        )  # fmt: skip

    async def rerun(self, wish: Rerun, *, job_id: str | None = None) -> Accepted:
        """Accept the new run; for a job, if one is given, in one transaction with its mark.

        Raises Conflict that names every reason against it, JobHeld, NotFound.
        """
        require_reason(wish.reason)
        read = await self._read(wish)
        old, steps, found, program, at = read.old, read.steps, read.found, read.program, read.at
        problems = _problems(read, wish)
        if problems:
            raise Conflict("the run cannot be run again from there", problems=problems)
        new, links = _begun(program.plan, steps[:at], owns=old.status is RunStatus.ABANDONED)
        takes_over = any(
            state.undo.status is LinkStatus.PENDING and new.has_call(i, B)
            for i, state in enumerate(new.steps[:at])
        )
        run_id, inputs = self._new_id(), program.check_inputs(old.inputs)
        known = (await self._store.attributes([old.id])).get(old.id, {})
        accepted = await self._store.accept_rerun(
            NewRerun(
                of=old.id, step=wish.step, by=wish.by, reason=wish.reason, saga=new, links=links,
                run=NewRun(
                    id=run_id, workflow_id=found.id, workflow=found.workflow, version=found.version,
                    inputs=inputs, inputs_digest=_digest(old.id, wish.step, found.id),
                    idempotency_key=f"rerun of {old.id}" if takes_over else wish.key or run_id,
                    tenant=old.tenant, actor=wish.by, lane=program.plan.lane,
                    priority=old.priority, deadline_seconds=program.plan.deadline_seconds,
                    attributes=program.attributes.again(inputs, known),
                ),
            ),
            item=None if job_id is None
            else JobItem(job_id=job_id, item=old.id, outcome=f"run {run_id}"),
        )  # fmt: skip
        if not accepted.repeated:
            hint = Hint.at(new, run_id=run_id, epoch=0, lane=program.plan.lane)
            try:
                await self._publisher.publish([hint])
            except Unavailable as error:  # the sweep finds it
                log.warning("hints.postponed", hints=1, why=str(error))
        return accepted


def never_again(old: RunRecord, before: Plan) -> list[Problem]:
    """What stands against running it again from any step whatever; `before`: what it followed."""
    return [*_not_ended(old, before), *_erased(old), *_part_of_another(old)]


def _problems(read: _Read, wish: Rerun) -> list[Problem]:
    """All that stands against it."""
    old, saga, plan, at = read.old, read.saga, read.program.plan, read.at
    return [
        *never_again(old, read.before), *_jumps(old, saga), *_unlike(read.before, plan, at),
        *_not_to_be_kept(saga, at), *_in_a_block(old, plan, at),
        *([] if wish.repeat_effects else _standing(saga, at)),
    ]  # fmt: skip


_WHOLE = "the run itself, from a step before the block or behind it, or from the block"


def _part_of_another(old: RunRecord) -> list[Problem]:
    """A run is run again as a whole."""
    if old.branch is None:
        return []
    found = f"a part of run {old.whole_id} ({old.branch})"
    return [Problem(place=f"run {old.id}", found=found, wanted=_WHOLE)]


def _in_a_block(old: RunRecord, plan: Plan, at: int) -> list[Problem]:
    """A block is run again from its beginning."""
    within = plan.blocks and any(at in steps for steps in branches_of(plan).values())
    if within and old.branch is None:
        return [Problem(place=f"step {plan.steps[at].id}", found="in a branch", wanted=_WHOLE)]
    return []


def _place(plan: Plan, step: str) -> int:
    ids = [each.id for each in plan.steps]
    if step not in ids:
        problem = Problem(place=f"workflow {plan.workflow}", found=step, wanted=", ".join(ids))
        raise NotFound(f"no such step: {step}", problems=[problem])
    return ids.index(step)


def _not_ended(run: RunRecord, before: Plan) -> Iterator[Problem]:
    if run.status not in FINAL:
        yield Problem(
            place=f"run {run.id}", found=f"status {run.status}", wanted="a run that has ended"
        )
    if isinstance(before, JoinedPlan):
        yield Problem(
            place=f"run {run.id}", found="a way by several versions of the workflow",
            wanted="a run that followed one version from its first step on",
        )  # fmt: skip


def _jumps(run: RunRecord, saga: Saga) -> Iterator[Problem]:
    if not saga.path.is_straight and not isinstance(saga.plan, JoinedPlan):
        yield Problem(
            place=f"run {run.id}", found="a way with jumps",
            wanted="a run that went from each step to the next",
        )  # fmt: skip


def _unlike(old: Plan, new: Plan, at: int) -> Iterator[Problem]:
    """Steps that are to be taken over and are not the same any more."""
    for place in range(at):
        mine = old.steps[place] if place < len(old.steps) else None
        if mine != new.steps[place]:
            yield Problem(
                place=f"step {new.steps[place].id}", found="another definition in this version",
                wanted="the same in both versions, or an earlier step to begin with",
            )  # fmt: skip


def _not_to_be_kept(saga: Saga, at: int) -> Iterator[Problem]:
    """Steps before that did not happen, or whose effect is gone or in doubt."""
    undone_by = {
        name: saga.plan_step(i).id
        for i, state in enumerate(saga.steps) if state.forward.status in HAPPENED
        for name in saga.plan_step(i).undoes
    }  # fmt: skip
    for place, state in enumerate(saga.steps[:at]):
        name, forward, undo = saga.plan_step(place).id, state.forward, state.undo
        found = ""
        if forward.status not in HAPPENED or forward.doubt:
            found = f"{forward.status}{', in doubt' if forward.doubt else ''}"
        elif undo.status in _UNDONE:
            found = _UNDONE[undo.status]
        elif name in undone_by:
            found = f"undone by step {undone_by[name]}"
        elif undo.doubt or undo.status in _IN_DOUBT:
            found = "an undo that may have happened"
        if found:
            yield Problem(place=f"step {name}", found=found, wanted="done, and still standing")


def _standing(saga: Saga, at: int) -> Iterator[Problem]:
    """Effects of steps from there on that would come a second time."""
    for place in range(at, len(saga.steps)):
        step, state = saga.plan_step(place), saga.steps[place]
        may_stand = (
            state.forward.status in HAPPENED or state.forward.status in _IN_DOUBT
            or state.forward.doubt
        )  # fmt: skip
        gone = state.undo.status in _UNDONE
        if step.call.effects is not Effects.NONE and may_stand and not gone:
            yield Problem(
                place=f"step {step.id}", found="an effect of the old run that stands, or may",
                wanted="none from there on, unless effects may be repeated",
            )  # fmt: skip


def _begun(
    plan: Plan, copied: Sequence[StepRecord], *, owns: bool
) -> tuple[Saga, tuple[LinkWrite, ...]]:
    """The new run as it begins, and what is kept of the old one's links."""
    saga, links = replace(Saga.new(plan), status=RunStatus.RUNNING), []
    for place, step in enumerate(copied):
        owned = owns and step.undo.link.status in {LinkStatus.PENDING, LinkStatus.FAILED}
        undo = Link() if owned else Link(status=LinkStatus.NOT_NEEDED)
        saga = saga.with_link(place, F, step.forward.link).with_link(place, B, undo)
        record = step.forward
        links += [
            LinkWrite(
                step=place, direction=F, link=record.link, request=record.request,
                outputs=record.outputs, started_at=record.started_at,
                finished_at=record.finished_at,
            ),
            LinkWrite(step=place, direction=B, link=undo),
        ]  # fmt: skip
    return saga, tuple(links)


def _digest(run_id: str, step: str, workflow_id: str) -> str:
    return hashlib.sha256(orjson.dumps(["rerun", run_id, step, workflow_id])).hexdigest()


def _erased(old: RunRecord) -> list[Problem]:
    if old.inputs != ERASED_INPUTS:
        return []
    wanted = "a run that still has its inputs"
    return [Problem(place=f"run {old.id}", found="its payloads were erased", wanted=wanted)]
