"""Slots under any order of calls, deaths and wipes: never more in flight than the limit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import MARGIN_SECONDS, TTL_SECONDS
from orchestrator.ports import Lease
from tests.integration.gate.virtual_time import VirtualLimits, set_clock
from tests.sweeps import so_many, sweep

SECOND = 1_000_000
VALID = int((TTL_SECONDS - MARGIN_SECONDS) * SECOND)


@dataclass
class Process:
    """A holder that keeps the rules of the gate, in the test's time."""

    limits: VirtualLimits
    lease: Lease | None = None
    valid_until: int = 0
    in_use: int = 0
    dead_since: int | None = None
    waiting: int = 0
    on_the_way: list[tuple[int, Lease]] = field(default_factory=list)

    def slots(self, now: int) -> int:
        if self.lease is None or now >= self.valid_until:
            return 0
        return min(self.lease.allowance, self.lease.share)

    async def renew(self, limit: int, now: int) -> None:
        held = max(self.in_use, self.slots(now))
        wanted = self.in_use + self.waiting
        lease = await self.limits.lease("api", limit=limit, wanted=wanted, held=held)
        self.on_the_way.append((now, lease))

    def hear(self) -> None:
        """The answer arrives; meanwhile anything may have happened."""
        if self.on_the_way:
            asked_at, self.lease = self.on_the_way.pop()
            self.valid_until = asked_at + VALID
            self.on_the_way.clear()


@dataclass(frozen=True)
class Step:
    what: str
    process: int
    amount: int


OFTEN = ["talk", "talk", "fill", "fill", "release", "ask", "hear"]
steps = st.builds(
    Step,
    what=st.sampled_from(OFTEN * 3 + ["pause", "pause", "pause", "die", "wipe"]),
    process=st.integers(0, 3),
    amount=st.integers(0, 12),
)


@sweep
@pytest.mark.parametrize("limit", [1, 3, 10])
def test_slots_in_flight_never_exceed_the_limit(limit: int, valkey_url: str) -> None:
    with asyncio.Runner() as runner:
        client = connect(valkey_url)

        @settings(max_examples=so_many(8, whole=25), deadline=None)
        @given(history=st.lists(steps, min_size=30, max_size=80))
        def check(history: list[Step]) -> None:
            runner.run(_play(client, limit, history))

        check()
        runner.run(client.aclose())


async def _play(client: object, limit: int, history: list[Step]) -> None:
    await client.flushdb()
    now = 1_000 * SECOND
    await set_clock(client, now)
    made = [VirtualLimits(client, holder_id=f"h{n}") for n in range(4)]
    processes = [Process(limits=limits) for limits in made]
    for process in processes:
        await process.renew(limit, now)
        process.hear()
    now += SECOND
    for step in history:
        process = processes[step.process]
        if step.what == "pause":
            now += step.amount * SECOND // 10
        elif step.what == "wipe":
            await client.flushdb()
        await set_clock(client, now)
        if process.dead_since is None:
            await _act(process, step, limit, now)
        assert _in_flight(processes, now) <= limit, f"{step} at {now}"


async def _act(process: Process, step: Step, limit: int, now: int) -> None:
    match step.what:
        case "talk" | "ask":
            process.waiting = step.amount
            await process.renew(limit, now)
            if step.what == "talk":
                process.hear()
        case "hear":
            process.hear()
        case "fill":
            process.in_use = max(process.in_use, process.slots(now))
        case "release":
            process.in_use -= min(process.in_use, step.amount)
        case "die":
            process.dead_since = now
    if process.in_use and now >= process.valid_until:
        process.in_use = 0  # the known price: what outlives its lease is not counted here


def _in_flight(processes: list[Process], now: int) -> int:
    """The requests of a dead process count until its lease is over: its server may still work."""
    return sum(
        process.in_use
        for process in processes
        if process.dead_since is None or now < process.valid_until
    )


async def test_all_slots_are_given_out_and_shares_follow_demand(valkey_url: str) -> None:
    client = connect(valkey_url)
    await set_clock(client, 1_000 * SECOND)
    processes = [Process(limits=VirtualLimits(client, holder_id=f"h{n}")) for n in range(3)]
    for now in range(1_000, 1_006):
        await set_clock(client, now * SECOND)
        for process, waiting in zip(processes, (2, 50, 50), strict=True):
            process.waiting = waiting
            await process.renew(20, now * SECOND)
            process.hear()
    assert [process.slots(1_005 * SECOND) for process in processes] == [2, 9, 9]
    await client.aclose()


async def test_a_wipe_lets_nobody_grow_until_old_leases_are_over(valkey_url: str) -> None:
    client = connect(valkey_url)
    first, second = (Process(limits=VirtualLimits(client, holder_id=name)) for name in "ab")
    first.waiting = second.waiting = 10
    for now in (1_000, 1_001):
        await set_clock(client, now * SECOND)
        await first.renew(4, now * SECOND)
        first.hear()
    assert first.slots(1_001 * SECOND) == 4
    await client.flushdb()
    await set_clock(client, 1_002 * SECOND)
    await second.renew(4, 1_002 * SECOND)
    second.hear()
    assert second.slots(1_002 * SECOND) == 0
    await first.renew(4, 1_002 * SECOND)
    first.hear()
    assert first.slots(1_002 * SECOND) == 4
    await client.aclose()


async def test_what_outlived_its_lease_is_not_filled_again_beside_the_others(
    valkey_url: str,
) -> None:
    """Frozen with requests in flight; meanwhile their slots have gone to somebody else."""
    client = connect(valkey_url)
    frozen, other = (Process(limits=VirtualLimits(client, holder_id=name)) for name in "ab")
    start, limit = 1_000, 10
    frozen.waiting = 3
    for now in (start, start + 1):
        await set_clock(client, now * SECOND)
        await frozen.renew(limit, now * SECOND)
        frozen.hear()
    frozen.in_use, frozen.waiting = 3, 50
    now = start + 1 + int(TTL_SECONDS) + 1
    await set_clock(client, now * SECOND)
    other.waiting = 50
    await other.renew(limit, now * SECOND)
    other.hear()
    other.in_use = other.slots(now * SECOND)
    assert other.in_use == limit
    await frozen.renew(limit, now * SECOND)
    frozen.hear()
    frozen.in_use = 0  # the answers were there when it woke up
    assert frozen.slots(now * SECOND) + other.in_use <= limit
    await other.renew(limit, now * SECOND)
    other.hear()
    other.in_use = other.slots(now * SECOND)
    await other.renew(limit, now * SECOND)
    await frozen.renew(limit, now * SECOND)
    frozen.hear()
    assert frozen.slots(now * SECOND) == limit - other.in_use == limit // 2
    await client.aclose()
