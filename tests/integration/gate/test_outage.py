"""Two processes before an API that falls ill and recovers: real Redis, real HTTP, real time."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.gate.processes import result, tell_that_it_is_over, visiting
from tests.integration.gate.raw_server import RawServer, body, raw_server
from tests.steady import HeldStill

pytestmark = pytest.mark.broker

RATE = 100  # a second
WITHIN = 30.0  # seconds, in which whatever is waited for has come on a busy machine as well
RULES = {"open_seconds": 1.0, "longest_open_seconds": 2.0, "ramp_seconds": 3.0}
GOOD, BAD = body(b"{}"), body(b"", status=b"500 Internal Server Error")


@dataclass
class Api:
    """What it saw; times are `time.monotonic()`."""

    ill: bool = False
    seconds: float = 0.02
    headers: tuple[bytes, ...] = ()
    status: bytes = b""
    came: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def answer(self, _: RawServer, __: bytes, writer: asyncio.StreamWriter) -> None:
        self.came.append(time.monotonic())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(self.seconds)
        self.in_flight -= 1
        if self.status:
            writer.write(body(b"", *self.headers, status=self.status))
        else:
            writer.write(BAD if self.ill else GOOD)

    def calls(self, after: float, until: float) -> int:
        return sum(after <= at < until for at in self.came)

    def peak(self, after: float) -> int:
        """Most calls within any one second since then."""
        times = [at for at in self.came if at >= after]
        most = first = 0
        for last, at in enumerate(times):
            while times[first] <= at - 1.0:
                first += 1
            most = max(most, last - first + 1)
        return most

    async def silent(self, seconds: float, *, within: float) -> float:
        """Wait until nothing has come for so long; when that began."""
        async with asyncio.timeout(within):
            while time.monotonic() - self.came[-1] < seconds:  # noqa: ASYNC110 - it just stays away
                await asyncio.sleep(0.02)
        return self.came[-1]

    async def calls_come(self, number: int, *, within: float) -> None:
        """Wait for so many more."""
        wanted = len(self.came) + number
        async with asyncio.timeout(within):
            while len(self.came) < wanted:  # noqa: ASYNC110 - counted, not signalled
                await asyncio.sleep(0.02)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def visitors(
    stack: ExitStack, url: str, server: RawServer, *, processes: int = 2, **more: Any
) -> list[subprocess.Popen[str]]:
    tasks = [
        {"url": url, "port": server.port, "holder": f"process-{n}", "rules": RULES, **more}
        for n in range(processes)
    ]
    return stack.enter_context(visiting(*tasks))


async def results(processes: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """They end now."""
    tell_that_it_is_over(processes)
    return [await asyncio.to_thread(result, process) for process in processes]


async def test_in_an_outage_all_park_and_the_api_is_taken_up_slowly(
    valkey_url: str, stack: ExitStack, held_still: HeldStill
) -> None:
    api = Api()
    async with raw_server(api.answer) as server:
        processes = visitors(stack, valkey_url, server, rate=f"{RATE}/second", runs=60)
        await api.calls_come(3 * RATE, within=WITHIN)
        api.ill = True
        ill_since = time.monotonic()
        opened = await api.silent(0.7, within=WITHIN)
        await asyncio.sleep(5.0)
        during, times = api.calls(opened + 0.5, time.monotonic()), time.monotonic() - opened
        api.ill = False
        healed = time.monotonic()
        await api.calls_come(2 * RATE, within=WITHIN)
        done = await results(processes)
    print(
        f"opened after {opened - ill_since:.2f} s, {during} probes in 5 s, peak {api.peak(healed)}"
        f" of {RATE}, {done}"
    )
    assert during <= 3 * (times / RULES["open_seconds"] + 1)
    assert sum(each["failed"] for each in done) == 0
    assert sum(each["parked"] for each in done) >= 100
    held_still(opened - ill_since < 3.0, f"opened after {opened - ill_since:.2f} s")
    held_still(api.peak(healed) <= 1.2 * RATE, f"{api.peak(healed)} in a second")


@pytest.mark.long
async def test_half_open_lets_no_more_go_than_the_probes(valkey_url: str, stack: ExitStack) -> None:
    api = Api(ill=True)
    async with raw_server(api.answer) as server:
        processes = visitors(stack, valkey_url, server, runs=40)
        await api.calls_come(20, within=WITHIN)
        await api.silent(0.7, within=WITHIN)
        api.seconds, api.most_in_flight = 0.6, 0
        await api.calls_come(9, within=WITHIN)
        done = await results(processes)
    print(f"at most {api.most_in_flight} probes at once, {done}")
    assert 1 <= api.most_in_flight <= 3
    assert sum(each["failed"] for each in done) == 0


@pytest.mark.long
async def test_a_killed_prober_blocks_nobody(valkey_url: str, stack: ExitStack) -> None:
    api = Api(ill=True)
    rules = {**RULES, "probes": 1}
    async with raw_server(api.answer) as server:
        (prober,) = visitors(stack, valkey_url, server, processes=1, runs=30, rules=rules)
        await api.calls_come(20, within=WITHIN)
        await api.silent(0.7, within=WITHIN)
        api.seconds, api.ill = 60.0, False
        await api.calls_come(1, within=WITHIN)
        await asyncio.to_thread(prober.kill)
        killed = time.monotonic()
        api.seconds = 0.02
        (other,) = visitors(stack, valkey_url, server, processes=1, runs=10, rules=rules)
        await api.calls_come(10, within=WITHIN)
        took = time.monotonic() - killed
        (done,) = await results([other])
    print(f"calls again {took:.2f} s after the kill, {done}")
    assert done["failed"] == 0


@pytest.mark.long
async def test_who_is_asked_to_wait_waits_in_all_processes(
    valkey_url: str, stack: ExitStack
) -> None:
    api = Api()
    async with raw_server(api.answer) as server:
        processes = visitors(stack, valkey_url, server, rate=f"{RATE}/second", runs=20)
        await api.calls_come(RATE, within=WITHIN)
        api.status, api.headers = b"429 Too Many Requests", (b"Retry-After: 3",)
        refused = len(api.came)
        began = await api.silent(0.7, within=WITHIN)
        refused = len(api.came) - refused
        api.status = b""
        await api.calls_come(10, within=WITHIN)
        pause = next(at for at in api.came if at > began) - began
        done = await results(processes)
    print(f"{refused} refused, then {pause:.2f} s of silence, {done}")
    assert pause > 2.2
    assert refused < RATE
    assert sum(each["failed"] for each in done) == 0
