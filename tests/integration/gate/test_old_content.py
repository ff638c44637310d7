"""A replica that lagged behind takes over: what it remembers of limits is too old to be used."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from orchestrator.coordination.connect import connect
from orchestrator.embedded.process import Child, stop_all
from orchestrator.embedded.valkey import start_valkey
from orchestrator.engine.counted_limits import CountedLimits
from orchestrator.testing.memory.advances import MemoryAdvances
from tests.integration.gate.shared_servers import BEGIN, SECOND, TimedValkey, reserve
from tests.integration.gate.virtual_time import VirtualLimits

pytestmark = pytest.mark.broker

HOURLY = "10/second; 600/hour"
COPIED_SECONDS = 30.0


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Child, Child]]:
    """The one that everybody uses, and its replica."""
    started = [
        start_valkey(tmp_path / name, log_path=tmp_path / f"{name}.log") for name in ("one", "two")
    ]
    yield started[0], started[1]
    stop_all(started)


@dataclass
class Pair:
    """Both servers, at one virtual time."""

    first: Redis
    replica: Redis
    now: int = BEGIN

    async def follow(self) -> None:
        """The replica has all that the first one has."""
        address = self.first.connection_pool.connection_kwargs
        await self.first.config_set("repl-diskless-sync-delay", 0)
        await self.replica.replicaof(address["host"], address["port"])
        await self.first.set("mark", self.now)
        end = time.monotonic() + COPIED_SECONDS
        while await self.replica.get("mark") != str(self.now):
            assert time.monotonic() < end, "not copied"

    async def promote(self) -> None:
        """From now on it hears of nothing and stands alone, with what it has."""
        await self.replica.replicaof("NO", "ONE")

    async def later(self, seconds: float) -> None:
        """The time of whoever is not a replica."""
        self.now += round(seconds * SECOND)
        for client in (self.first, self.replica):
            if (await client.info("replication"))["role"] == "master":
                await TimedValkey(client).at(self.now)


@pytest.fixture
async def pair(servers: tuple[Child, Child]) -> AsyncIterator[Pair]:
    first, replica = (connect(server.spec.address) for server in servers)
    made = Pair(first, replica)
    await made.later(0)
    yield made
    await first.aclose()
    await replica.aclose()


@pytest.mark.parametrize("name", ["a", "newcomer"])
async def test_what_the_tail_let_out_is_not_let_out_again(pair: Pair, name: str) -> None:
    before = VirtualLimits(pair.first, holder_id="a")
    await reserve(before, count=1)
    await pair.later(5)
    await pair.follow()
    await pair.promote()
    assert len((await reserve(before, count=10)).starts) == 10
    await pair.later(0.3)
    after = VirtualLimits(pair.replica, holder_id=name)
    if name == "a":
        after._known = before._known
    assert (await reserve(after, count=10)).starts == ()
    await pair.later(1)
    assert (await reserve(after, count=10)).starts == ()
    await pair.later(3)
    assert len((await reserve(after, count=10)).starts) == 10


async def test_slots_are_lent_when_all_that_lived_have_said_what_they_hold(pair: Pair) -> None:
    before = VirtualLimits(pair.first, holder_id="a")
    await before.lease("api", limit=10, wanted=0, held=0)
    await pair.later(5)
    await pair.follow()
    await pair.promote()
    assert (await before.lease("api", limit=10, wanted=10, held=0)).allowance == 10
    newcomer = VirtualLimits(pair.replica, holder_id="newcomer")
    assert (await newcomer.lease("api", limit=10, wanted=10, held=0)).allowance == 0
    await pair.later(3)
    await VirtualLimits(pair.replica, holder_id="a").lease("api", limit=10, wanted=10, held=10)
    await pair.later(2)
    assert (await newcomer.lease("api", limit=10, wanted=10, held=0)).allowance == 0


async def test_long_windows_are_told_by_the_database_alone(pair: Pair) -> None:
    """What both have is counted once, what only the lost one had is counted as well."""
    store = MemoryAdvances(lambda: pair.now / SECOND)
    before = CountedLimits(VirtualLimits(pair.first, holder_id="a"), store)
    await _use(pair, before, 200)
    await pair.follow()
    await pair.promote()
    await _use(pair, before, 100)
    after = CountedLimits(VirtualLimits(pair.replica, holder_id="b"), store)
    await pair.later(4)
    given = 0
    for _ in range(60):
        given += len((await reserve(after, count=10, rate=HOURLY)).starts)
        await pair.later(1.05)
    assert 600 - 300 - 60 <= given <= 600 - 300


async def _use(pair: Pair, limits: CountedLimits, calls: int) -> None:
    while calls > 0:
        await pair.later(1.05)
        for _ in range(3):  # as the gate, which asks again at once where an advance is missing
            calls -= len((await reserve(limits, count=min(calls, 10), rate=HOURLY)).starts)
