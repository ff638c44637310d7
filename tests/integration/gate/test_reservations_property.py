"""Start times against the moving window of `limits`, under any order of calls and any delays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import limits.storage.memory
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis

from orchestrator.coordination.connect import connect
from orchestrator.engine.gate_supply import CLOSEST
from orchestrator.engine.rates import parse_rates, spacing_seconds
from orchestrator.ports import Mark, Reservation
from tests.integration.gate.virtual_time import CLOCK, VirtualLimits, set_clock
from tests.sweeps import so_many, sweep

HOLDERS = 3
SECOND = 1_000_000


@dataclass(frozen=True)
class Ask:
    """One process asks, some time after what happened before."""

    after: int  # microseconds
    holder: int
    count: int
    headroom: float  # seconds
    lateness: float  # 0: its requests arrive at once; 1: as late as they may
    unused: int = 0  # so many of them never leave, and are given back when it asks again


@dataclass(frozen=True)
class Wipe:
    """The server forgets everything; every process calls once more before anything else."""


asks = st.builds(
    Ask,
    after=st.one_of(
        st.integers(0, SECOND // 10),
        st.integers(8 * SECOND // 10, SECOND),  # near the end of a window
        st.integers(0, 3 * SECOND),
    ),
    holder=st.integers(0, HOLDERS - 1),
    count=st.integers(1, 30),
    headroom=st.sampled_from([0.04, 0.04, 0.08, 0.5]),
    lateness=st.sampled_from([0.0, 0.5, 1.0]),
    unused=st.sampled_from([0, 0, 1, 5, 30]),
)
events = st.integers(0, 19).flatmap(lambda n: st.builds(Wipe) if n == 0 else asks)
histories = st.lists(events, min_size=25, max_size=60)


@sweep
@pytest.mark.parametrize("rate", ["60/second", "10/second", "7/second; 30/10 second", "1/2 second"])
def test_no_window_ever_holds_more_than_the_rate(
    rate: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One event loop for all examples: connections belong to a loop.
    import asyncio

    with asyncio.Runner() as runner:
        client = connect(valkey_url)

        @settings(max_examples=so_many(15, whole=50), deadline=None)
        @given(history=histories)
        def check(history: list[Ask | Wipe]) -> None:
            arrivals = runner.run(_play(client, rate, history))
            _assert_admitted(rate, arrivals, monkeypatch)

        check()
        runner.run(client.aclose())


async def _play(client: Redis, rate: str, history: list[Ask | Wipe]) -> list[int]:
    """When requests arrive at the API, in microseconds."""
    await client.flushdb()
    now = 1_000 * SECOND
    processes = [VirtualLimits(client, holder_id=f"h{number}") for number in range(HOLDERS)]
    arrivals: list[int] = []
    unused: list[tuple[Mark, ...]] = [()] * HOLDERS
    await set_clock(client, now)
    for process in processes:
        await _ask(process, rate, Ask(after=0, holder=0, count=1, headroom=0.04, lateness=0))
    now += SECOND  # the first use has settled
    for event in history:
        if isinstance(event, Wipe):
            await client.flushdb()
            await set_clock(client, now)
            continue
        now += event.after
        await set_clock(client, now)
        got = await _reserve(processes[event.holder], rate, event, unused[event.holder])
        assert all(start >= now for start in got.starts)
        delay = round(event.lateness * event.headroom * SECOND)
        arrivals += [int(start) + delay for start in got.starts[event.unused :]]
        unused[event.holder] = got.marks[: event.unused]
    return sorted(arrivals)


RATES = ["60/second", "10/second", "40/second; 30/5 second", "3/2 second", "25/5 second"]


@dataclass(frozen=True)
class Change:
    """One process, or each of them, learns of another rate."""

    holder: int | None  # None: all at once
    rate: str


changes = st.builds(
    Change, holder=st.one_of(st.none(), st.integers(0, HOLDERS - 1)), rate=st.sampled_from(RATES)
)
changing = st.lists(
    st.integers(0, 7).flatmap(lambda n: changes if n == 0 else asks), min_size=25, max_size=60
)


@dataclass(frozen=True)
class Let:
    """A request that was let in: between its start and `latest` it arrives."""

    start: int
    latest: int


@sweep
@pytest.mark.parametrize("kept", [10_000, 12])
def test_rates_that_change_count_all_that_was_let_in(kept: int, valkey_url: str) -> None:
    import asyncio

    with asyncio.Runner() as runner:
        client = connect(valkey_url)

        @settings(max_examples=so_many(12, whole=40), deadline=None)
        @given(history=changing)
        def check(history: list[Ask | Change]) -> None:
            runner.run(_play_changes(client, kept, history))

        check()
        runner.run(client.aclose())


async def _play_changes(client: Redis, kept: int, history: list[Ask | Change]) -> None:
    """Each request keeps the rates of its process, and of all that have asked just before."""
    await client.flushdb()
    now = 1_000 * SECOND
    processes = [VirtualLimits(client, holder_id=f"h{n}", kept=kept) for n in range(HOLDERS)]
    rates = dict.fromkeys(range(HOLDERS), RATES[0])
    asked: dict[str, int] = {}  # when somebody last asked with this rate
    let_in: list[Let] = []
    for event in history:
        if isinstance(event, Change):
            changed = range(HOLDERS) if event.holder is None else [event.holder]
            rates.update(dict.fromkeys(changed, event.rate))
            continue
        now += event.after
        await set_clock(client, now)
        rate = rates[event.holder]
        asked[rate] = now
        in_force = [each for each, at in asked.items() if now - at < 2 * SECOND]
        for start in await _ask(processes[event.holder], rate, event):
            _assert_kept(in_force, let_in, int(start))
            latest = int(start) + round(event.headroom * SECOND)
            let_in.append(Let(int(start), max(latest, let_in[-1].latest if let_in else 0)))


def _assert_kept(in_force: list[str], let_in: list[Let], start: int) -> None:
    for text in in_force:
        for rate in parse_rates(text):
            if len(let_in) >= rate.amount:
                nth = let_in[-rate.amount]
                assert start > nth.latest + rate.seconds * SECOND, f"{text} at {start}"


async def _ask(process: VirtualLimits, rate: str, ask: Ask) -> tuple[float, ...]:
    return (await _reserve(process, rate, ask, ())).starts


async def _reserve(
    process: VirtualLimits, rate: str, ask: Ask, unused: Sequence[Mark]
) -> Reservation:
    rates = parse_rates(rate)
    spacing = spacing_seconds(rates, ask.headroom)
    return await process.reserve(
        "api", rates=rates, count=ask.count, waiting=ask.count, headroom_seconds=ask.headroom,
        spacing_seconds=spacing, closest_seconds=spacing * CLOSEST, unused=unused,
    )  # fmt: skip


def _assert_admitted(rate: str, arrivals: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(limits.storage.memory, "time", _Clock(lambda: now[0]))
    storage = MemoryStorage()
    limiter = MovingWindowRateLimiter(storage)
    items = limits.parse_many(rate)
    for arrival in arrivals:
        now[0] = arrival / SECOND
        for item in items:
            assert limiter.hit(item), f"{item} exceeded at {now[0]} by {arrivals}"
    storage.timer.cancel()


@dataclass(frozen=True)
class _Clock:
    """Stands in for the module `time`."""

    time: Callable[[], float]


async def test_an_early_permit_is_noticed_by_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="exceeded"):
        _assert_admitted("2/second", [0, SECOND // 2, SECOND - 1], monkeypatch)


async def test_a_steady_asker_gets_nearly_all_of_the_rate(valkey_url: str) -> None:
    client = connect(valkey_url)
    process = VirtualLimits(client, holder_id="h")
    now, starts = 1_000 * SECOND, []
    for _ in range(200):
        await set_clock(client, now)
        ask = Ask(after=0, holder=0, count=20, headroom=0.04, lateness=0)
        starts += await _ask(process, "200/second", ask)
        now += SECOND // 10
    assert (len(starts) - 1) / ((starts[-1] - starts[0]) / SECOND) >= 0.95 * 200
    await client.aclose()


async def test_a_clock_that_goes_back_closes_for_a_window(valkey_url: str) -> None:
    client = connect(valkey_url)
    process = VirtualLimits(client, holder_id="h")
    ask = Ask(after=0, holder=0, count=5, headroom=0.04, lateness=0)
    for seconds in (1_000, 1_001):
        await set_clock(client, seconds * SECOND)
        await _ask(process, "5/second", ask)
    await set_clock(client, 500 * SECOND)
    assert await _ask(process, "5/second", ask) == ()
    await set_clock(client, 502 * SECOND + SECOND // 2)
    assert len(await _ask(process, "5/second", ask)) == 5
    await client.aclose()


def test_the_clock_key_is_the_tests_alone(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        assert client.get(CLOCK) is None
