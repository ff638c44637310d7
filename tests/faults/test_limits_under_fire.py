"""An API's limits, seen from the API, while a worker is killed: neither is ever exceeded."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from orchestrator.wiring import gate_url
from tests.faults.limited_demo import LimitedDemo, limited_demo
from tests.integration.demo.running import ZEROS
from tests.integration.gate.processes import Event, most_in_a_window, most_in_flight
from tests.steady import HeldStill

RUNS = 450
RATE, SLOTS = 200, 20
DELAY_SECONDS = 0.12  # 20 slots carry fewer than 200 requests a second; without it the rate counts
SLOTS_BACK_WITHIN_SECONDS = 6.0
MEASURED_SECONDS = 2.0

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]


async def test_limits_hold_and_a_killed_worker_s_slots_come_back(
    tmp_path: Path, held_still: HeldStill
) -> None:
    limits = {"rate": f"{RATE}/second", "concurrency": SLOTS}
    with limited_demo(tmp_path, limits=limits, delay_seconds=DELAY_SECONDS) as demo:
        playing = asyncio.create_task(demo.play(RUNS))
        await until(lambda: demo.settled() > RUNS // 8, "an eighth settled", seconds=90)
        await until(lambda: shared(allowances(demo)), "half each", seconds=60)
        assert demo.settled() < RUNS // 2, "too little is left for the survivor"
        victim = demo.supervisor.workers[0]
        os.killpg(victim.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        await until(lambda: allowances(demo) == [SLOTS], "all slots with the survivor", seconds=60)
        back_at = time.monotonic()
        await asyncio.sleep(MEASURED_SECONDS)
        demo.proxy.hurry()
        result = await asyncio.wait_for(playing, 150)
        events = demo.proxy.end()
    print(
        f"slots back after {back_at - killed_at:.1f} s; at most {most_in_a_window(events, 1.0)} "
        f"requests in a second and {most_in_flight(events)} in flight"
    )
    found = result.totals.to_json()
    assert {name: found[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
    assert most_in_a_window(events, 1.0) <= RATE
    assert most_in_flight(events) <= SLOTS
    held_still(back_at - killed_at < SLOTS_BACK_WITHIN_SECONDS, f"{back_at - killed_at} s")
    reached = most_in_flight([event for event in events if event.at < killed_at])
    held_still(reached == SLOTS, "the limit was never reached: this shows nothing")
    used = in_flight(events, after=back_at, until=back_at + MEASURED_SECONDS)
    held_still(used > SLOTS // 2, "the survivor does not use the slots")


def in_flight(events: list[Event], *, after: float, until: float) -> int:
    """The largest number of requests under way at once in this time."""
    now = most = 0
    for event in events:
        now += 1 if event.begins else -1
        if after <= event.at <= until:
            most = max(most, now)
    return most


def allowances(demo: LimitedDemo) -> list[int]:
    """Slots that each living worker may fill, as the shared limits have them."""
    address = gate_url(demo.settings, demo.supervisor.broker_url)
    with redis.Redis.from_url(address, decode_responses=True) as client:
        seconds, microseconds = client.time()
        now = seconds * 1_000_000 + microseconds
        holders = client.hvals("orchestrator:gate:kinto:holders")
    fields = [[int(part) for part in value.split()] for value in holders]
    return [allowance for allowance, _, expires, _ in fields if expires > now]


def shared(allowed: list[int]) -> bool:
    """All slots are given, and two workers have about half each: about as much waits in both."""
    return len(allowed) == 2 and sum(allowed) == SLOTS and min(allowed) >= SLOTS // 2 - 2


async def until(condition: Callable[[], bool], what: str, *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.05)
