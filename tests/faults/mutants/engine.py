"""Faults of the engine: what it writes down and when, and who may write."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from orchestrator.core import events as e
from orchestrator.core.exchange import FrozenRequest, Judgement, Outcome
from orchestrator.core.plan import Call
from orchestrator.core.saga import Decision, current
from orchestrator.core.states import TIMED
from orchestrator.engine import ending
from orchestrator.engine.batching import Batcher
from orchestrator.engine.driver import RunDriver
from orchestrator.engine.entering import Entrance
from orchestrator.engine.heartbeat import Lifeline
from orchestrator.engine.ledger import At, Ledger
from orchestrator.engine.permits import Permitted
from orchestrator.engine.process import WorkerProcess
from orchestrator.engine.standing import Standing, give_back
from orchestrator.errors import Unavailable
from orchestrator.ports import Hint, Signals, Visit
from tests.faults.mutants.patching import replaced, strike, wrapped
from tests.faults.mutants.planting import World, planted

# --- what is durable before a request leaves ------------------------------------------------------


@planted("P5")
def intent_skipped() -> Iterator[None]:
    """A request leaves before the intent of it is committed."""

    async def begin(self: Entrance, at: At, request: FrozenRequest) -> None:
        flush = self._run.flush

        async def later(**_: Any) -> None:
            strike()

        self._run.flush = later
        try:
            await original(self, at, request)
        finally:
            self._run.flush = flush

    original = Entrance._begin
    with replaced(Entrance, "_begin", begin):
        yield


@planted("P3")
def outcome_before_the_request() -> Iterator[None]:
    """A step is recorded as landed before its request has left."""

    async def exchange(
        self: RunDriver, at: At, call: Call, request: FrozenRequest, visit: Visit, permitted: Any,
        **more: Any,
    ) -> Any:  # fmt: skip
        if more or not isinstance(permitted, Permitted):
            return await original(self, at, call, request, visit, permitted, **more)
        strike()
        believed = Judgement(outcome=Outcome.LANDED, outputs={"id": "?"})
        decision = self._settle(at, e.Landed(), believed)
        await self._run.flush()
        await self._asked(at, call, request, permitted.permit)
        return decision

    original = RunDriver._exchange
    with replaced(RunDriver, "_exchange", exchange):
        yield


@planted("P1")
def commit_not_awaited() -> Iterator[None]:
    """A write counts as committed as soon as it is in the queue."""

    async def submit(self: Batcher[Any, Any], item: Any) -> Any:
        if self._name != "journal":
            return await original(self, item)
        strike()
        task = asyncio.ensure_future(original(self, item))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return Signals()

    original = Batcher.submit
    with replaced(Batcher, "submit", submit):
        yield


@planted("P1")
def unknown_commit_taken_for_done() -> Iterator[None]:
    """A commit that the database did not answer counts as done and is not repeated."""

    async def until_available(self: Batcher[Any, Any], batch: Any) -> Any:
        if self._name != "journal":
            return await original(self, batch)
        try:
            return batch, await self._perform([item for item, _ in batch])
        except Unavailable:
            strike()
            return batch, [Signals()] * len(batch)

    original = Batcher._until_available
    with replaced(Batcher, "_until_available", until_available):
        yield


@planted("P1")
def unknown_commit_taken_for_refused() -> Iterator[None]:
    """A commit that the database did not answer counts as refused: its run is dropped, owned."""

    async def until_available(self: Batcher[Any, Any], batch: Any) -> Any:
        if self._name != "journal":
            return await original(self, batch)
        try:
            return batch, await self._perform([item for item, _ in batch])
        except Unavailable:
            strike()
            return batch, [None] * len(batch)

    original = Batcher._until_available
    with replaced(Batcher, "_until_available", until_available):
        yield


@planted("P3")
def journal_row_dropped_in_a_batch() -> Iterator[None]:
    """Of each batch of several writes the last one is lost, and answered as if it were not."""

    async def until_available(self: Batcher[Any, Any], batch: Any) -> Any:
        if self._name != "journal" or len(batch) < 2:
            return await original(self, batch)
        strike()
        _, answers = await original(self, batch[:-1])
        return batch, [*answers, Signals()]

    original = Batcher._until_available
    with replaced(Batcher, "_until_available", until_available):
        yield


# --- who may write and send -----------------------------------------------------------------------


@planted("P4", world=World.ICE)
def stale_owner_goes_on() -> Iterator[None]:
    """A worker whose write is refused because it has lost the run goes on all the same."""

    async def submit(self: Batcher[Any, Any], item: Any) -> Any:
        answer = await original(self, item)
        if self._name == "journal" and answer is None:
            strike()
            return Signals()
        return answer

    original = Batcher.submit
    with replaced(Batcher, "submit", submit):
        yield


@planted("P5", world=World.ICE)
def last_look_omitted() -> Iterator[None]:
    """A worker that stood still sends its unkeyed request although it may have lost the run."""

    def sure(self: Lifeline) -> bool:
        if original.fget(self):
            strike()
        return False

    original = vars(Lifeline)["doubtful"]
    with replaced(Lifeline, "doubtful", property(sure)):
        yield


@planted("P1")
def slots_never_given_back() -> Iterator[None]:
    """A hop that ends is not reported, so that the worker takes no more messages in the end."""

    def take(self: WorkerProcess, hop: Any, done: Any) -> None:
        del done
        strike()
        original(self, hop, lambda error=None: None)

    original = WorkerProcess.take
    with replaced(WorkerProcess, "take", take):
        yield


@planted("P3")
def given_back_as_not_committed() -> Iterator[None]:
    """A driver that fails gives its run back as it stood in memory, not as it was committed."""

    async def release(self: RunDriver, why: str) -> None:
        strike()
        run = self._run
        await give_back(
            run.ledger.run, run.saga, self._deps, why=why, seq=run.durable_seq + 1,
            number=run.ledger.writes + 1,
        )  # fmt: skip

    with replaced(RunDriver, "release_as_last_committed", release):
        yield


# --- what is told ---------------------------------------------------------------------------------


@planted("P8")
def escalation_not_written() -> Iterator[None]:
    """A run stops, and no escalation says so."""

    def around(take_write: Any) -> Any:
        def spoilt(self: Ledger, saga: Any, **more: Any) -> Any:
            if more.pop("escalation", None) is not None:
                strike()
            return take_write(self, saga, **more)

        return spoilt

    with wrapped(Ledger, "take_write", around):
        yield


@planted("P8")
def escalation_says_nothing_stands() -> Iterator[None]:
    """An escalation does not name the effects that exist."""

    def around(new_escalation: Any) -> Any:
        def spoilt(*args: Any, **more: Any) -> Any:
            made = new_escalation(*args, **more)
            strike()
            return replace(made, context={**made.context, "standing": [], "unknown": []})

        return spoilt

    with wrapped(ending, "new_escalation", around):
        yield


@planted("P8")
def escalation_says_not_why() -> Iterator[None]:
    """An escalation does not say what has happened."""

    def around(new_escalation: Any) -> Any:
        def spoilt(*args: Any, **more: Any) -> Any:
            strike()
            return replace(new_escalation(*args, **more), detail="")

        return spoilt

    with wrapped(ending, "new_escalation", around):
        yield


@planted("P12")
def attempts_numbered_alike() -> Iterator[None]:
    """Every attempt at a link is called the first."""

    def around(attempt: Any) -> Any:
        def spoilt(self: Ledger, record: Any) -> None:
            strike()
            attempt(self, replace(record, number=1))

        return spoilt

    with wrapped(Ledger, "attempt", around):
        yield


@planted("P12")
def audit_by_nobody() -> Iterator[None]:
    """What a worker does is told of under another name."""

    def around(audit: Any) -> Any:
        def spoilt(self: Ledger, kind: str, at: Any, *, actor: str, data: Any) -> None:
            strike()
            audit(self, kind, at, actor=actor[::-1], data=data)

        return spoilt

    with wrapped(Ledger, "audit", around):
        yield


@planted("P12")
def attempt_not_written() -> Iterator[None]:
    """Attempts that did not land leave no row."""

    def around(attempt: Any) -> Any:
        def spoilt(self: Ledger, record: Any) -> None:
            if record.outcome is Outcome.LANDED:
                attempt(self, record)
            else:
                strike()

        return spoilt

    with wrapped(Ledger, "attempt", around):
        yield


@planted("P12", world=World.LIMITS)
def status_changed_without_a_record() -> Iterator[None]:
    """What is decided on without a record of its own is left out of the journal."""

    def forget(self: Standing) -> None:
        if self._journal:
            strike()
        self._journal = []

    with replaced(Standing, "_note_journal", forget):
        yield


@planted("P3")
def core_changes_not_written() -> Iterator[None]:
    """What the core changes besides the link at hand stays in memory."""

    def nothing(_: Standing) -> None:
        strike()

    with replaced(Standing, "note_all_links", nothing):
        yield


@planted("P1", world=World.CALM)
def release_without_a_hint() -> Iterator[None]:
    """A run that is handed on is released, and nobody is woken (with no sweep to notice)."""

    async def submit(self: Batcher[Any, Any], item: Any) -> Any:
        if self._name != "hints":
            return await original(self, item)
        strike()
        return None

    original = Batcher.submit
    with replaced(Batcher, "submit", submit):
        yield


@planted("P1", world=World.CALM)
def publish_before_commit() -> Iterator[None]:
    """A hint is published before the release that it announces (with no sweep to notice)."""
    with publishing_first():
        yield


@contextmanager
def publishing_first() -> Iterator[None]:
    """Release a run after its hint was published, not before."""

    async def hop_away(self: RunDriver) -> Decision | None:
        at, run = current(self._run.saga), self._run.ledger.run
        if at is not None:
            self._entrance.withdraw(at)
        if self._run.saga.status in TIMED:
            return await self._sleep(self._until())
        strike()
        hint = Hint.at(self._run.saga, run_id=run.id, epoch=run.epoch, lane=run.lane)
        await self._deps.outbox.submit(hint)
        await self._run.flush(release=True, hinted=True)
        return None

    with replaced(RunDriver, "_hop_away", hop_away):
        yield
