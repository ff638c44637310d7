"""Accept runs: one INSERT and one round trip to the broker for many."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import orjson
import structlog

from orchestrator.core.aliases import Way, Ways
from orchestrator.core.guarding import Charge
from orchestrator.core.saga import Saga
from orchestrator.core.states import Direction
from orchestrator.core.tracing import known_traceparent, known_tracestate
from orchestrator.definitions.attribute_texts import Pairs
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.errors import InvalidInput, Problem, Unavailable
from orchestrator.ports import (
    Accepted,
    Agent,
    Hint,
    HintPublisher,
    NewRun,
    RunStore,
    WorkflowStore,
    is_urgent,
    queue_name,
)
from orchestrator.service.admission import Admission
from orchestrator.service.asking import ways_to
from orchestrator.service.guarding import Guards
from orchestrator.service.looking import Look

log = structlog.get_logger(__name__)

LARGEST_INSERT = 1000
INSERTS_AT_ONCE = 2
"""While the database takes one, the next is made ready and the one before is published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A run that somebody wants. Without a key it gets its own, so nothing is deduplicated."""

    workflow: str  # or with a version: `order@3`, `order@stable`
    inputs: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None  # None: as the workflow says, see `core.aliases`
    idempotency_key: str | None = None
    tenant: str = "default"
    actor: str = "unknown"
    known_as: str = ""  # who really asks, where `actor` says on whose behalf; empty: the actor
    priority: int = 0
    deadline_seconds: float | None = None  # None: the workflow's own
    attributes: Mapping[str, Any] = field(default_factory=dict)  # beside those of the workflow
    traceparent: str | None = None  # of the trace in which it is wanted, if it is one
    tracestate: str | None = None  # the same
    looked: Sequence[Look] = ()  # what an agent looked at before, see `looking`
    is_agent: bool = False  # a software agent wants it: its tenant's policy for agents holds

    @property
    def agent(self) -> Agent:
        """Whose policy it is under."""
        return Agent(self.tenant, self.known_as or self.actor)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """A workflow version that runs are wanted of."""

    way: Way
    program: Program
    first: Hint  # wakes a new run up, but for its ids
    urgent_queue: str  # where such a hint goes of a run that goes ahead of others

    def wake_up(self, run: NewRun) -> Hint:
        """As `Hint.at` would make it: at the first link, whose id is the run's own."""
        first, urgent = self.first, is_urgent(run.priority, run.deadline_seconds)
        return Hint(
            run_id=run.id, epoch=0, hop_id=run.id, parent_hop_id=None, label=first.label,
            task=first.task, queue=self.urgent_queue if urgent else first.queue,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """What may become of a wish for a workflow."""

    ways: Ways
    targets: Mapping[Way, _Target]

    def of(self, wish: Submission, key: str) -> _Target:
        """What becomes of one with this key."""
        return self.targets[self.ways.of(wish.tenant, key)]


_Checked: TypeAlias = tuple[str, _Target, Mapping[str, Any], str, Pairs]
"""The id of a submission's run, what it becomes a run of, its inputs with their defaults, their
digest, and its attributes."""
_Prepared: TypeAlias = tuple[NewRun, _Target, Submission]


class Submitter:
    """Checks, accepts and wakes. Commit first, publish after; the sweep covers a failed publish."""

    def __init__(
        self,
        store: RunStore,
        workflows: WorkflowStore,
        programs: Programs,
        publisher: HintPublisher,
        *,
        new_id: Callable[[], str],
        max_input_bytes: int,
        admission: Admission,
        guards: Guards | None = None,
    ) -> None:
        self._store, self._workflows, self._guards = store, workflows, guards
        self._programs, self._publisher = programs, publisher
        self._new_id, self._max_input_bytes = new_id, max_input_bytes
        self._admission = admission

    async def submit(self, submissions: Sequence[Submission]) -> list[Accepted]:
        """Accept all, in chunks of one transaction each; answers in the order given.

        Raises Overloaded, InvalidInput (naming the submission by its place, 0-based), NotFound,
        NotAllowed (an agent's policy), Conflict or Unavailable. All are looked at before anything
        is written. Of the chunk that raised nothing is written, of the others something may be;
        repeat with the same keys. Nobody changes the inputs until this is answered.
        """
        async with self._admission.room_for(Counter(wish.tenant for wish in submissions)):
            return await self._submit(submissions)

    async def _submit(self, submissions: Sequence[Submission]) -> list[Accepted]:
        wanted = await self._wanted(submissions)
        checked: list[_Checked] = []
        for start, chunk in _chunks(submissions):
            if start:
                await asyncio.sleep(0)  # a long list does not keep the loop from all else
            checked += [
                self._check(place, wish, wanted[wish.workflow, wish.version])
                for place, wish in enumerate(chunk, start)
            ]

        def prepared(start: int, chunk: Sequence[Submission]) -> list[_Prepared]:
            """Made chunk by chunk: what lives for a moment costs the garbage collector nothing."""
            made: list[_Prepared] = []
            of_chunk = checked[start : start + len(chunk)]
            for wish, found in zip(chunk, of_chunk, strict=True):
                made.append((self._new_run(wish, found), found[1], wish))
            return made

        if len(submissions) <= LARGEST_INSERT:
            return await self._accept(prepared(0, submissions))
        return await self._accept_all(prepared(*each) for each in _chunks(submissions))

    async def _wanted(
        self, submissions: Sequence[Submission]
    ) -> dict[tuple[str, int | None], _Wanted]:
        wanted = dict.fromkeys((wish.workflow, wish.version) for wish in submissions)
        return {at: await self._leading(*at) for at in wanted}

    async def _leading(self, workflow: str, version: int | None) -> _Wanted:
        ways = await ways_to(self._workflows, workflow, version)
        ends = [ways.plain] if ways.canary is None else [ways.plain, ways.canary]
        return _Wanted(ways=ways, targets={way: await self._target(way) for way in ends})

    async def _target(self, way: Way) -> _Target:
        program = await self._programs.trusted(way.workflow_id)
        plan = program.plan
        first = Hint.at(Saga.new(plan), run_id="", epoch=0, lane=plan.lane)
        urgent_queue = queue_name(plan.lane, Direction.FORWARD, urgent=True)
        return _Target(way=way, program=program, first=first, urgent_queue=urgent_queue)

    async def _accept_all(self, chunks: Iterable[Sequence[_Prepared]]) -> list[Accepted]:
        answers: list[Accepted] = []
        under_way: deque[asyncio.Task[list[Accepted]]] = deque()
        try:
            for chunk in chunks:
                if len(under_way) == INSERTS_AT_ONCE:
                    answers += await under_way.popleft()
                under_way.append(asyncio.create_task(self._accept(chunk)))
                await asyncio.sleep(0)  # so that it begins before the next is made
            while under_way:
                answers += await under_way.popleft()
        except asyncio.CancelledError:
            for task in under_way:
                task.cancel()
            raise
        finally:  # after an error, too, nothing goes on behind the caller's back
            await asyncio.gather(*under_way, return_exceptions=True)
        return answers

    async def _accept(self, prepared: Sequence[_Prepared]) -> list[Accepted]:
        accepted = await self._accepted(prepared)
        hints = [
            target.wake_up(run)
            for (run, target, _), answer in zip(prepared, accepted, strict=True)
            if not (answer.repeated or answer.is_held)
        ]
        try:
            await self._publisher.publish(hints)
        except Unavailable as error:
            log.warning("hints.postponed", hints=len(hints), why=str(error))
        return accepted

    async def _accepted(self, prepared: Sequence[_Prepared]) -> list[Accepted]:
        runs = [run for run, _, _ in prepared]
        if self._guards is None:
            return await self._store.accept(runs)
        under = await self._guards.under(
            (run.id, wish.agent, wish.is_agent) for run, _, wish in prepared
        )
        if not under:
            return await self._store.accept(runs)
        charges = [charge_of(target.program, run.inputs, run) for run, target, _ in prepared]
        return await self._guards.accept(runs, charges, under)

    def _check(self, place: int, wish: Submission, wanted: _Wanted) -> _Checked:
        run_id, text = self._new_id(), _canonical(wish.inputs)
        target = wanted.of(wish, wish.idempotency_key or run_id)
        if len(text) > self._max_input_bytes:
            raise self._too_large(place, wish, len(text))
        try:
            inputs = target.program.check_inputs(wish.inputs)
            attributes = target.program.attributes.of(inputs, wish.attributes)
        except InvalidInput as error:
            raise _named(place, error) from None
        if inputs is not wish.inputs:  # defaults came in
            text = _canonical(inputs)
        return run_id, target, inputs, hashlib.sha256(text).hexdigest(), attributes

    def _new_run(self, wish: Submission, checked: _Checked) -> NewRun:
        run_id, target, inputs, digest, attributes = checked
        way, plan, deadline = target.way, target.program.plan, wish.deadline_seconds
        return NewRun(
            id=run_id,
            workflow_id=way.workflow_id,
            workflow=plan.workflow,
            version=way.version,
            inputs=inputs,
            inputs_digest=digest,
            idempotency_key=wish.idempotency_key or run_id,
            tenant=wish.tenant,
            actor=wish.actor,
            lane=plan.lane,
            priority=wish.priority,
            deadline_seconds=plan.deadline_seconds if deadline is None else deadline,
            attributes=attributes,
            traceparent=(parent := known_traceparent(wish.traceparent)),
            # Without a context that can be read it says nothing.
            tracestate=None if parent is None else known_tracestate(wish.tracestate),
            looked=wish.looked,
            alias=way.alias,
        )

    def _too_large(self, place: int, wish: Submission, size: int) -> InvalidInput:
        problem = Problem(
            place=f"submission {place}, inputs of {wish.workflow}",
            found=f"{size} bytes",
            wanted=f"at most {self._max_input_bytes} bytes (setting max_input_bytes)",
        )
        return InvalidInput("the inputs are too large", problems=[problem])


def charge_of(program: Program, inputs: Mapping[str, Any], run: NewRun | None = None) -> Charge:
    """What a run with these inputs, their defaults among them, counts for.

    Raises InvalidInput where they do not tell what it spends.
    """
    amount, currency = program.spending.of(inputs)
    meant, workflow = program.spending.intent(inputs), program.plan.workflow
    told = _canonical(inputs if meant is None else meant)
    intent = hashlib.sha256(workflow.encode() + (b"\n=" if meant is None else b"\n") + told)
    return Charge(
        run_id="" if run is None else run.id, workflow=workflow, amount=amount, currency=currency,
        key="" if run is None else run.idempotency_key, intent=intent.hexdigest(),
    )  # fmt: skip


def _chunks(submissions: Sequence[Submission]) -> Iterator[tuple[int, Sequence[Submission]]]:
    """Each with the place of its first."""
    for start in range(0, len(submissions), LARGEST_INSERT):
        yield start, submissions[start : start + LARGEST_INSERT]


def _named(place: int, error: InvalidInput) -> InvalidInput:
    """The same error; its places name the submission."""
    problems = [
        replace(problem, place=f"submission {place}, {problem.place}") for problem in error.problems
    ]
    return InvalidInput(error.message, problems=problems)


_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_QUICK = _STRICT | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_SORT_KEYS
_MAY_BE_A_FRACTION = re.compile(rb"\d[.e]")
_exact = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _canonical(value: object) -> bytes:
    """One text for the same inputs, always: a key is compared with what was accepted long ago.

    The text is what the standard library writes. orjson writes the same in a tenth of the time,
    fractions and what it refuses (large integers, lone surrogates) left out.
    """
    try:
        text = orjson.dumps(value, option=_QUICK)
    except TypeError:
        pass
    else:
        if _MAY_BE_A_FRACTION.search(text) is None:
            return text
    # The schema check refuses what is not UTF-8.
    return _exact.encode(value).encode("utf-8", "surrogatepass")
