"""An API that is changed by file and by command while two workers run, seen from the API."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from orchestrator.wiring_services import open_services
from tests.faults.limited_demo import configure, limited_demo
from tests.faults.test_limits_under_fire import until
from tests.integration.demo.running import ZEROS
from tests.integration.gate.processes import Event, most_in_a_window
from tests.steady import HeldStill

RUNS = 260
FIRST, BY_FILE, BY_COMMAND = 15, 45, 25  # requests a second
RELOAD_SECONDS = 0.5
TURNED_SECONDS = RELOAD_SECONDS + 3.0  # until the change has reached both, and the old one is over
MEASURED_SECONDS = 3.5  # three bursts of a second's rate at least, wherever it begins
WHY = {"by": "test", "reason": "to see that it counts"}

pytestmark = [pytest.mark.broker, pytest.mark.long, pytest.mark.timeout(240)]


async def test_changes_count_within_seconds_and_no_run_is_lost(
    tmp_path: Path, held_still: HeldStill
) -> None:
    limits = {"rate": f"{FIRST}/second"}
    with limited_demo(
        tmp_path, limits=limits, delay_seconds=0.0, reload_seconds=RELOAD_SECONDS
    ) as demo:
        playing = asyncio.create_task(demo.play(RUNS))
        await until(lambda: demo.settled() > 0, "the first run settled", seconds=90)
        before = await _measured(1.0)  # once both are at it
        configure(demo.settings.config_dir, {"rate": f"{BY_FILE}/second"})
        by_file = await _measured(TURNED_SECONDS)
        async with open_services(demo.settings) as services:
            apis = services.apis
            await apis.set("kinto", {"rate": f"{BY_COMMAND}/second"}, **WHY)
            by_command = await _measured(TURNED_SECONDS)
            await apis.hold("kinto", **WHY)
            held = await _measured(TURNED_SECONDS)
            assert not playing.done(), "all is over before it could be seen"
            parked = sum(queue.parked for queue in await services.queues.overview())
            await apis.set("kinto", {"rate": "300/second"}, **WHY)
            await apis.release("kinto", **WHY)
            released_at = time.monotonic()
        result = await asyncio.wait_for(playing, 150)
        events = demo.proxy.end()
    rates = [_rate(events, *when) for when in (before, by_file, by_command, held)]
    again = min(event.at for event in events if event.at > held[1]) - released_at
    print(f"requests a second {rates}; {parked} runs parked; {again:.1f} s after the release")
    found = result.totals.to_json()
    assert {name: found[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
    for (after, end), rate in ((before, FIRST), (by_file, BY_FILE), (by_command, BY_COMMAND)):
        inside = [event for event in events if after <= event.at <= end]
        assert most_in_a_window(inside, 1.0) <= rate
    assert _rate(events, *held) == 0
    assert parked > 0
    held_still(again < RELOAD_SECONDS + 4.5, f"{again} s after the release")
    for found_rate, rate in zip(rates, (FIRST, BY_FILE, BY_COMMAND), strict=False):
        held_still(found_rate >= 0.6 * rate, f"{found_rate} of {rate} a second")


async def _measured(after: float) -> tuple[float, float]:
    """A time to look at, once it is over: its begin and end."""
    begin = time.monotonic() + after
    await asyncio.sleep(after + MEASURED_SECONDS)
    return begin, begin + MEASURED_SECONDS


def _rate(events: list[Event], after: float, until_: float) -> float:
    begun = sum(event.begins and after <= event.at <= until_ for event in events)
    return begun / (until_ - after)
