"""Processes that send as fast as they may, seen from the API: no limit is ever exceeded."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator.store import migrate
from tests.integration.gate.processes import (
    hammering,
    most_in_a_window,
    most_in_flight,
    rate,
    recording,
    result,
    until_all_have_enough,
)
from tests.steady import HeldStill

RATE = 200  # a second


def task(url: str, port: int, number: int, **more: Any) -> dict[str, Any]:
    return {"url": url, "recorder": port, "holder": f"process-{number}", "runs": 60, **more}


def test_two_processes_exceed_neither_rate_nor_slots(
    valkey_url: str, tmp_path: Path, held_still: HeldStill
) -> None:
    limits = {"rate": f"{RATE}/second", "concurrency": 20, "call_seconds": 0.05, "seconds": 6}
    with recording(tmp_path / "events") as recorder:
        tasks = [task(valkey_url, recorder.port, n, **limits) for n in range(2)]
        with hammering(*tasks) as processes:
            results = [result(process) for process in processes]
        events = recorder.end()
    assert most_in_a_window(events, 1.0) <= RATE
    assert most_in_flight(events) <= 20
    found = rate(events)
    held_still(found >= 0.85 * RATE, f"{found} a second")  # 0.96 with nothing else to do
    calls = [done["calls"] for done in results]
    held_still(min(calls) >= 0.5 * max(calls), f"{calls}: half as many each")


@pytest.mark.long
def test_slow_calls_are_bounded_by_the_slots(
    valkey_url: str, tmp_path: Path, held_still: HeldStill
) -> None:
    limits = {"rate": f"{RATE}/second", "concurrency": 5, "call_seconds": 0.1, "seconds": 4}
    with recording(tmp_path / "events") as recorder:
        tasks = [task(valkey_url, recorder.port, n, **limits) for n in range(3)]
        with hammering(*tasks) as processes:
            results = [result(process) for process in processes]
        events = recorder.end()
    assert most_in_flight(events) <= 5
    held_still(most_in_flight(events) == 5, "not all five slots were used at once")
    calls = [done["calls"] for done in results]
    held_still(min(calls) > 0, f"{calls} in four seconds")


def test_one_slot_goes_round(valkey_url: str, tmp_path: Path) -> None:
    """Nobody waits for ever, while all go on wanting it; test_slots_of_tenants has the shares."""
    limits = {"concurrency": 1, "call_seconds": 0.005, "seconds": 60, "runs": 3, "enough": 40}
    with recording(tmp_path / "events") as recorder:
        tasks = [task(valkey_url, recorder.port, n, **limits) for n in range(3)]
        with hammering(*tasks) as processes:
            until_all_have_enough(processes)
            for process in processes:
                result(process)
        events = recorder.end()
    assert most_in_flight(events) == 1


@pytest.mark.long
def test_slots_of_a_killed_process_come_back(
    valkey_url: str, tmp_path: Path, held_still: HeldStill
) -> None:
    limits = {"concurrency": 20, "call_seconds": 0.05, "seconds": 11}
    with recording(tmp_path / "events") as recorder:
        tasks = [task(valkey_url, recorder.port, n, **limits) for n in range(2)]
        with hammering(*tasks) as (victim, survivor):
            time.sleep(4)
            victim.kill()
            killed_at = time.monotonic()
            result(survivor)
        events = recorder.end()
    assert most_in_flight(events) <= 20
    both = rate(events, after=killed_at - 1.5, until=killed_at)
    half = rate(events, after=killed_at + 0.5, until=killed_at + 2.5)
    again = rate(events, after=killed_at + 5.0, until=killed_at + 6.5)
    held_still(half < 0.7 * both, f"{half} of {both} a second while its slots are kept")
    held_still(again > 0.8 * both, f"{again} of {both} a second once they are back")


@pytest.mark.long
def test_a_wipe_in_the_middle_breaks_nothing(
    valkey_url: str, tmp_path: Path, held_still: HeldStill
) -> None:
    limits = {"rate": f"{RATE}/second", "concurrency": 10, "call_seconds": 0.02, "seconds": 8}
    with recording(tmp_path / "events") as recorder:
        tasks = [task(valkey_url, recorder.port, n, **limits) for n in range(2)]
        with hammering(*tasks) as processes, redis.Redis.from_url(valkey_url) as client:
            for wait in (3.0, 0.3, 0.7):
                time.sleep(wait)
                client.flushdb()
            wiped_at = time.monotonic()
            for process in processes:
                result(process)
        events = recorder.end()
    assert most_in_a_window(events, 1.0) <= RATE
    assert most_in_flight(events) <= 10
    after = rate(events, after=wiped_at + 1.5)
    held_still(after > 0.5 * RATE, f"{after} a second after the wipe")  # it goes on by itself


def test_a_wipe_takes_nothing_of_an_hour_but_a_tenth(
    valkey_url: str, tmp_path: Path, held_still: HeldStill
) -> None:
    database = f"sqlite:///{tmp_path / 'orchestrator.db'}"
    asyncio.run(migrate(database))
    limits = {"rate": f"{RATE}/second; 700/hour", "seconds": 8, "database": database}
    with recording(tmp_path / "events") as recorder:
        tasks = [task(valkey_url, recorder.port, n, **limits) for n in range(2)]
        with hammering(*tasks) as processes, redis.Redis.from_url(valkey_url) as client:
            time.sleep(2.5)
            client.flushall()
            wiped_at = time.monotonic()
            for process in processes:
                result(process)
        events = recorder.end()
    assert most_in_a_window(events, 1.0) <= RATE
    begun = [event.at for event in events if event.begins]
    assert len(begun) <= 700
    after = sum(at > wiped_at + 1.5 for at in begun)
    held_still(after >= 50, f"{after} calls after the wipe")  # it goes on by itself
    held_still(len(begun) >= 700 - 70 - 1, f"{len(begun)} of 700 calls")


def test_a_process_that_stalls_sends_nothing_late(
    valkey_url: str, tmp_path: Path, held_still: HeldStill
) -> None:
    limits = {"rate": f"{RATE}/second", "seconds": 6}
    with recording(tmp_path / "events") as recorder:
        tasks = [
            task(valkey_url, recorder.port, 0, **limits, stall_seconds=0.15),
            task(valkey_url, recorder.port, 1, **limits),
        ]
        with hammering(*tasks) as processes:
            stalled, _ = (result(process) for process in processes)
        events = recorder.end()
    assert most_in_a_window(events, 1.0) <= RATE
    calls = stalled["calls"]
    held_still(calls > 50, f"{calls} calls")  # more headroom, less rate, but it is not starved


def test_two_processes_exceed_no_rule_of_any_tenant(
    valkey_url: str, tmp_path: Path, held_still: HeldStill
) -> None:
    rules = {"each": {"per": "tenant", "rate": "40/second", "concurrency": 5}}
    more = {"rate": f"{RATE}/second", "rules": rules, "call_seconds": 0.05, "seconds": 5}
    with recording(tmp_path / "acme") as acme, recording(tmp_path / "beta") as beta:
        recorders = {"acme": acme.port, "beta": beta.port}
        tasks = [task(valkey_url, 0, n, recorders=recorders, **more) for n in range(2)]
        with hammering(*tasks) as processes:
            for process in processes:
                result(process)
        seen = [acme.end(), beta.end()]
    for events in seen:
        assert most_in_a_window(events, 1.0) <= 40
        assert most_in_flight(events) <= 5
    for events in seen:
        found = rate(events)
        held_still(found >= 0.7 * 40, f"{found} a second")  # 0.9 with nothing else to do
