"""Thousands of runs before one API, in virtual time: whose turn it is, and how often they ask."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from orchestrator.engine.api_book import ApiBook
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.rates import parse_rates
from orchestrator.ports import GateBusy, Visit
from orchestrator.testing.loop import VirtualLoop
from orchestrator.testing.memory.limits import LimitServer, MemoryLimits
from orchestrator.testing.quiet import quiet
from tests.faults.mutants.deadline import time_limit

PATIENCE_SECONDS = 5.0
CALL_SECONDS = 0.05
RATE = 100
SWEEP_SECONDS = 1.0  # a run that is due, or was recalled, is here so much later at most


@dataclass
class Story:
    """What became of one run's call."""

    tenant: str
    came_at: float
    left_at: float = 0.0
    told: int = 0  # how often it was told to come back
    operation: str = ""

    @property
    def waited(self) -> float:
        return self.left_at - self.came_at


@dataclass
class Crowd:
    """Runs that each want one call, spread over the gates of several processes."""

    loop: VirtualLoop
    gates: list[SharedGate] = field(default_factory=list)
    book: ApiBook = field(default_factory=ApiBook)
    stories: list[Story] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    parked: dict[str, asyncio.Event] = field(default_factory=dict)  # by run id

    def come(self, tenant: str, runs: int, *, to: Sequence[int] | None = None, **more: Any) -> None:
        """`to`: the processes in turn, by number; None: all of them."""
        gates = self.gates if to is None else [self.gates[number] for number in to]
        for number in range(runs):
            gate = gates[number % len(gates)]
            visit = Visit(api="api", run_id=f"{tenant}-{len(self.tasks)}", tenant=tenant, **more)
            self.tasks.append(asyncio.ensure_future(self._one(gate, visit)))

    def turn_to(self, **config: Any) -> None:
        """Another configuration, in all processes at once."""
        self.book.take({"api": replace(self.book.now("api"), **config)})

    async def _one(self, gate: SharedGate, visit: Visit) -> None:
        story = Story(visit.tenant, self.loop.time(), operation=visit.operation)
        self.stories.append(story)
        while True:
            try:
                busy = gate.turns_away(visit, patience_seconds=PATIENCE_SECONDS)
                if busy is not None:
                    raise busy
                permit = await gate.enter(visit, patience_seconds=PATIENCE_SECONDS)
            except GateBusy as busy:
                story.told += 1
                await self._parked_for(busy.seconds, visit.run_id)
                visit = msgspec.structs.replace(visit, parked=True)
                continue
            story.left_at = self.loop.time()
            await asyncio.sleep(CALL_SECONDS)
            permit.release()
            return

    async def _parked_for(self, seconds: float, run_id: str) -> None:
        called = self.parked[run_id] = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await called.wait()
        del self.parked[run_id]
        await asyncio.sleep(random.uniform(0, SWEEP_SECONDS))

    async def recall(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            if run_id in self.parked:
                self.parked[run_id].set()


def played(
    play: Callable[[Crowd], Any], *, processes: int = 2, **config: Any
) -> list[Story]:  # fmt: skip
    """All stories once every run has left."""

    async def whole() -> list[Story]:
        api = ApiConfig(name="api", **{"rates": parse_rates(f"{RATE}/second"), **config})
        server = LimitServer(lambda: 1e6 + loop.time())
        crowd = Crowd(loop, book=ApiBook({"api": api}))
        crowd.gates = [
            SharedGate(
                MemoryLimits(server, holder_id=str(number), monotonic=loop.time), crowd.book,
                recall=crowd.recall,
            )
            for number in range(processes)
        ]  # fmt: skip
        await play(crowd)
        for ended in await asyncio.gather(*crowd.tasks, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError)
        for gate in crowd.gates:
            await gate.aclose()
        return crowd.stories

    loop = VirtualLoop()
    with quiet(1), time_limit(60.0):
        stories = loop.run_until_complete(whole())
    loop.close()
    return stories


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


@pytest.mark.long
def test_ten_thousand_come_back_one_after_the_other() -> None:
    """The rate is used to the end, and nobody asks more than a few times."""

    async def play(crowd: Crowd) -> None:
        crowd.come("large", 10_000)

    stories = played(play, processes=4)
    seconds = max(story.left_at for story in stories) - min(story.left_at for story in stories)
    assert 10_000 / seconds >= 0.93 * RATE  # 96 % is what the headroom leaves
    asked = sum(story.told for story in stories) / len(stories)
    assert asked <= 4


def test_a_small_tenant_behind_a_large_backlog_waits_for_its_own_turn_only() -> None:
    async def play(crowd: Crowd) -> None:
        crowd.come("large", 4000)
        await asyncio.sleep(3.0)
        for tenant in ("b", "c", "d"):
            crowd.come(tenant, 40)

    stories = played(play)
    for tenant in ("b", "c", "d"):
        waits = [story.waited for story in stories if story.tenant == tenant]
        # Alone at a quarter of the rate: forty runs in 1.7 s.
        assert p99(waits) <= 1.5 * 40 / (RATE / 4)


def test_weights_hold_among_those_who_come_back() -> None:
    async def play(crowd: Crowd) -> None:
        crowd.come("gold", 3000)
        crowd.come("acme", 3000)

    stories = played(play, weights={"gold": 3.0})
    gold_left = sorted(story.left_at for story in stories if story.tenant == "gold")
    contended = [story for story in stories if 5.0 < story.left_at - 0.0 < gold_left[-300]]
    gold = sum(story.tenant == "gold" for story in contended)
    assert 0.70 <= gold / len(contended) <= 0.80


def _served_while_all_wait(stories: Sequence[Story], since: float) -> dict[str, int]:
    """Of each tenant, until the first of them has but a tenth of its runs left."""
    left: dict[str, list[float]] = {}
    for story in stories:
        left.setdefault(story.tenant, []).append(story.left_at)
    end = min(sorted(times)[int(len(times) * 0.9)] for times in left.values())
    return {tenant: sum(since < at <= end for at in times) for tenant, times in left.items()}


def _jain(served: Collection[float]) -> float:
    """Jain, Chiu and Hawe 1984: 1 when all are equal, 1/n when one has everything."""
    return sum(served) ** 2 / (len(served) * sum(each * each for each in served))


@pytest.mark.parametrize("weight", [pytest.param(1.0, marks=pytest.mark.long), 3.0])
def test_tenants_have_their_shares_however_they_lie_on_the_processes(weight: float) -> None:
    async def play(crowd: Crowd) -> None:
        crowd.come("large", 8000)
        await asyncio.sleep(3.0)
        crowd.come("b", 400, to=[0])
        crowd.come("c", 400, to=[1, 1, 1, 2])
        crowd.come("d", 400)

    served = _served_while_all_wait(played(play, processes=4, weights={"d": weight}), since=3.0)
    assert sum(served.values()) >= 600
    by_weight = [number / (weight if tenant == "d" else 1.0) for tenant, number in served.items()]
    assert _jain(by_weight) >= 0.98, served


def test_what_a_process_is_entitled_to_and_does_not_use_goes_to_the_others() -> None:
    """A tenant with one run at a time is entitled to half, and uses a fraction of it."""

    async def play(crowd: Crowd) -> None:
        crowd.come("large", 2000, to=[0, 1, 2])
        await asyncio.sleep(3.0)
        for _ in range(30):
            crowd.come("small", 1, to=[3])
            await asyncio.sleep(0.5)

    stories = played(play, processes=4)
    waits = [story.waited for story in stories if story.tenant == "small"]
    assert p99(waits) <= 0.5
    left = [story.left_at for story in stories]
    assert 2030 / (max(left) - min(left)) >= 0.93 * RATE


def test_compensations_do_not_wait_for_new_work() -> None:
    async def play(crowd: Crowd) -> None:
        crowd.come("large", 3000)
        await asyncio.sleep(5.0)
        crowd.come("undoing", 50, undo=True)

    stories = played(play)
    undone = [story.waited for story in stories if story.tenant == "undoing"]
    assert max(undone) <= 50 / RATE * 1.5 + 0.3


def test_who_was_told_to_come_back_is_not_overtaken() -> None:
    async def play(crowd: Crowd) -> None:
        for _ in range(10):
            crowd.come("acme", 300)
            await asyncio.sleep(1.0)

    stories = played(play, processes=1)
    order = [story.came_at for story in sorted(stories, key=lambda story: story.left_at)]
    third = len(order) // 3
    assert sum(order[:third]) < sum(order[-third:])
    assert p99([story.waited for story in stories]) <= 1.3 * 3000 / RATE


def test_when_others_have_gone_the_rest_is_called_back_earlier() -> None:
    """Half of those who are parked never come; nobody waits for their turns."""

    async def play(crowd: Crowd) -> None:
        crowd.come("large", 3000)
        await asyncio.sleep(10.0)
        for task in crowd.tasks[::2]:
            task.cancel()

    stories = played(play)
    assert max(story.left_at for story in stories) <= 1.25 * (1500 + 500) / RATE


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_tenants_have_their_shares_of_slots_in_whatever_process_they_wait(weight: float) -> None:
    """No rate: twenty at once, and one tenant's requests wait in one of four processes only."""

    async def play(crowd: Crowd) -> None:
        crowd.come("large", 1600)
        await asyncio.sleep(0.5)
        crowd.come("small", 600, to=[3])

    stories = played(
        play, processes=4, rates=(), concurrency=20, connections=20, weights={"small": weight}
    )
    small = [story for story in stories if story.tenant == "small"]
    begin, end = 1.0, max(story.left_at for story in small) - 0.5
    contended = [story for story in stories if begin < story.left_at < end]
    mine = sum(story.tenant == "small" for story in contended)
    assert mine / len(contended) == pytest.approx(weight / (weight + 1), abs=0.05)
