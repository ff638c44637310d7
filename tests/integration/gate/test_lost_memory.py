"""What long windows have let out outlives the shared memory: on a real server and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import advance_of
from orchestrator.engine.counted_limits import CountedLimits
from orchestrator.engine.rates import parse_rates
from orchestrator.errors import Unavailable
from orchestrator.ports import Mark, SharedLimits
from orchestrator.testing.memory.advances import MemoryAdvances
from tests.integration.gate.shared_servers import (
    BEGIN,
    SECOND,
    MemoryServer,
    Server,
    ValkeyServer,
    reserve,
)
from tests.sweeps import so_many, sweep

HOURLY = "10/second; 600/hour"


@dataclass
class World:
    """One server, one database, and processes that may all begin anew."""

    server: Server
    now: int = BEGIN
    processes: dict[str, SharedLimits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = MemoryAdvances(lambda: self.now / SECOND)

    async def later(self, microseconds: int) -> None:
        self.now += microseconds
        await self.server.at(self.now)

    def process(self, name: str = "a") -> SharedLimits:
        if name not in self.processes:
            self.processes[name] = CountedLimits(self.server.process(name), self.store)
        return self.processes[name]

    async def ask(
        self, count: int, rate: str, name: str = "a", *, headroom: float = 0.04,
        unused: Sequence[Mark] = (), parts: Sequence[tuple[str, str]] = (),
    ) -> tuple[list[int], list[Mark]]:  # fmt: skip
        """As the pump does, which asks again at once where that helps; start times and marks."""
        starts: list[int] = []
        marks: list[Mark] = []
        in_vain = 0
        while len(starts) < count and in_vain < 3:
            wanted = [list(range(len(parts)))] * (count - len(starts)) if parts else None
            got = await reserve(
                self.process(name), count=count - len(starts), rate=rate, headroom=headroom,
                unused=unused, parts=parts, wanted=wanted,
            )  # fmt: skip
            unused, in_vain = (), 0 if got.starts else in_vain + 1
            starts += self.server.starts(got)
            marks += got.marks
        return starts, marks


@pytest.fixture
async def world(server: Server) -> World:
    made = World(server)
    await made.later(0)
    return made


async def use(
    world: World, calls: int, rate: str = HOURLY, *, each: int = 10, apart: int = SECOND * 21 // 20
) -> None:
    """So many requests leave."""
    left = calls
    while left:
        await world.later(apart)
        got, _ = await world.ask(min(left, each), rate)
        left -= len(got)


async def test_at_the_first_use_nothing_is_kept_waiting(world: World) -> None:
    await world.later(2 * SECOND)
    await world.ask(1, HOURLY)
    await world.later(2 * SECOND)
    assert len((await world.ask(10, HOURLY))[0]) == 10


@pytest.mark.parametrize("all_begin_anew", [False, True])
async def test_after_a_wipe_only_the_short_window_goes_by(
    world: World, all_begin_anew: bool
) -> None:
    await use(world, 200)
    await world.server.flush()
    if all_begin_anew:
        world.processes.clear()
    early, _ = await world.ask(10, HOURLY)
    await world.later(SECOND)
    early += (await world.ask(10, HOURLY))[0]
    assert early == []
    await world.later(3 * SECOND)
    assert len((await world.ask(10, HOURLY))[0]) == 10


async def test_after_a_wipe_the_hour_has_what_was_left_of_it_but_for_a_tenth(world: World) -> None:
    await use(world, 200)
    await world.server.flush()
    await world.later(3 * SECOND)
    given = 0
    for _ in range(60):
        await world.later(SECOND * 21 // 20)
        given += len((await world.ask(10, HOURLY))[0])
    assert 400 - 60 <= given <= 400


async def test_a_server_that_forgets_again_and_again_does_not_use_up_the_hour(
    world: World,
) -> None:
    await use(world, 20)
    for _ in range(20):
        await world.server.flush()
        await world.ask(1, HOURLY)
        await world.later(4 * SECOND)
        assert len((await world.ask(1, HOURLY))[0]) == 1
    await world.later(4 * SECOND)
    await use(world, 400)


async def test_after_an_hour_all_of_it_is_there_again(world: World) -> None:
    rate, often = "100/5 second; 600/hour", {"each": 100, "apart": 6 * SECOND}
    await use(world, 600, rate, **often)
    await world.server.flush()
    await world.later(1800 * SECOND)
    assert (await world.ask(10, rate))[0] == []
    await world.later(1802 * SECOND)
    await use(world, 550, rate, **often)


async def test_who_comes_after_the_loss_finds_parts_as_they_were(world: World) -> None:
    parts = [("each:acme", "5/hour")]
    used = 0
    while used < 4:
        await world.later(2 * SECOND)
        used += len((await world.ask(1, "10/second", parts=parts))[0])
    await world.server.flush()
    world.processes.clear()
    await world.later(5 * SECOND)
    assert (await world.ask(5, "10/second", parts=parts))[0] == []  # it is asked for what it knows
    await world.later(5 * SECOND)
    given, _ = await world.ask(5, "10/second", parts=parts)
    assert len(given) <= 1
    fresh, _ = await world.ask(3, "10/second", parts=[("each:beta", "5/hour")])
    assert len(fresh) == 3  # it was never used


async def test_without_the_database_nothing_more_than_is_written_leaves(world: World) -> None:
    await use(world, 30)
    world.store.away = True
    given = 0
    try:
        while given <= 600:
            await world.later(SECOND * 21 // 20)
            given += len((await world.ask(10, HOURLY))[0])
    except Unavailable:
        assert given <= advance_of(parse_rates(HOURLY)) == 60
    else:
        pytest.fail("more left than was ever written")
    world.store.away = False
    await use(world, 30)


async def test_a_rate_for_an_hour_that_is_added_counts_what_was_let_in_before(
    world: World,
) -> None:
    await use(world, 50, "10/second")
    await world.later(5 * SECOND)
    assert len((await world.ask(20, "60/hour"))[0]) == 10
    await world.server.flush()
    world.processes.clear()
    await world.later(SECOND)
    await world.ask(20, "60/hour")
    await world.later(5 * SECOND)
    assert (await world.ask(20, "60/hour"))[0] == []


# --- any history ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """One process asks, some time (microseconds) after what happened before."""

    after: int
    process: str
    count: int
    headroom: float
    late: float  # of the headroom
    unused: int  # so many of its latest start times are given back
    of_part: bool


@dataclass(frozen=True)
class Loss:
    """The server forgets all, and some processes begin anew."""

    anew: frozenset[str]
    of_database: bool  # is away until the next loss


asks = st.builds(
    Ask,
    after=st.one_of(
        st.integers(0, SECOND), st.integers(0, 10 * SECOND), st.integers(10, 90).map(SECOND.__mul__)
    ),
    process=st.sampled_from("abc"),
    count=st.integers(1, 30),
    headroom=st.sampled_from([0.04, 0.04, 0.5]),
    late=st.sampled_from([0.0, 0.5, 1.0]),
    unused=st.sampled_from([0, 0, 1, 5]),
    of_part=st.booleans(),
)
losses = st.builds(
    Loss,
    anew=st.frozensets(st.sampled_from("abc")),
    of_database=st.sampled_from([False] * 4 + [True]),
)
histories = st.lists(
    st.integers(0, 7).flatmap(lambda n: losses if n == 0 else asks), min_size=10, max_size=60
)
PART = ("op", "12/40 second")


def ask(after: int, *, of_part: bool, unused: int = 0) -> Ask:
    """Of one request of the first process."""
    return Ask(
        after=after, process="a", count=1, headroom=0.04, late=0.0, unused=unused, of_part=of_part
    )  # fmt: skip


UNTIL_FORGOTTEN: list[Ask | Loss] = [
    ask(0, of_part=False),
    ask(800_000, of_part=True),
    ask(32 * SECOND, of_part=False),
    ask(9_240_000, of_part=True, unused=1),
    ask(0, of_part=True),
]
"""At the moment at which nothing that the part has let in is of use to any of its rates."""
UNTIL_UNCOUNTED: list[Ask | Loss] = [
    ask(0, of_part=False),
    ask(800_000, of_part=True),
    ask(65 * SECOND, of_part=False),
    ask(18 * SECOND, of_part=True),
]
"""After the moment at which nobody knows any more how many the part has let in."""


@sweep
@pytest.mark.parametrize("rate", ["20/minute", "5/second; 40/minute", "100/30 second", "3/minute"])
def test_whatever_is_lost_no_window_holds_more_than_its_rate(rate: str) -> None:
    with asyncio.Runner() as runner:

        @settings(max_examples=so_many(15, whole=50), deadline=None)
        @given(history=histories)
        def check(history: list[Ask | Loss]) -> None:
            of_all, of_part, _ = runner.run(_play(MemoryServer(), rate, history))
            for rates, arrivals in ((rate, of_all), (PART[1], of_part)):
                for each in parse_rates(rates):
                    assert _most_in(arrivals, each.seconds) <= each.amount

        check()


@sweep
@pytest.mark.broker
@pytest.mark.parametrize("rate", ["20/minute", "5/second; 40/minute"])
def test_both_answer_any_history_of_losses_alike(rate: str, valkey_url: str) -> None:
    with asyncio.Runner() as runner:
        client = connect(valkey_url)

        @settings(max_examples=so_many(10, whole=30), deadline=None)
        @given(history=histories)
        @example(history=UNTIL_FORGOTTEN)
        @example(history=UNTIL_UNCOUNTED)
        def check(history: list[Ask | Loss]) -> None:
            runner.run(client.flushdb())
            real = runner.run(_play(ValkeyServer(client), rate, history))
            assert runner.run(_play(MemoryServer(), rate, history)) == real

        check()
        runner.run(client.aclose())


async def _play(
    server: Server, rate: str, history: list[Ask | Loss]
) -> tuple[list[int], list[int], list[object]]:
    """When requests arrive at the API, and which of them are of the part; all answers."""
    world = World(server)
    await world.later(0)
    of_all: list[int] = []
    of_part: list[int] = []
    answers: list[object] = []
    spare: dict[str, list[Mark]] = {}  # marks on which nothing leaves
    for event in history:
        if isinstance(event, Loss):
            await server.flush()
            world.store.away = event.of_database
            for name in event.anew:
                world.processes.pop(name, None)
                spare.pop(name, None)
            continue
        await world.later(event.after)
        try:
            starts, marks = await world.ask(
                event.count, rate, event.process, headroom=event.headroom,
                unused=spare.pop(event.process, []), parts=[PART] if event.of_part else [],
            )  # fmt: skip
        except Unavailable:
            answers.append("away")
            continue
        answers.append((starts, marks))
        spare[event.process] = marks[: event.unused]
        arrive = [at + round(event.late * event.headroom * SECOND) for at in starts[event.unused :]]
        of_all += arrive
        of_part += arrive if event.of_part else []
    return of_all, of_part, answers


def _most_in(arrivals: list[int], seconds: float) -> int:
    arrivals = sorted(arrivals)
    most = first = 0
    for last, at in enumerate(arrivals):
        while arrivals[first] <= at - seconds * SECOND:
            first += 1
        most = max(most, last - first + 1)
    return most
