"""Runs that a step of another run begins: what begins with its wait, what a cancel does to them,
and who is told of their end."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import orjson
import structlog

from orchestrator.core.blocks import FORK_METHOD, heads_of
from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.plan import Call, OnCancel
from orchestrator.core.saga import Link, Saga
from orchestrator.core.states import FINAL, HAPPENED, Direction, RunStatus
from orchestrator.definitions.blocks import UNDO_KIND as UNDO_BLOCK_KIND
from orchestrator.definitions.children import UNDO_METHOD, runs_of
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.engine.branches import begin_branch, begin_undo
from orchestrator.engine.ledger import At
from orchestrator.errors import Conflict, InvalidInput, NotFound, Problem, Unavailable
from orchestrator.ports import (
    Beginning,
    ChildStore,
    ClaimedRun,
    Hint,
    LinkWrite,
    NewChild,
    NewRun,
    Redelivery,
    RunFilter,
    RunRecord,
    RunStore,
    StepRecord,
    WorkflowStore,
    WorkflowVersion,
)
from orchestrator.ports.auditing import ERASED_INPUTS

log = structlog.get_logger(__name__)


class _Store(ChildStore, RunStore, WorkflowStore, Protocol):
    """What is needed of one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A run to begin, with its first wake-up."""

    child: NewChild
    hint: Hint


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """A link at which a run stands, whose request begins another run."""

    at: At
    run: RunRecord
    saga: Saga
    request: FrozenRequest
    of_step: FrozenRequest | None  # the request of the step itself, which tells of its child
    now: datetime

    @property
    def call(self) -> Call:
        """What the link invokes."""
        return self.saga.call(*self.at)


class Children:
    """The children of one process's runs."""

    def __init__(
        self,
        store: _Store,
        programs: Programs,
        republish: Callable[[Sequence[Redelivery]], Awaitable[Any]],
        *,
        new_id: Callable[[], str],
        max_depth: int,
        max_branches: int,
    ) -> None:
        self._store, self._programs, self._republish = store, programs, republish
        self._new_id, self._max_depth, self._max_branches = new_id, max_depth, max_branches
        self._versions: dict[tuple[str, str], WorkflowVersion] = {}  # by name and digest

    async def of(self, asking: Asking) -> tuple[Begun, ...]:
        """What begins with the wait of this link. Raises RefusedError where nothing can."""
        if asking.saga.link(*asking.at).doubt:  # it has begun
            return ()
        if asking.request.method == FORK_METHOD:
            return self._branches(asking)
        if asking.request.method == UNDO_METHOD:
            is_block = asking.call.template["kind"] == UNDO_BLOCK_KIND
            return (await (self._undoing_block if is_block else self._undoing)(asking),)
        return (await self._child(asking),)

    async def cancel(self, asking: Asking) -> None:
        """Tell children that are waited for that the run is to be cancelled, if that concerns them.

        Before the run sleeps again: whoever takes it up after a death here tells them once more.
        """
        saga = asking.saga
        if saga.cancel is None or asking.call.on_cancel is not OnCancel.CANCEL:
            return
        for child in await self._store.runs(RunFilter(parent=asking.run.id, limit=None)):
            if child.wait_id is None or child.status in FINAL or child.cancel is not None:
                continue
            try:
                redelivery = await self._store.request_cancel(
                    child.id, mode=saga.cancel, reason=saga.cause, by="engine"
                )
            except Conflict:  # it has ended meanwhile, or a person decides about it
                continue
            if redelivery is not None:
                await self._republish([redelivery])

    async def told(self, wait_id: str) -> None:
        """A child has ended. What cannot be told now is found by the sweep."""
        try:
            redeliveries = await self._store.tell_parents([wait_id])
            if not redeliveries:  # others of a block go on, perhaps in vain
                redeliveries = await self._store.cancel_forsaken(wait_id)
            await self._republish(redeliveries)
        except Unavailable as error:
            log.warning("parent.not_told", wait=wait_id, why=str(error))

    # --- a run of another workflow ----------------------------------------------------------------

    async def _child(self, asking: Asking) -> Begun:
        parent, call, request = asking.run, asking.call, asking.request
        self._check_depth(parent)
        version = await self._version(call.template["workflow"], call.template["digest"])
        program = await self._programs.trusted(version.id)
        inputs = program.check_inputs(orjson.loads(request.body))
        run_id = self._new_id()
        new = NewRun(
            id=run_id, workflow_id=version.id, workflow=version.workflow, version=version.version,
            inputs=inputs, inputs_digest=hashlib.sha256(request.body).hexdigest(),
            idempotency_key=run_id, tenant=parent.tenant, actor=parent.actor,
            lane=program.plan.lane, priority=parent.priority,
            deadline_seconds=_deadline(program, asking),
            attributes=program.attributes.of(inputs, {}),
            traceparent=parent.traceparent, tracestate=parent.tracestate,
        )  # fmt: skip
        child = NewChild(run=new, depth=parent.depth + 1, answers=call.on_cancel is not None)
        return Begun(child=child, hint=_hint(Saga.new(program.plan), new))

    def _check_depth(self, parent: RunRecord) -> None:
        if parent.depth < self._max_depth:
            return
        problem = Problem(
            place=f"run {parent.id}", found=f"a run with {parent.depth} above it",
            wanted=f"at most {self._max_depth} (max_child_depth)",
        )  # fmt: skip
        raise InvalidInput("a child would be too far down", problems=[problem])

    async def _version(self, workflow: str, digest: str) -> WorkflowVersion:
        """The version that the parent's plan was published with."""
        known = self._versions.get((workflow, digest))
        if known is None:
            found = [v for v in await self._store.versions(workflow) if v.plan.digest == digest]
            if not found:
                problem = Problem(
                    place=f"workflow {workflow}", found=f"no version with the digest {digest[:12]}",
                    wanted="the one of the same document, published",
                )  # fmt: skip
                raise NotFound("the workflow to begin is not published", problems=[problem])
            known = self._versions[workflow, digest] = found[0]
        return known

    # --- branches of the run's own workflow -------------------------------------------------------

    def _branches(self, asking: Asking) -> tuple[Begun, ...]:
        parent, plan = asking.run, asking.saga.plan
        heads = heads_of(plan, asking.saga.plan_step(asking.at[0]).id)
        self._check_depth(parent)
        if len(heads) > self._max_branches:
            problem = Problem(
                place=f"run {parent.id}", found=f"a block of {len(heads)} branches",
                wanted=f"at most {self._max_branches} (max_branches)",
            )  # fmt: skip
            raise InvalidInput("a block has too many branches", problems=[problem])
        made = (
            begin_branch(
                parent, plan, head, asking.call, asking.request, run_id=self._new_id(),
                now=asking.now, deadline_seconds=_seconds_left(asking),
            )
            for head in heads
        )  # fmt: skip
        return tuple(_begun(child) for child in made)

    async def _undoing_block(self, asking: Asking) -> Begun:
        """A run that begins with what all branches did, and turns back at once."""
        parent, step = asking.run, asking.saga.plan_step(asking.at[0]).id
        run_ids = runs_of(asking.of_step)
        if not run_ids:
            raise _nothing_known(step)
        ended = [
            (_with_payloads(await self._store.run(each)), await self._store.steps(each))
            for each in run_ids
        ]
        plan = (await self._programs.trusted(parent.workflow_id)).plan
        return _begun(begin_undo(parent, plan, step, ended, run_id=self._new_id()))

    # --- a run that undoes one --------------------------------------------------------------------

    async def _undoing(self, asking: Asking) -> Begun:
        """A run that begins with what a child did, and turns back at once."""
        parent, known = asking.run, runs_of(asking.of_step)
        if not known:
            raise _nothing_known(asking.saga.plan_step(asking.at[0]).id)
        old = _with_payloads(await self._store.run(known[0]))
        steps = await self._store.steps(old.id)
        plan = (await self._programs.trusted(old.workflow_id)).plan
        saga, links = turned_back(ClaimedRun(run=old, steps=steps).saga(plan), steps, parent.id)
        run_id = self._new_id()
        new = NewRun(
            id=run_id, workflow_id=old.workflow_id, workflow=old.workflow, version=old.version,
            inputs=old.inputs, inputs_digest=hashlib.sha256(old.id.encode()).hexdigest(),
            idempotency_key=run_id, tenant=old.tenant, actor=parent.actor, lane=old.lane,
            priority=parent.priority, traceparent=parent.traceparent, tracestate=parent.tracestate,
        )  # fmt: skip
        begins = Beginning(saga=saga, links=links, undoes=(old.id,))
        child = NewChild(run=new, depth=parent.depth + 1, answers=True, begins=begins)
        return _begun(child)


def turned_back(
    ended: Saga, steps: Sequence[StepRecord], for_run: str
) -> tuple[Saga, tuple[LinkWrite, ...]]:
    """How a run begins that undoes what an ended one did, and what it takes over of it.

    What was undone there already, by hand or by a person's word, stays so.
    """
    saga = replace(
        ended, status=RunStatus.COMPENSATING, direction=Direction.BACKWARD, cancel=None,
        deadline_at=None, wake_at=None, cause=f"undone with run {for_run}",
    )  # fmt: skip
    links = []
    for place, step in enumerate(steps):
        record = step.forward
        links.append(
            LinkWrite(
                step=place, direction=Direction.FORWARD, link=record.link, request=record.request,
                outputs=record.outputs, started_at=record.started_at,
                finished_at=record.finished_at,
            )
        )  # fmt: skip
        if record.link.status in HAPPENED and step.undo.link != Link():
            links.append(LinkWrite(step=place, direction=Direction.BACKWARD, link=step.undo.link))
    return saga, tuple(links)


def _begun(child: NewChild) -> Begun:
    """With the first wake-up of a run that takes something over."""
    assert child.begins is not None, "it does not begin with the first step of its workflow"
    return Begun(child=child, hint=_hint(child.begins.saga, child.run))


def _with_payloads(run: RunRecord) -> RunRecord:
    """The run, if it can still be undone. Raises Conflict."""
    if run.inputs == ERASED_INPUTS:
        wanted = "a run that still has its payloads"
        problem = Problem(place=f"run {run.id}", found="they were erased", wanted=wanted)
        raise Conflict("the child cannot be undone any more", problems=[problem])
    return run


def _nothing_known(step: str) -> NotFound:
    wanted = "one that began a run, of which it is known"
    problem = Problem(place=f"step {step}", found="no child", wanted=wanted)
    return NotFound("nobody knows what to undo", problems=[problem])


def _hint(saga: Saga, new: NewRun) -> Hint:
    return Hint.at(saga, run_id=new.id, epoch=0, lane=new.lane, urgent=new.priority > 0)


def _deadline(program: Program, asking: Asking) -> float | None:
    """Seconds from now: the workflow's own, but never later than that of the parent."""
    given = (program.plan.deadline_seconds, _seconds_left(asking))
    return min((each for each in given if each is not None), default=None)


def _seconds_left(asking: Asking) -> float | None:
    """To the parent's deadline."""
    until = asking.saga.deadline_at
    return None if until is None else max((until - asking.now).total_seconds(), 0.001)
