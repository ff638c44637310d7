"""Whatever happens, at each moment at which it can: nothing lost, repeated or torn.

Each second moment with one kind of call in turn, unless there is time for all (`-m long`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import SETTLED, LinkStatus, RunStatus
from orchestrator.engine import batching
from orchestrator.errors import Conflict, Unavailable
from tests.integration.engine.checking import check
from tests.integration.engine.house import House, Worker
from tests.integration.engine.moments import Moments, SlowGate
from tests.integration.engine.world import Fate, Kind, shop_plan

KINDS = [Kind.KEYED, Kind.VERIFIED, Kind.UNKEYED]
in_turn = pytest.mark.parametrize(
    "every",
    [pytest.param(2 * len(KINDS), id="sixth"), pytest.param(1, id="all", marks=pytest.mark.long)],
)
Harm = Callable[["Stage"], Awaitable[None]]


class Stage:
    """One run, the worker that takes it up, and the moments it goes through."""

    def __init__(self, house: House, kind: Kind, number: int, *, slow: bool, back: bool) -> None:
        self.house, self.kind, self.back = house, kind, back
        self.order = f"o-{number}"
        self.moments = Moments(at=number)
        self.gate = SlowGate(self.moments) if slow else None
        self.run_id = ""
        self.worker: Worker

    async def set(self, harm: Harm | None) -> None:
        """Submit it: two steps with a retry, and going back a third that is refused."""
        house = self.house
        house.shop.will(self.order, "s1", Fate.BUSY)
        if self.back:
            house.shop.will(self.order, "s3", *[Fate.REFUSED] * 9)
        house.gate = self.gate
        house.retire()
        self.run_id = await house.submit(shop_plan([(self.kind, self.kind)] * 3), self.order)
        self.worker = await house.worker()
        self.moments.watch(house, self.worker)
        if harm is not None:
            self.moments.happens = lambda: harm(self)

    async def play(self) -> None:
        """Drive the run as far as its first worker does."""
        assert await self.worker.drive(self.house.broker.hints.popleft())

    def sent(self) -> list[str]:
        """What was asked of the API."""
        return [one.name for one in self.house.shop.sent if one.order == self.order]

    async def check(self) -> RunStatus:
        """Every promise, and how it ended."""
        await check(self.house, self.run_id, self.order)
        assert self.gate is None or self.gate.inside == 0, "a permit was kept"
        return (await self.house.store.run(self.run_id)).status


async def undisturbed(house: House, kind: Kind, *, slow: bool, back: bool) -> Stage:
    stage = Stage(house, kind, -1, slow=slow, back=back)
    await stage.set(None)
    await stage.play()
    assert await stage.check() is (RunStatus.COMPENSATED if back else RunStatus.SUCCEEDED)
    return stage


async def each_moment(
    house: House, kind: Kind, harm: Harm, every: int, *, slow: bool = False, back: bool = True
) -> AsyncIterator[tuple[Stage, Stage]]:
    """(the undisturbed stage, one for each moment, or each sixth), to be played."""
    usual = await undisturbed(house, kind, slow=slow, back=back)
    assert len(usual.moments.passed) > 10
    first = KINDS.index(kind) * every // len(KINDS)
    for number in range(first, len(usual.moments.passed), every):
        stage = Stage(house, kind, number, slow=slow, back=back)
        await stage.set(harm)
        yield usual, stage


@pytest.mark.parametrize("slow", [False, True], ids=["open-gate", "slow-gate"])
@in_turn
@pytest.mark.parametrize("kind", KINDS)
async def test_handed_over(house: House, kind: Kind, slow: bool, every: int) -> None:
    """Each request is sent once, and the run is never left in doubt, owned or without a hint."""

    async def hand_over(stage: Stage) -> None:
        assert stage.worker.driver is not None
        stage.worker.driver.hand_over()

    async for usual, stage in each_moment(house, kind, hand_over, every, slow=slow):
        await stage.play()
        await assert_given_back(house, stage.run_id)
        assert (await house.settle(stage.run_id)).status is RunStatus.COMPENSATED
        await stage.check()
        assert stage.sent() == usual.sent()


async def assert_given_back(house: House, run_id: str) -> None:
    run, steps = await house.store.run(run_id), await house.store.steps(run_id)
    assert run.owner is None
    assert run.claims == 0, "given back in good order, it is no suspect"
    for step in steps:
        for link in (step.forward.link, step.undo.link):
            assert link.status is not LinkStatus.STARTED
            assert not link.doubt
    if run.status is RunStatus.WAITING:
        assert run.published_at is None, "only the sweep for lost hints would find it"
    elif run.status not in SETTLED:
        assert [hint.run_id for hint in house.broker.hints] == [run_id]


@in_turn
@pytest.mark.parametrize("kind", KINDS)
async def test_taken_over(house: House, kind: Kind, every: int) -> None:
    """The run has got a new epoch: whatever its old owner does from then on is not written."""

    async def take_over(stage: Stage) -> None:
        found = await house.store.recover_dead(dead_after_seconds=3600, also_dead=[stage.worker.id])
        await house.redeliverer.publish(found)
        house.retire()  # it joins again under a new id

    async for usual, stage in each_moment(house, kind, take_over, every):
        await stage.play()
        last = usual.moments.passed[stage.moments.at :]
        assert len(stage.worker.stale) == (last.count("commit begins") > 0)
        # What was under way may have landed. That is a doubt, and no reason to repeat it.
        run = await house.decide_truthfully(stage.run_id, stage.order)
        assert run.status is RunStatus.COMPENSATED
        await stage.check()


@pytest.mark.parametrize("when", ["commit begins", "commit ends"])
@in_turn
@pytest.mark.parametrize("kind", KINDS)
async def test_the_database_is_away(
    house: House, kind: Kind, when: str, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a commit, or after it unheard: the same batch again, to the same effect."""
    monkeypatch.setattr(batching, "FIRST_PAUSE_SECONDS", 0.0)

    async def fail(stage: Stage) -> None:
        if stage.moments.passed[-1] == when:
            raise Unavailable("database", "here", "a test")

    async for usual, stage in each_moment(house, kind, fail, every):
        await stage.play()
        assert (await house.settle(stage.run_id)).status is RunStatus.COMPENSATED
        await stage.check()
        assert stage.sent() == usual.sent()


@pytest.mark.parametrize("slow", [False, True], ids=["open-gate", "slow-gate"])
@pytest.mark.parametrize("mode", CancelMode)
@in_turn
@pytest.mark.parametrize("kind", KINDS)
async def test_cancelled(
    house: House, kind: Kind, mode: CancelMode, slow: bool, every: int
) -> None:
    """The wish is seen with the next commit, and only a run's last commit comes too late for it."""

    async def cancel(stage: Stage) -> None:
        try:
            redelivery = await house.store.request_cancel(
                stage.run_id, mode=mode, reason="changed my mind", by="ada"
            )
        except Conflict:
            return
        assert redelivery is None, "its owner is at it"

    async for usual, stage in each_moment(house, kind, cancel, every, slow=slow, back=False):
        await stage.play()
        commits = [n for n, what in enumerate(usual.moments.passed) if what == "commit begins"]
        seen_by = next((n for n in commits if n >= stage.moments.at), commits[-1])
        cancelled = RunStatus.COMPENSATED if mode is CancelMode.UNDO else RunStatus.ABANDONED
        wanted = RunStatus.SUCCEEDED if seen_by == commits[-1] else cancelled
        assert await stage.check() is wanted, usual.moments.passed[stage.moments.at :]
