"""One suite for SharedLimits: the scripts on a real server, and the memory of simulations.

Both under a clock that the test moves. The last test compares them call by call.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import MARGIN_SECONDS, TTL_SECONDS, RedisLimits
from orchestrator.engine.rates import parse_rates, spacing_seconds
from orchestrator.errors import Unavailable
from orchestrator.ports import Mark, Reservation, SharedLimits, TenantWaiting
from orchestrator.testing.memory.limits import LimitServer, MemoryLimits
from tests.integration.gate.shared_servers import (
    BEGIN,
    SECOND,
    MemoryServer,
    Server,
    ValkeyServer,
    reserve,
)
from tests.sweeps import so_many, sweep


async def slots(process: SharedLimits, *, wanted: int, held: int = 0, limit: int = 10) -> int:
    lease = await process.lease("api", limit=limit, wanted=wanted, held=held)
    return min(lease.allowance, lease.share)


# --- slots ----------------------------------------------------------------------------------------


async def test_at_first_nobody_fills_anything(server: Server) -> None:
    await server.at(BEGIN)
    assert await slots(server.process("a"), wanted=9, held=4) == 0  # nobody told it to be its own


async def test_shares_follow_demand(server: Server) -> None:
    processes = [server.process(name) for name in "abc"]
    held = [0, 0, 0]
    for second in range(6):
        await server.at(BEGIN + second * SECOND)
        for n, wanted in enumerate((2, 50, 50)):
            held[n] = await slots(processes[n], wanted=wanted, held=held[n], limit=20)
    assert held == [2, 9, 9]


async def test_what_does_not_divide_goes_round(server: Server) -> None:
    processes = [server.process(name) for name in "ab"]
    got: list[list[int]] = []
    for second in range(8):
        await server.at(BEGIN + second * SECOND)
        for _ in range(2):  # who has too much hears of it first
            shares = [
                (await process.lease("api", limit=1, wanted=5, held=0)).share
                for process in processes
            ]
        got.append(shares)
    assert got[2:] == [[0, 1], [1, 0]] * 3 or got[2:] == [[1, 0], [0, 1]] * 3


async def test_who_leaves_gives_its_slots_back(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    await server.at(BEGIN)
    await slots(first, wanted=10)
    await server.at(BEGIN + 2 * SECOND)
    assert await slots(first, wanted=10) == 10
    assert await slots(second, wanted=10) == 0
    await first.leave("api")
    assert await slots(second, wanted=10) == 10


async def test_who_leaves_calls_behind_keeps_their_slots_for_as_long_as_they_may_last(
    server: Server,
) -> None:
    first, second = server.process("a"), server.process("b")
    await server.at(BEGIN)
    await slots(first, wanted=10)
    begin = BEGIN + 2 * SECOND
    await server.at(begin)
    assert await slots(first, wanted=10) == 10
    await first.leave("api", in_use=3, seconds=20.0)
    for second_of_it in range(2, 20, 3):
        await server.at(begin + second_of_it * SECOND)
        assert await slots(second, wanted=10) == 7
    await server.at(begin + 20 * SECOND)
    assert await slots(second, wanted=10) == 10


async def test_a_dead_holders_slots_are_free_when_its_lease_is_over(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    await server.at(BEGIN)
    await slots(first, wanted=10)
    begin = BEGIN + 2 * SECOND
    await server.at(begin)
    assert await slots(first, wanted=10) == 10
    await server.at(begin + int(TTL_SECONDS * SECOND) - 1)
    assert await slots(second, wanted=10) == 0
    await server.at(begin + int(TTL_SECONDS * SECOND))
    assert await slots(second, wanted=10) == 10


async def test_after_a_wipe_nobody_grows_until_old_leases_are_over(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    for now in (BEGIN, BEGIN + 2 * SECOND):
        await server.at(now)
        held = await slots(first, wanted=10)
    assert held == 10
    await server.flush()
    assert await slots(second, wanted=10) == 0
    assert await slots(first, wanted=10, held=held) == 10  # tells that it was a wipe
    await server.at(BEGIN + 5 * SECOND)
    assert await slots(second, wanted=10) == 0
    await server.at(BEGIN + 7 * SECOND)
    assert await slots(second, wanted=10) > 0


async def test_after_a_wipe_who_stood_still_fills_nothing_again(server: Server) -> None:
    """Its lease was over before the wipe, so others have its slots: it may finish, and no more."""
    first, second = server.process("a"), server.process("b")
    await server.at(BEGIN)
    await slots(first, wanted=10)
    await server.at(BEGIN + 2 * SECOND)
    assert await slots(first, wanted=10) == 10
    begin = BEGIN + 2 * SECOND + int(TTL_SECONDS * SECOND)
    await server.at(begin)
    assert await slots(second, wanted=10) == 10
    await server.flush()
    assert await slots(second, wanted=10, held=10) == 10
    held = await first.lease("api", limit=10, wanted=10, held=3)
    assert (held.allowance, held.share) == (3, 0)
    again = await first.lease("api", limit=10, wanted=10, held=2)
    assert (again.allowance, again.share) == (2, 0), "renewing makes nothing its own"


# --- rates ----------------------------------------------------------------------------------------


async def test_start_times_ascend_and_no_window_holds_too_many(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    starts: list[int] = []
    for tick in range(40):
        await server.at(BEGIN + tick * SECOND // 10)
        for process in (first, second):
            starts += server.starts(await reserve(process))
    assert len(starts) > 20
    assert starts == sorted(starts)
    assert all(late - early >= SECOND for early, late in zip(starts, starts[10:], strict=False))


async def test_quick_requests_are_spaced(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN)
    await reserve(process, rate="100/second")
    await server.at(BEGIN + SECOND)
    starts = server.starts(await reserve(process, rate="100/second"))
    assert len(starts) > 5
    wanted = spacing_seconds(parse_rates("100/second"), 0.04) * SECOND
    assert all(late - early >= wanted - 1 for early, late in pairwise(starts))


async def test_who_asks_hears_of_the_others(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    await server.at(BEGIN)
    await reserve(first)
    await server.at(BEGIN + SECOND)
    alone = await reserve(first, count=7)
    assert (alone.share, alone.waiting_elsewhere) == (1.0, 0)
    beside = await reserve(second, count=3)
    assert (beside.share, beside.waiting_elsewhere) == (0.5, 7)
    await server.at(BEGIN + 4 * SECOND)
    later = await reserve(second, count=3)
    assert (later.share, later.waiting_elsewhere) == (1.0, 0)


async def test_start_times_go_where_tenants_wait(server: Server) -> None:
    """Two tenants, one of them in one process alone: that is entitled to its half and more."""
    one, two = server.process("p1"), server.process("p2")
    few, many = TenantWaiting("few", 10, 1.0), TenantWaiting("many", 30, 1.0)
    now, got = BEGIN, {"p1": 0, "p2": 0}
    for _ in range(60):
        now += SECOND // 20
        await server.at(now)
        first = await reserve(one, count=10, rate="100/second", crowd=[few, many])
        second = await reserve(two, count=10, rate="100/second", crowd=[many])
        got["p1"] += len(first.starts)
        got["p2"] += len(second.starts)
    assert first.tenants_here == (1.0, 0.5)
    assert second.tenants_here == (0.5,)
    assert (first.share, second.share) == (0.75, 0.25)
    assert 0.7 <= got["p1"] / sum(got.values()) <= 0.8


async def test_when_the_rate_is_used_up_it_says_when_to_come_back(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN)
    await reserve(process)
    await server.at(BEGIN + SECOND)
    assert len((await reserve(process)).starts) == 10
    full = await reserve(process)
    assert full.starts == ()
    assert full.next_at > 0


async def test_what_is_given_back_may_be_used_once_more_and_only_once(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    await server.at(BEGIN)
    await reserve(first)
    await server.at(BEGIN + SECOND)
    got = await reserve(first)
    assert len(set(got.marks)) == 10
    assert (await reserve(first, unused=got.marks[:3], count=0)).starts == ()
    await reserve(first, unused=got.marks[:3], count=0)  # the answer was lost, and it asks again
    assert len((await reserve(second)).starts) == 3
    assert (await reserve(first)).starts == ()


async def test_the_only_one_that_is_given_back_was_never_there(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN)
    await reserve(process)
    await server.at(BEGIN + SECOND)
    got = await reserve(process, rate="1/hour")
    await reserve(process, rate="1/hour", unused=got.marks, count=0)
    assert len((await reserve(process, rate="1/hour")).starts) == 1


async def test_marks_from_before_a_wipe_give_nothing_back(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN)
    await reserve(process)
    await server.at(BEGIN + SECOND)
    old = await reserve(process)
    await server.flush()
    await reserve(process)  # tells that it was a wipe
    await server.at(BEGIN + 5 * SECOND)
    assert len((await reserve(process)).starts) == 10
    assert (await reserve(process, unused=old.marks)).starts == ()


@pytest.mark.parametrize("lost", ["not asked for", "given back"])
async def test_what_was_wanted_and_lost_is_made_up_for(server: Server, lost: str) -> None:
    """Start times follow each other more closely until the rate is used to the full again."""
    process, now = server.process("a"), BEGIN
    unused: tuple[Mark, ...] = ()
    await server.at(now)
    await reserve(process, rate="100/second")
    now, starts = BEGIN + SECOND, list[int]()
    for turn in range(60):
        stalled = turn in (4, 25)
        now += SECOND // 3 if stalled and lost == "not asked for" else SECOND // 20
        await server.at(now)
        got = await reserve(process, rate="100/second", unused=unused, closest=0.8)
        given_back = stalled and lost == "given back"
        unused = got.marks if given_back else ()
        starts += [] if given_back else server.starts(got)
    apart = spacing_seconds(parse_rates("100/second"), 0.04) * SECOND
    gaps = [late - early for early, late in pairwise(starts)]
    assert min(gaps) >= 0.8 * apart - 1
    assert sum(gaps) <= (len(gaps) + 6) * apart  # else a good twenty are missing
    assert all(
        late - early > 1.04 * SECOND for early, late in zip(starts, starts[100:], strict=False)
    )


async def test_who_comes_after_a_pause_has_nothing_to_make_up_for(server: Server) -> None:
    process = server.process("a")
    for now in (BEGIN, BEGIN + SECOND, BEGIN + 10 * SECOND):
        await server.at(now)
        got = await reserve(process, rate="100/second", closest=0.8)
    apart = spacing_seconds(parse_rates("100/second"), 0.04) * SECOND
    starts = server.starts(got)
    assert len(starts) > 5
    assert all(late - early >= apart - 1 for early, late in pairwise(starts))


async def test_after_a_wipe_a_whole_window_goes_by(server: Server) -> None:
    process = server.process("a")
    for now in (BEGIN, BEGIN + SECOND):
        await server.at(now)
        await reserve(process)
    await server.flush()
    for quarter in range(9):  # window, headroom and horizon
        await server.at(BEGIN + SECOND + quarter * SECOND // 4)
        got = await reserve(process)
        assert all(start >= BEGIN + 3 * SECOND for start in server.starts(got))
    await server.at(BEGIN + 4 * SECOND)
    assert len((await reserve(process)).starts) == 10


async def test_a_clock_that_goes_back_closes_for_a_window(server: Server) -> None:
    process = server.process("a")
    for now in (BEGIN, BEGIN + SECOND):
        await server.at(now)
        await reserve(process, rate="5/second", count=5)
    await server.at(BEGIN // 2)
    assert (await reserve(process, rate="5/second", count=5)).starts == ()
    await server.at(BEGIN // 2 + 5 * SECOND // 2)
    assert len((await reserve(process, rate="5/second", count=5)).starts) == 5


# --- limits that change ---------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(20, 6), (6, 20)])
async def test_the_lower_limit_holds_until_all_know_the_new_one(
    server: Server, before: int, after: int
) -> None:
    first, second = server.process("a"), server.process("b")
    held = [0, 0]

    async def renew(number: int, limit: int) -> None:
        process = (first, second)[number]
        held[number] = await slots(process, wanted=50, held=held[number], limit=limit)

    async def at(second_: int, *limits: int) -> None:
        await server.at(BEGIN + second_ * SECOND)
        for _ in range(3):  # one lets slots run empty, the other hears of it
            for number, limit in enumerate(limits):
                await renew(number, limit)

    for tick in range(3):
        await at(tick, before, before)
    assert sum(held) == before
    await at(3, after, before)
    assert 0 < sum(held) <= min(before, after)
    await at(4, after, after)
    assert sum(held) == after


async def test_a_changed_rate_counts_what_was_let_in_before(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN)
    await reserve(process)
    await server.at(BEGIN + SECOND)
    assert len((await reserve(process)).starts) == 10
    at = BEGIN + 4 * SECOND  # nobody asks with the old rate any more
    await server.at(at)
    assert len((await reserve(process, rate="13/10 second")).starts) == 3
    assert (await reserve(process, rate="13/10 second")).starts == ()
    await server.at(at + 3 * SECOND)
    assert len((await reserve(process, rate="20/10 second")).starts) == 7


async def test_the_stricter_rate_holds_until_all_know_the_new_one(server: Server) -> None:
    first, second = server.process("a"), server.process("b")
    await server.at(BEGIN)
    await reserve(first, rate="5/second")
    now = BEGIN + SECOND
    await server.at(now)
    assert len((await reserve(first, rate="5/second")).starts) == 5
    await server.at(now + SECOND // 2)
    assert (await reserve(second, rate="40/second")).starts == ()
    later = now + 3 * SECOND  # the first one knows by now, or asks for nothing
    await server.at(later)
    assert len((await reserve(second, rate="40/second", count=9)).starts) == 9


async def test_what_nobody_remembers_counts_as_if_it_had_just_been(server: Server) -> None:
    process = server.process("a")
    await server.at(BEGIN)
    await reserve(process, rate="20000/second")
    now = BEGIN + SECOND
    for tick in range(150):  # more than are remembered
        now = BEGIN + SECOND + tick * SECOND // 10
        await server.at(now)
        await reserve(process, rate="20000/second", count=100)
    await server.at(now + 3 * SECOND)
    assert len((await reserve(process, rate="9000/hour", count=5)).starts) == 0
    assert len((await reserve(process, rate="11000/minute", count=5)).starts) == 0
    await server.at(now + 64 * SECOND)
    assert len((await reserve(process, rate="11000/minute", count=5)).starts) == 5


# --- both -----------------------------------------------------------------------------------------


def in_real_time(kind: str, url: str) -> SharedLimits:
    if kind == "memory":
        server = LimitServer(time.time)
        return MemoryLimits(server, holder_id="a", monotonic=time.monotonic)
    return RedisLimits(connect(url), holder_id="a")


@pytest.mark.parametrize("kind", [pytest.param("valkey", marks=pytest.mark.broker), "memory"])
async def test_answers_are_in_the_processs_own_time(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url = "" if kind == "memory" else request.getfixturevalue("valkey_url")
    process = in_real_time(kind, url)
    before = time.monotonic()
    lease = await process.lease("api", limit=3, wanted=1, held=0)
    got = await reserve(process, rate="1/minute", count=1)
    passed = time.monotonic() - before
    assert 0 <= lease.valid_until - before - (TTL_SECONDS - MARGIN_SECONDS) <= passed
    assert 0 < lease.review_at - before < 1 + passed
    assert got.starts == ()  # it settles first
    assert 0 < got.next_at - before < 1 + passed
    if isinstance(process, RedisLimits):
        await process.redis.aclose()


@pytest.mark.parametrize("kind", ["valkey", "memory"])
async def test_a_server_that_is_away(kind: str) -> None:
    if kind == "memory":
        server = LimitServer(time.time)
        server.away = True
        process: SharedLimits = MemoryLimits(server, holder_id="a", monotonic=time.monotonic)
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = in_real_time(kind, f"redis://127.0.0.1:{port}/0")
    for call in (process.lease("api", limit=1, wanted=1, held=0), reserve(process)):
        with pytest.raises(Unavailable):
            await call
    with pytest.raises(Unavailable):
        await process.leave("api")
    if isinstance(process, RedisLimits):
        await process.redis.aclose()


@dataclass(frozen=True)
class Call:
    """One process asks, some time (microseconds) after what happened before; or all is wiped."""

    after: int
    process: int
    what: str  # "lease", "reserve", "leave", "flush"
    amount: int
    held: int
    headroom: float
    changed: bool  # this process knows the new limits already
    unused: int  # so many of its latest start times are given back
    crowd: list[TenantWaiting]


calls = st.builds(
    Call,
    after=st.one_of(st.just(0), st.integers(0, SECOND // 3), st.integers(0, 5 * SECOND)),
    process=st.integers(0, 2),
    what=st.sampled_from(["lease"] * 6 + ["reserve"] * 6 + ["leave", "flush"]),
    amount=st.integers(0, 15),
    held=st.integers(0, 4),
    headroom=st.sampled_from([0.04, 0.5]),
    changed=st.booleans(),
    unused=st.integers(0, 5),
    crowd=st.lists(
        st.builds(
            TenantWaiting, tenant=st.sampled_from(["a", "b", "größer", "1"]),
            waiting=st.integers(1, 50), weight=st.sampled_from([1.0, 0.1, 3.0]),
        ),
        max_size=4, unique_by=lambda each: each.tenant,
    ),
)  # fmt: skip


@sweep
@pytest.mark.broker
@pytest.mark.parametrize("rate", ["60/second", "7/second; 30/10 second"])
def test_both_answer_any_history_alike(rate: str, valkey_url: str) -> None:
    with asyncio.Runner() as runner:
        client = connect(valkey_url)

        @settings(max_examples=so_many(10, whole=30), deadline=None)
        @given(history=st.lists(calls, min_size=20, max_size=60))
        def check(history: list[Call]) -> None:
            real = runner.run(_play(ValkeyServer(client), rate, history))
            simulated = runner.run(_play(MemoryServer(), rate, history))
            assert simulated == real

        check()
        runner.run(client.aclose())


async def _play(server: Server, rate: str, history: list[Call]) -> list[object]:
    """Every answer, in microseconds."""
    processes = [server.process(f"p{n}") for n in range(3)]
    answers: list[object] = []
    marks: list[tuple[Mark, ...]] = [()] * 3  # of each process's latest reservation
    now = BEGIN
    await server.at(now)
    await server.flush()
    for call in history:
        now += call.after
        await server.at(now)
        process = processes[call.process]
        if call.what == "flush":
            await server.flush()
        elif call.what == "leave":
            await process.leave("api", in_use=call.held)
        elif call.what == "lease":
            limit = 4 if call.changed else 7
            lease = await process.lease("api", limit=limit, wanted=call.amount, held=call.held)
            answers.append((lease.allowance, lease.share))
        else:
            asked = "9/2 second" if call.changed else rate
            unused = marks[call.process][: call.unused]
            got = await reserve(
                process, count=call.amount, rate=asked, headroom=call.headroom, unused=unused,
                closest=0.8, crowd=call.crowd,
            )  # fmt: skip
            marks[call.process] = got.marks
            answers.append((server.starts(got), got.marks, got.share, got.waiting_elsewhere))
            answers.append(got.tenants_here)
            answers.append(server.starts(_only_next(got)))
    return answers


def _only_next(got: Reservation) -> Reservation:
    return Reservation(
        starts=(got.next_at,),
        marks=(),
        given=(),
        next_at=got.next_at,
        share=0.0,
        waiting_elsewhere=0,
    )  # fmt: skip
