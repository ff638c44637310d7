"""A pause at any moment of many runs: from a known time on nothing begins, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest

from orchestrator.core.states import SETTLED, TIMED, RunStatus
from orchestrator.ports import NewPause, RunFilter
from orchestrator.testing.ids import EPOCH
from orchestrator.testing.loop import VirtualLoop
from orchestrator.testing.process import TIMES
from orchestrator.testing.quiet import quiet
from tests.faults.checker.invariants import Violation
from tests.faults.ledger.book import UNDO
from tests.faults.simulation.backing import MemoryBacking
from tests.faults.simulation.house import House, Options
from tests.faults.simulation.judging import judge
from tests.faults.workload import seeds

HEARD_WITHIN = TIMES.pass_every + 0.1
"""Seconds after which every worker has heard of a pause (a look takes hardly any time here)."""
PAUSED_SECONDS = 10.0
RUNS = 30


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a pause of everything did."""

    before: int  # requests that had been sent when it was made
    sent: tuple[str, ...]  # directions of those that left while it held and all had heard of it
    held: frozenset[RunStatus]  # where the runs stood in the end of it
    after: int  # requests that were sent when it was over
    unsettled: int  # runs, a minute after that
    broken: tuple[Violation, ...]


def paused(seed: int, *, also_undoing: bool) -> Seen:
    """A pause of everything, at a moment that the seed says."""
    chance = random.Random(f"pause {seed}")
    submitted = list(seeds(seed, RUNS))
    with quiet(seed):
        loop = VirtualLoop()
        options = Options(workers=2, latency=(0.0, 0.8), at_once=6)
        house = House(loop, seed, MemoryBacking(loop), options)
        times: list[float] = []
        held: set[RunStatus] = set()

        async def play() -> None:
            await house.open()
            await asyncio.sleep(0.5)
            house.submit(submitted)
            await asyncio.sleep(chance.uniform(0.0, 6.0))
            store = house.backing.view()
            pause = NewPause(
                id=house.new_id(), by="ada", reason="an incident", also_undoing=also_undoing
            )
            await store.pause(pause)
            times.append(loop.time())
            await asyncio.sleep(PAUSED_SECONDS)
            held.update(run.status for run in await store.runs(RunFilter(limit=RUNS)))
            times.append(loop.time())
            await store.end_pause(pause.id, by="ada", reason="over")
            await asyncio.sleep(60.0)

        try:
            loop.run_until_complete(play())
            house.close()
            verdict = loop.run_apart(judge(house, submitted, secrets=True))
        finally:
            loop.close()
    made, over = (EPOCH.timestamp() + time for time in times)
    requests = house.writer.records().requests
    return Seen(
        before=sum(each.at < made for each in requests),
        sent=tuple(each.direction for each in requests if made + HEARD_WITHIN < each.at < over),
        after=sum(each.at > over for each in requests),
        held=frozenset(held), unsettled=house.backing.unsettled(), broken=verdict.violations,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_within_a_second_nothing_begins_any_more(seed: int) -> None:
    seen = paused(seed, also_undoing=True)
    assert seen.sent == ()
    assert seen.held <= SETTLED | TIMED | {RunStatus.PAUSED}
    assert seen.broken == ()
    assert seen.unsettled == 0


def test_what_turns_back_goes_on_until_it_is_undone() -> None:
    seen = [paused(seed, also_undoing=False) for seed in range(8)]
    assert {direction for each in seen for direction in each.sent} == {UNDO}
    for each in seen:
        assert RunStatus.COMPENSATING not in each.held
        assert each.broken == ()
        assert each.unsettled == 0


def test_the_moments_are_worth_looking_at() -> None:
    seen = [paused(seed, also_undoing=True) for seed in range(8)]
    assert sum(each.before > 0 and RunStatus.PAUSED in each.held for each in seen) >= 4
    assert sum(each.after > 0 for each in seen) >= 6
