"""One suite for SharedHealth: the script on a real server, and the memory of simulations.

Both under a clock that the test moves. The last test compares them report by report.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.coordination.api_health import RedisHealth
from orchestrator.coordination.connect import connect
from orchestrator.core.health import (
    CALM_SECONDS,
    CUT,
    FIRST_CUT,
    PROBE_SECONDS,
    RAMP_FROM,
    BreakerState,
    Health,
    HealthRules,
    News,
    ramp,
)
from orchestrator.errors import Unavailable
from orchestrator.ports import SharedHealth
from orchestrator.testing.memory.health import HealthServer, MemoryHealth
from tests.integration.gate.shared_servers import TimedValkey
from tests.integration.gate.virtual_time import VirtualHealth
from tests.sweeps import so_many, sweep

SECOND = 1_000_000
BEGIN = 1_000 * SECOND
RULES = HealthRules(calls=10, open_seconds=4.0, longest_open_seconds=12.0, probes=2)
ILL = News(calls=10, failures=10)
NOTHING = News()


class Server(Protocol):
    """What all processes share; times are whole microseconds."""

    async def at(self, now: int) -> None:
        """Move the clock."""

    async def flush(self) -> None:
        """Forget everything."""

    def process(self, name: str) -> SharedHealth:
        """One process's way to it."""


class ValkeyServer(TimedValkey):
    def process(self, name: str) -> SharedHealth:
        return VirtualHealth(self._client, holder_id=name)


class MemoryServer:
    def __init__(self) -> None:
        self._now = 0
        self._server = HealthServer(lambda: self._now / SECOND)

    async def at(self, now: int) -> None:
        self._now = now

    async def flush(self) -> None:
        self._server.flush()

    def process(self, name: str) -> SharedHealth:
        return MemoryHealth(self._server, holder_id=name)


@pytest.fixture(params=[pytest.param("valkey", marks=pytest.mark.broker), "memory"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield MemoryServer()
        return
    client = connect(request.getfixturevalue("valkey_url"))
    yield ValkeyServer(client)
    await client.aclose()


async def report(process: SharedHealth, news: News = NOTHING) -> Health:
    return await process.report("api", RULES, news)


async def half_open(server: Server, process: SharedHealth) -> Health:
    """Make it ill and let the time pass; the clock is at BEGIN + 4 s then."""
    await server.at(BEGIN)
    await report(process, ILL)
    await server.at(BEGIN + 4 * SECOND)
    return await report(process)


async def test_what_nobody_has_spoken_of_is_well(server: Server) -> None:
    await server.at(BEGIN)
    found = await report(server.process("a"))
    assert (found.state, found.episode, found.pace) == (BreakerState.CLOSED, 0, 1.0)
    assert ramp(found.closed_for_seconds, RULES) == 1.0


async def test_failures_of_several_processes_open_it_for_all(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    await server.at(BEGIN)
    assert (await report(first, News(calls=6, failures=3))).state is BreakerState.CLOSED
    found = await report(second, News(calls=4, failures=2))
    assert (found.state, found.open_seconds, found.episode) == (BreakerState.OPEN, 4.0, 1)
    await server.at(BEGIN + SECOND)
    assert (await report(first)).open_seconds == 3.0


@pytest.mark.parametrize(
    "news",
    [
        News(calls=9, failures=9),  # too few to say anything
        News(calls=20, failures=9),
        News(calls=20, slow=15),
    ],
)
async def test_what_does_not_open_it(server: Server, news: News) -> None:
    await server.at(BEGIN)
    assert (await report(server.process("a"), news)).state is BreakerState.CLOSED


async def test_slow_calls_open_it_too(server: Server) -> None:
    await server.at(BEGIN)
    found = await report(server.process("a"), News(calls=20, slow=16))
    assert found.state is BreakerState.OPEN


async def test_what_is_older_than_the_window_does_not_count(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN)
    await report(process, News(calls=9, failures=9))
    await server.at(BEGIN + 9 * SECOND)
    assert (await report(process)).calls == 9
    await server.at(BEGIN + 10 * SECOND)
    found = await report(process, News(calls=9, failures=9))
    assert (found.state, found.calls) == (BreakerState.CLOSED, 9)


async def test_a_report_that_comes_twice_counts_once(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN)
    for _ in range(3):
        found = await report(process, News(number=7, calls=4, failures=4))
    assert found.calls == 4


async def test_half_open_lets_so_many_probes_go_over_all(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    found = await half_open(server, first)
    assert (found.state, found.probes) == (BreakerState.HALF_OPEN, 0)
    got = await report(first, News(episode=1, probes_wanted=1))
    other = await report(second, News(episode=1, probes_wanted=5))
    more = await report(first, News(episode=1, probes_held=1, probes_wanted=5))
    assert (got.probes, other.probes, more.probes) == (1, 1, 1)


async def test_probes_of_the_dead_are_free_when_their_lease_is_over(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    await half_open(server, first)
    await report(first, News(episode=1, probes_wanted=2))
    await server.at(BEGIN + 4 * SECOND + int(PROBE_SECONDS * SECOND) - 1)
    assert (await report(second, News(episode=1, probes_wanted=1))).probes == 0
    await server.at(BEGIN + 4 * SECOND + int(PROBE_SECONDS * SECOND))
    assert (await report(second, News(episode=1, probes_wanted=1))).probes == 1


async def test_good_probes_close_it_and_it_starts_slowly(server: Server) -> None:
    process = server.process("a")
    await half_open(server, process)
    found = await report(process, News(episode=1, probes_good=1))
    assert found.state is BreakerState.HALF_OPEN
    found = await report(process, News(episode=1, probes_good=1))
    assert (found.state, found.episode) == (BreakerState.CLOSED, 2)
    assert ramp(found.closed_for_seconds, RULES) == RAMP_FROM
    await server.at(BEGIN + 9 * SECOND)
    later = await report(process)
    assert ramp(later.closed_for_seconds, RULES) == pytest.approx(0.55)


async def test_a_bad_probe_opens_it_for_twice_as_long_up_to_a_limit(server: Server) -> None:
    process = server.process("a")
    await half_open(server, process)
    now, found = BEGIN + 4 * SECOND, await report(process, News(episode=1, probes_bad=1))
    seconds = [found.open_seconds]
    for _ in range(2):
        now += round(found.open_seconds * SECOND)
        await server.at(now)
        found = await report(process, News(episode=found.episode, probes_bad=1))
        seconds.append(found.open_seconds)
    assert seconds == [8.0, 12.0, 12.0]


async def test_what_was_seen_in_another_episode_does_not_count(server: Server) -> None:
    process = server.process("a")
    await half_open(server, process)
    for news in (News(probes_good=2), News(probes_bad=1), ILL):
        found = await report(process, news)
        assert (found.state, found.episode) == (BreakerState.HALF_OPEN, 1)


async def test_the_pace_is_cut_once_a_second_and_rises_again(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    await server.at(BEGIN)
    assert (await report(first, News(throttled=True))).pace == FIRST_CUT
    found = await report(second, News(throttled=True))
    assert (found.pace, found.cuts) == (FIRST_CUT, 1)
    await server.at(BEGIN + SECOND)
    found = await report(second, News(throttled=True))
    assert (found.pace, found.cuts) == (pytest.approx(CUT), 2)
    await server.at(BEGIN + 2 * SECOND)
    found = await report(second, News(throttled=True))
    assert found.pace == pytest.approx((CUT + 0.02) * CUT)
    await server.at(BEGIN + 60 * SECOND)
    assert (await report(first)).pace == 1.0


async def test_refused_calls_are_few_or_the_first_of_many(server: Server) -> None:
    """Those of one moment, a while apart, cost next to nothing; the next second tells."""
    process = server.process("a")
    for turn in range(3):
        await server.at(BEGIN + turn * int(CALM_SECONDS) * SECOND)
        assert (await report(process, News(throttled=True))).pace == FIRST_CUT
    await server.at(BEGIN + (2 * int(CALM_SECONDS) + 9) * SECOND)
    assert (await report(process, News(throttled=True))).pace == CUT


async def test_a_pause_is_for_all_and_has_a_limit(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    await server.at(BEGIN)
    await report(first, News(pause_seconds=3.0))
    await report(first, News(pause_seconds=1.0))
    assert (await report(second)).pause_seconds == 3.0
    await server.at(BEGIN + 4 * SECOND)
    assert (await report(second)).pause_seconds == 0.0
    await report(first, News(pause_seconds=1e6))
    assert (await report(second)).pause_seconds == RULES.longest_pause_seconds


async def test_a_clock_that_goes_back_leaves_nothing_shut_for_long(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN)
    await report(process, replace(ILL, pause_seconds=10.0, throttled=True))
    await server.at(BEGIN // 2)
    found = await report(process)
    assert found.open_seconds <= RULES.longest_open_seconds
    assert found.pause_seconds <= RULES.longest_pause_seconds


async def test_a_clock_that_goes_back_shuts_nothing_that_was_open(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN + 3600 * SECOND)
    await report(process)
    await server.at(BEGIN)
    found = await report(process)
    assert (found.state, found.pause_seconds) == (BreakerState.CLOSED, 0.0)


async def test_a_clock_that_goes_back_leaves_of_a_pause_what_was_left(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN + 3600 * SECOND)
    await report(process, News(pause_seconds=8.0))
    await server.at(BEGIN + 3605 * SECOND)
    await report(process)
    await server.at(BEGIN)
    assert (await report(process)).pause_seconds == 3.0
    await server.at(BEGIN + 3 * SECOND)
    assert (await report(process)).pause_seconds == 0.0


async def test_after_a_wipe_another_book_begins(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN)
    before = await report(process, ILL)
    await server.flush()
    after = await report(process)
    assert after.state is BreakerState.CLOSED
    assert after.generation != before.generation


@pytest.mark.parametrize("kind", ["valkey", "memory"])
async def test_a_server_that_is_away(kind: str) -> None:
    if kind == "memory":
        server = HealthServer(lambda: 0.0)
        server.away = True
        process: SharedHealth = MemoryHealth(server, holder_id="a")
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = RedisHealth(connect(f"redis://127.0.0.1:{port}/0"), holder_id="a")
    with pytest.raises(Unavailable):
        await report(process)
    if isinstance(process, RedisHealth):
        await process.redis.aclose()


# --- both -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One process reports, some time (microseconds) after what happened before; or all is wiped."""

    after: int
    process: int
    back: int  # how many episodes its news is behind
    news: News
    wiped: bool


few = st.integers(0, 6)
steps = st.builds(
    Step,
    after=st.one_of(
        st.just(0), st.integers(0, SECOND), st.integers(0, 8 * SECOND), st.just(-3 * SECOND)
    ),
    process=st.integers(0, 2),
    back=st.sampled_from([0] * 8 + [1]),
    wiped=st.sampled_from([False] * 20 + [True]),
    news=st.builds(
        News, number=st.integers(0, 3), calls=few, failures=few, slow=few, retries=few,
        throttled=st.booleans(), pause_seconds=st.sampled_from([0.0, 0.0, 0.25, 7.5, 1e5]),
        probes_held=st.integers(0, 2), probes_wanted=st.integers(0, 3),
        probes_good=st.sampled_from([0, 0, 1, 2]), probes_bad=st.sampled_from([0, 0, 0, 1]),
    ),
)  # fmt: skip


@sweep
@pytest.mark.broker
def test_both_answer_any_history_alike(valkey_url: str) -> None:
    with asyncio.Runner() as runner:
        client = connect(valkey_url)

        @settings(max_examples=so_many(10, whole=30), deadline=None)
        @given(history=st.lists(steps, min_size=20, max_size=60))
        def check(history: list[Step]) -> None:
            real = runner.run(_play(ValkeyServer(client), history))
            simulated = runner.run(_play(MemoryServer(), history))
            assert simulated == real

        check()
        runner.run(client.aclose())


async def _play(server: Server, history: list[Step]) -> list[Health]:
    """Every answer but for the book's name."""
    processes = [server.process(f"p{n}") for n in range(3)]
    answers: list[Health] = []
    now, episode = BEGIN, 0
    await server.at(now)
    await server.flush()
    for step in history:
        now += step.after
        await server.at(now)
        if step.wiped:
            await server.flush()
        news = replace(step.news, episode=max(episode - step.back, 0))
        answer = await report(processes[step.process], news)
        episode = answer.episode
        answers.append(replace(answer, generation=""))
    return answers
