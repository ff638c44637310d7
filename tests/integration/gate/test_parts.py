"""Start times of parts of an API: on a real server and in memory, and against `limits`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from orchestrator.coordination.connect import connect
from orchestrator.ports import Mark, Reservation
from tests.integration.gate.shared_servers import (
    BEGIN,
    SECOND,
    MemoryServer,
    Server,
    ValkeyServer,
    reserve,
)
from tests.integration.gate.test_reservations_property import _assert_admitted
from tests.sweeps import so_many, sweep

SLOW, QUICK, HOURLY = ("slow", "2/second"), ("quick", "60/second"), ("hourly", "3/hour")
AHEAD = 50_000  # microseconds
HEADROOM = 40_000
PACE = (SECOND + HEADROOM) // 100


async def settled(server: Server, names: str = "a") -> list[object]:
    """Processes of which each has asked once, a second ago."""
    await server.at(BEGIN)
    processes = [server.process(name) for name in names]
    for process in processes:
        await reserve(process, count=1)
    await server.at(BEGIN + 2 * SECOND)
    return list(processes)


async def test_a_full_part_keeps_nobody_else_waiting(server: Server) -> None:
    await settled(server)
    got = await reserve(
        server.process("a"), rate="100/second", count=8, parts=[SLOW], wanted=[[0]] * 4 + [[]] * 4
    )
    assert got.given == (0, 1, 4, 5, 6, 7)
    starts = server.starts(got)
    assert max(starts) < BEGIN + 2 * SECOND + SECOND // 10
    slow = server.starts(_next_of_parts(got))
    reach = max(starts) + PACE - BEGIN - 2 * SECOND
    assert reach > AHEAD
    assert slow == [starts[0] + HEADROOM + SECOND + 1 - reach]


async def test_who_is_under_several_parts_is_counted_in_all_of_them_or_in_none(
    server: Server,
) -> None:
    await settled(server)
    process = server.process("a")
    parts = [HOURLY, SLOW]
    got = await reserve(process, rate="100/second", count=9, parts=parts, wanted=[[0, 1]] * 9)
    assert got.given == (0, 1)  # as many as the slow one admits
    again = await reserve(process, rate="100/second", count=9, parts=[HOURLY], wanted=[[0]] * 9)
    assert again.given == (0,)  # the seven that were refused have not used up the hour


async def test_a_part_hands_out_ahead_what_keeps_nobody_waiting(server: Server) -> None:
    """Without a rate of the API as far as the API would, else no further than a moment."""
    await settled(server)
    quick = {"parts": [QUICK], "wanted": [[0]] * 30, "count": 30}
    alone = server.starts(await reserve(server.process("a"), rate=None, **quick))
    assert alone[-1] - alone[0] > 3 * AHEAD
    await server.at(BEGIN + 4 * SECOND)
    beside = server.starts(await reserve(server.process("a"), rate="1000/second", **quick))
    assert AHEAD // 2 < beside[-1] - beside[0] <= AHEAD


async def test_a_part_follows_the_api_when_that_is_busy(server: Server) -> None:
    await settled(server)
    process = server.process("a")
    crowd = server.starts(await reserve(process, rate="100/second", count=12))
    assert crowd[-1] > BEGIN + 2 * SECOND + 2 * AHEAD
    got = await reserve(process, rate="100/second", count=3, parts=[SLOW], wanted=[[0]] * 3)
    assert [start > crowd[-1] for start in server.starts(got)] == [True, True]


async def test_a_part_is_counted_over_all_processes(server: Server) -> None:
    await settled(server, "ab")
    for name, admitted in (("a", 3), ("b", 0)):
        got = await reserve(
            server.process(name), rate="100/second", count=20, parts=[HOURLY], wanted=[[0]] * 20
        )
        assert len(got.starts) == admitted


@pytest.mark.parametrize("rate", ["100/second", None])
async def test_a_part_gets_back_what_was_not_used_once_and_for_anybody(
    server: Server, rate: str | None
) -> None:
    await settled(server, "ab")
    first, second = server.process("a"), server.process("b")
    hourly = {"rate": rate, "parts": [HOURLY], "wanted": [[0]] * 9}
    got = await reserve(first, count=9, **hourly)
    assert len(got.starts) == 3
    await reserve(first, rate=rate, parts=[HOURLY], count=0, unused=got.marks[:2])
    # The answer was lost, and it asks again.
    back = await reserve(first, rate=rate, parts=[HOURLY], count=0, unused=got.marks[:2])
    assert _next_of_parts(back).starts < _next_of_parts(got).starts
    assert len((await reserve(second, count=9, **hourly)).starts) == 2
    assert (await reserve(first, count=9, **hourly)).starts == ()


async def test_a_part_that_is_not_named_gets_nothing_back(server: Server) -> None:
    """Its rates are not known then."""
    await settled(server)
    process = server.process("a")
    parts = [HOURLY, SLOW]
    got = await reserve(process, rate="100/second", parts=parts, wanted=[[0, 1]], count=1)
    await reserve(process, rate="100/second", parts=[SLOW], count=0, unused=got.marks)
    again = await reserve(process, rate="100/second", parts=[SLOW], wanted=[[0]] * 3, count=3)
    assert len(again.starts) == 2
    hourly = await reserve(process, rate="100/second", parts=[HOURLY], wanted=[[0]] * 9, count=9)
    assert len(hourly.starts) == 2


async def test_a_part_gets_back_more_than_its_rate_holds(server: Server) -> None:
    """As many as it keeps moments beyond its rate, without waiting for any of them."""
    await settled(server)
    process, unused, starts = server.process("a"), list[Mark](), list[int]()
    for turn in range(1, 40):
        got = await reserve(
            process, rate=None, parts=[SLOW], wanted=[[0]] * 2, count=2, unused=unused
        )
        starts.append(len(got.starts))
        unused = list(got.marks)
        await server.at(BEGIN + 2 * SECOND + turn)
    assert starts == [2] * 39


async def test_slots_of_a_scope_are_counted_apart(server: Server) -> None:
    await server.at(BEGIN)
    process = server.process("a")
    await process.lease("api", limit=5, wanted=0, held=0)
    await server.at(BEGIN + 2 * SECOND)
    for scope, limit in (("", 5), ("tenant:acme", 2), ("tenant:beta", 3)):
        lease = await process.lease("api", limit=limit, wanted=9, held=0, scope=scope)
        assert lease.allowance == limit
    other = await server.process("b").lease("api", limit=2, wanted=1, held=0, scope="tenant:acme")
    assert other.allowance == 0
    await process.leave("api", scope="tenant:acme")
    again = await server.process("b").lease("api", limit=2, wanted=1, held=0, scope="tenant:acme")
    assert again.allowance == 2


# --- any history ----------------------------------------------------------------------------------

PARTS = (("op", "20/second"), ("tenant:a", "3/second; 9/10 second"), ("tenant:b", "60/second"))
KINDS = ((), (0,), (1,), (0, 1), (0, 2), (2,))


@dataclass(frozen=True)
class Ask:
    """One process asks, some time (microseconds) after what happened before."""

    after: int
    process: int
    kinds: tuple[tuple[int, ...], ...]
    rate: str | None  # of the API
    headroom: float
    late: float  # of the headroom, from start to arrival
    changed: bool  # it knows another rate of the first part
    unused: int  # so many of its start times are given back when it asks again


asks = st.builds(
    Ask,
    after=st.one_of(st.integers(0, SECOND // 10), st.integers(0, 2 * SECOND)),
    process=st.integers(0, 2),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=25).map(tuple),
    rate=st.just("50/second"),
    headroom=st.sampled_from([0.04, 0.04, 0.5]),
    late=st.sampled_from([0.0, 0.5, 1.0]),
    changed=st.just(False),
    unused=st.sampled_from([0, 0, 1, 3, 25]),
)
changing = st.builds(
    Ask,
    after=st.integers(0, 3 * SECOND),
    process=st.integers(0, 2),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=25).map(tuple),
    rate=st.sampled_from([None, "50/second"]),
    headroom=st.sampled_from([0.04, 0.5]),
    late=st.just(0.0),
    changed=st.booleans(),
    unused=st.sampled_from([0, 0, 1, 3, 25]),
)


async def _asked(server: Server, ask: Ask, unused: Sequence[Mark]) -> Reservation:
    parts = [("op", "9/2 second"), *PARTS[1:]] if ask.changed else PARTS
    return await reserve(
        server.process(f"p{ask.process}"), rate=ask.rate, headroom=ask.headroom, parts=parts,
        count=len(ask.kinds), wanted=ask.kinds, unused=unused,
    )  # fmt: skip


@sweep
def test_no_window_of_any_part_holds_more_than_its_rate(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asyncio.Runner() as runner:
        client = connect(valkey_url)

        @settings(max_examples=so_many(8, whole=25), deadline=None)
        @given(history=st.lists(asks, min_size=15, max_size=40))
        def check(history: list[Ask]) -> None:
            arrivals = runner.run(_arrivals(client, history))
            _assert_admitted("50/second", sorted(at for at, _ in arrivals), monkeypatch)
            for place, (_, rate) in enumerate(PARTS):
                own = sorted(at for at, under in arrivals if place in under)
                _assert_admitted(rate, own, monkeypatch)

        check()
        runner.run(client.aclose())


async def _arrivals(client: Redis, history: list[Ask]) -> list[tuple[int, tuple[int, ...]]]:
    """When requests arrive at the API, and under which parts they are."""
    await client.flushdb()
    server = ValkeyServer(client)
    await settled(server, "abc")
    now = BEGIN + 2 * SECOND
    arrivals: list[tuple[int, tuple[int, ...]]] = []
    unused: dict[int, Sequence[Mark]] = {}
    for ask in history:
        now += ask.after
        await server.at(now)
        got = await _asked(server, ask, unused.get(ask.process, ()))
        unused[ask.process] = got.marks[: ask.unused]
        delay = round(ask.late * ask.headroom * SECOND)
        let_in = list(zip(server.starts(got), got.given, strict=True))
        assert all(start >= now for start, _ in let_in)
        arrivals += [(start + delay, ask.kinds[number]) for start, number in let_in[ask.unused :]]
    return arrivals


@sweep
def test_both_answer_any_history_of_parts_alike(valkey_url: str) -> None:
    with asyncio.Runner() as runner:
        client = connect(valkey_url)

        @settings(max_examples=so_many(8, whole=25), deadline=None)
        @given(history=st.lists(changing, min_size=10, max_size=40))
        def check(history: list[Ask]) -> None:
            runner.run(client.flushdb())
            real = runner.run(_answers(ValkeyServer(client), history))
            assert runner.run(_answers(MemoryServer(), history)) == real

        check()
        runner.run(client.aclose())


async def _answers(server: Server, history: list[Ask]) -> list[object]:
    now = BEGIN
    answers: list[object] = []
    unused: dict[int, Sequence[Mark]] = {}
    for ask in history:
        now += ask.after
        await server.at(now)
        got = await _asked(server, ask, unused.get(ask.process, ()))
        unused[ask.process] = got.marks[: ask.unused]
        next_of_parts = server.starts(_next_of_parts(got))
        answers.append((server.starts(got), got.given, got.marks, next_of_parts))
    return answers


def _next_of_parts(got: Reservation) -> Reservation:
    return Reservation(
        starts=got.parts_next_at, marks=(), given=(), next_at=0.0, share=0.0, waiting_elsewhere=0
    )
