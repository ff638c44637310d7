"""Answers, the end of a wait's time, a cancel and the owner's looks, in any order: one wins.

Played on the store in memory, which the suite in `tests/store` holds to the two databases.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict
from orchestrator.ports import (
    Asks,
    Awaiting,
    ClaimedRun,
    Decision,
    NewSignal,
    NewWait,
    WaitOutcome,
    WaitRecord,
)
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.store.making import ME, accepted, registered, write
from tests.sweeps import so_many, sweep

ACTS = st.lists(
    st.sampled_from([
        "look", "look", "let go", "answer 1", "answer 1", "answer 2", "cancel", "tick", "tick",
    ]),
    min_size=1, max_size=14,
)  # fmt: skip
LIVES = timedelta(seconds=10)


class Play:
    """One run at its wait, and those who want something of it."""

    def __init__(self, asks: Asks) -> None:
        self.now, self.asks = datetime(2026, 1, 1, tzinfo=UTC), asks
        self.store = MemoryStore(MemoryDatabase(lambda: self.now))
        self.owned: ClaimedRun | None = None
        self.wait: WaitRecord | None = None
        self.won: list[str] = []  # who was told that theirs is the answer
        self.refused = self.cancelled = 0

    async def begin(self) -> None:
        await registered(self.store, ME)
        (new,) = await accepted(self.store)
        self.run_id = new.id
        (self.owned,) = await self.store.claim([(new.id, 0)], owner=ME)

    async def act(self, what: str) -> None:
        match what.split():
            case ["look"]:
                await self.look()
            case ["let", "go"]:
                self.owned = self.owned if self.wait is None else None
            case ["answer", who]:
                await self.answer(who)
            case ["cancel"]:
                await self.store.request_cancel(
                    self.run_id, mode=CancelMode.UNDO, reason="no", by="ada"
                )
                self.cancelled += 1
            case _:
                self.now += timedelta(seconds=11)

    async def look(self) -> None:
        """The owner comes to the wait; without one, whoever can claim the run does."""
        if self.owned is None or (await self.store.run(self.run_id)).owner is None:
            row = await self.store.run(self.run_id)
            found = await self.store.claim([(row.id, row.epoch)], owner=ME)
            self.owned = found[0] if found else None
        if self.owned is None:
            return
        wait = NewWait(
            id="w" * 36, run_id=self.run_id, step=0, attempt=1, step_id="s1", asks=self.asks,
            signal="paid" if self.asks is Asks.SIGNAL else None, asked={},
            expires_at=self.now + LIVES,
        )  # fmt: skip
        until = self.now + timedelta(days=1)
        sleeping = write(self.owned, status=RunStatus.WAITING, wake_at=until, release=True)
        (told,) = await self.store.await_answers([Awaiting(wait=wait, write=sleeping)])
        assert told is not None
        self.wait = told.wait
        kept = not told.wait.is_open or told.signals.cancel is not None
        assert ((await self.store.run(self.run_id)).owner is not None) is kept

    async def answer(self, who: str) -> None:
        try:
            if self.asks is Asks.SIGNAL:
                receipt = await self.store.send_signal(
                    NewSignal(run_id=self.run_id, name="paid", key=who, data={}, by=who, via="t")
                )
                if receipt.signal.wait_id and not receipt.repeated:
                    self.won.append(who)
            elif self.wait is not None:
                await self.store.decide(
                    self.wait.id, Decision.APPROVED, by=who, via="t", reason="", data={}
                )
                self.won.append(who)
        except Conflict:
            self.refused += 1

    async def check(self, before: WaitRecord | None) -> WaitRecord | None:
        found = await self.store.waits_of(self.run_id)
        wait = found[0] if found else None
        if before is not None and not before.is_open:
            assert wait == before, "what is over stays as it was"
        kinds = [record.kind for record in await self.store.audit(self.run_id)]
        signals = await self.store.signals_of(self.run_id)
        assert kinds.count("signal.received") == len(signals)
        assert kinds.count("approval.decided") == len(self.won) * (self.asks is Asks.APPROVAL)
        taken = [signal for signal in signals if signal.wait_id is not None]
        assert len(self.won) <= 1
        assert len(taken) <= 1
        if wait is not None:
            self.check_wait(wait, [signal.sent_at for signal in taken])
            row = await self.store.run(self.run_id)
            asleep = row.owner is None and row.status is RunStatus.WAITING
            if asleep and not wait.is_open:
                assert row.published_at is not None, "an answer that wakes nobody"
        return wait

    def check_wait(self, wait: WaitRecord, taken: list[datetime]) -> None:
        """`taken`: when the signal was sent that is the answer."""
        assert wait.expires_at is not None
        if wait.outcome is WaitOutcome.EXPIRED:
            assert self.now >= wait.expires_at
            assert (self.won, taken) == ([], [])
        elif wait.outcome is WaitOutcome.APPROVED:
            assert self.won == [wait.closed_by]
        elif wait.outcome is WaitOutcome.ANSWERED:
            (sent_at,) = taken
            assert sent_at < wait.expires_at
        else:
            assert (wait.outcome, self.won) == (None, [])


@sweep
@settings(max_examples=so_many(100, whole=300), deadline=None)
@given(asks=st.sampled_from(Asks), acts=ACTS)
def test_one_answer_counts_and_none_is_slept_through(asks: Asks, acts: list[str]) -> None:
    async def play() -> None:
        world = Play(asks)
        await world.begin()
        before: WaitRecord | None = None
        for what in acts:
            await world.act(what)
            before = await world.check(before)

    asyncio.run(play())
