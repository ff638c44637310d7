"""Runs that a step of another run begins: what begins with its wait, what a cancel does to them,
and who is told of their end."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson
import structlog

from orchestrator.core.blocks import FORK_METHOD, heads_of
from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.maps import EACH_METHOD, Counts, most_failures
from orchestrator.core.plan import Call, OnCancel
from orchestrator.core.saga import Saga
from orchestrator.core.states import FINAL
from orchestrator.definitions.blocks import UNDO_KIND as UNDO_BLOCK_KIND
from orchestrator.definitions.children import UNDO_METHOD, runs_of
from orchestrator.definitions.maps import asked_of, is_undo_of_map, map_of, without_items
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.engine.branches import begin_branch, begin_undo
from orchestrator.engine.ledger import At
from orchestrator.engine.maps import Maps
from orchestrator.engine.undoing import begin_undo_of, with_payloads
from orchestrator.errors import Conflict, InvalidInput, NotFound, Problem, Unavailable
from orchestrator.ports import (
    ChildStore,
    Hint,
    NewChild,
    NewRun,
    Redelivery,
    RunFilter,
    RunRecord,
    RunStore,
    WorkflowStore,
    WorkflowVersion,
)
from orchestrator.ports.maps import MapStore, NewMap

log = structlog.get_logger(__name__)


class _Store(ChildStore, MapStore, RunStore, WorkflowStore, Protocol):
    """What is needed of one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A run to begin, with its first wake-up."""

    child: NewChild
    hint: Hint


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """What begins with a wait, and the request as it is kept."""

    request: FrozenRequest
    begun: tuple[Begun, ...] = ()
    map: NewMap | None = None


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
        maps: Maps,
        *,
        new_id: Callable[[], str],
        max_depth: int,
        max_branches: int,
        max_map_items: int,
    ) -> None:
        self._store, self._programs, self._republish = store, programs, republish
        self._new_id, self._max_depth, self._max_branches = new_id, max_depth, max_branches
        self.maps, self._max_map_items = maps, max_map_items
        self._versions: dict[tuple[str, str], WorkflowVersion] = {}  # by name and digest

    async def of(self, asking: Asking) -> Opening:
        """What begins with the wait of this link. Raises RefusedError where nothing can."""
        request = asking.request
        if asking.saga.link(*asking.at).doubt:  # it has begun
            return Opening(request=request)
        if is_undo_of_map(asking.call):
            return Opening(request=request, map=await self._undoing_map(asking))
        if request.method == EACH_METHOD:
            return Opening(request=without_items(request), map=await self._map(asking))
        return Opening(request=request, begun=await self._runs(asking))

    async def _runs(self, asking: Asking) -> tuple[Begun, ...]:
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
        if saga.cancel is not None and asking.request.method == EACH_METHOD:
            is_told = asking.call.on_cancel is OnCancel.CANCEL
            mode = saga.cancel if is_told else None
            await self.maps.stop(asking.run.id, reason=saga.cause, cancel=mode)
            return
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

    # --- a run for each of many items -------------------------------------------------------------

    async def _map(self, asking: Asking) -> NewMap:
        parent, template = asking.run, asking.call.template
        self._check_depth(parent)
        version = await self._version(template["workflow"], template["digest"])
        arguments, items, total = asked_of(asking.request)
        if total > self._max_map_items:
            problem = Problem(
                place=f"step {asking.saga.plan_step(asking.at[0]).id}", found=f"{total} items",
                wanted=f"at most {self._max_map_items} (max_map_items)",
            )  # fmt: skip
            raise InvalidInput("a map has too many items", problems=[problem])
        given = {
            "arguments": arguments, "as": template["as"], "index": template.get("index"),
            "counted": items is None,
        }  # fmt: skip
        counts = Counts(
            total=total, parallel=template["parallel"],
            most_failures=most_failures(template["most_failures"], total),
        )  # fmt: skip
        return NewMap(
            workflow_id=version.id, workflow=version.workflow, version=version.version,
            counts=counts, given=given, items=items,
        )  # fmt: skip

    async def _undoing_map(self, asking: Asking) -> NewMap:
        """A map whose items are those that succeeded in another one, and stand."""
        known = map_of(asking.of_step)
        if known is None:
            raise _nothing_known(asking.saga.plan_step(asking.at[0]).id)
        done = await self._store.map(known)
        total = await self._store.count_to_undo(known)
        counts = Counts(total=total, parallel=asking.call.template["parallel"])
        return NewMap(
            workflow_id=done.workflow_id, workflow=done.workflow, version=done.version,
            counts=counts, given={}, undoes=known,
        )  # fmt: skip

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
            (with_payloads(await self._store.run(each)), await self._store.steps(each))
            for each in run_ids
        ]
        # Of the version that the branches followed, by whose numbers their visits are: the parent
        # may go on by another one since.
        plan = (await self._programs.trusted(ended[0][0].workflow_id)).plan
        return _begun(begin_undo(parent, plan, step, ended, run_id=self._new_id()))

    # --- a run that undoes one --------------------------------------------------------------------

    async def _undoing(self, asking: Asking) -> Begun:
        """A run that begins with what a child did, and turns back at once."""
        parent, known = asking.run, runs_of(asking.of_step)
        if not known:
            raise _nothing_known(asking.saga.plan_step(asking.at[0]).id)
        old = with_payloads(await self._store.run(known[0]))
        steps = await self._store.steps(old.id)
        plan = (await self._programs.trusted(old.workflow_id)).plan
        new, begins = begin_undo_of(
            old, steps, plan, parent, run_id=self._new_id(), traceparent=parent.traceparent,
            tracestate=parent.tracestate,
        )  # fmt: skip
        child = NewChild(run=new, depth=parent.depth + 1, answers=True, begins=begins)
        return _begun(child)


def _begun(child: NewChild) -> Begun:
    """With the first wake-up of a run that takes something over."""
    assert child.begins is not None, "it does not begin with the first step of its workflow"
    return Begun(child=child, hint=_hint(child.begins.saga, child.run))


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
