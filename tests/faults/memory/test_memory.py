"""What only the memory can do: the way to it breaks, its broker mislays, and it repeats itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.errors import NotFound, Unavailable
from orchestrator.ports import FORWARD_TASK, Hint, RunFilter
from orchestrator.testing.memory.broker import MemoryBroker, MemoryHints
from orchestrator.testing.memory.locks import MemoryLocks
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.faults.memory.measure import Ticking
from tests.store.making import ME, accepted, claimed, ids, registered, waiting, write

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store() -> MemoryStore:
    """On an empty database."""
    return MemoryStore(MemoryDatabase(Ticking()))


# --- the way to the database ----------------------------------------------------------------------


async def test_what_breaks_before_writes_nothing_and_after_is_not_heard_of(
    store: MemoryStore,
) -> None:
    (run,) = await claimed(store)
    beside = MemoryStore(store.database)

    def cut(moment: str, call: str) -> None:
        if call == "record" and moment == broken:
            raise Unavailable("database", "memory", "cut")

    store.line = cut
    for broken, cause in (("before", ""), ("after", "after")):
        with pytest.raises(Unavailable):
            await store.record([write(run, cause=broken)])
        assert (await beside.run(run.run.id)).cause == cause


async def test_the_way_may_take_time_in_which_others_come_first(store: MemoryStore) -> None:
    (run,) = await accepted(store)
    await registered(store, ME, "slow")
    slow = MemoryStore(store.database, line=lambda *_: asyncio.sleep(0.01))
    claiming = asyncio.create_task(slow.claim([(run.id, 0)], owner="slow"))
    await asyncio.sleep(0)
    assert ids(await store.claim([(run.id, 0)], owner=ME)) == [run.id]
    assert await claiming == []


async def test_without_a_line_no_call_waits(store: MemoryStore) -> None:
    """So that a call is one step of a simulation."""
    (run,) = await accepted(store)
    with pytest.raises(StopIteration):
        store.claim([(run.id, 0)], owner=ME).send(None)


async def test_unsettled_runs_are_counted(store: MemoryStore) -> None:
    going, done, stuck, paused = await claimed(store, 4)
    ends = [(done, RunStatus.SUCCEEDED), (stuck, RunStatus.ESCALATED), (paused, RunStatus.PAUSED)]
    await store.record([write(run, status=status, release=True) for run, status in ends])
    assert store.database.unsettled == 2
    assert (await store.run(going.run.id)).owner == ME


async def test_what_was_written_is_not_its_writers_any_more(store: MemoryStore) -> None:
    (run,) = await claimed(store)
    outputs = {"total": 1}
    await store.record([write(run, outputs=outputs)])
    outputs["total"] = 2
    assert (await store.run(run.run.id)).outputs == {"total": 1}


async def test_what_is_no_json_is_refused(store: MemoryStore) -> None:
    (run,) = await claimed(store)
    with pytest.raises(TypeError, match="JSON"):
        await store.record([write(run, outputs={"a": object()})])


# --- locks ----------------------------------------------------------------------------------------


async def test_the_dead_hold_nothing() -> None:
    database = MemoryDatabase(Ticking())
    mine, watcher = MemoryLocks(database), MemoryLocks(database)
    await mine.hold("w1")
    assert await watcher.free_among(["w1", "w2"]) == ["w2"]
    mine.die()
    assert await watcher.free_among(["w1", "w2"]) == ["w1", "w2"]
    watcher.blind = True
    assert await watcher.free_among(["w1"]) == []
    watcher.away = True
    with pytest.raises(Unavailable):
        await watcher.free_among(["w1"])


# --- broker ---------------------------------------------------------------------------------------


def hints(count: int) -> list[Hint]:
    return [
        Hint(
            run_id=f"r{n}", epoch=0, hop_id=f"r{n}", parent_hop_id=None, label="x",
            task=FORWARD_TASK, queue=("a.forward", "b.forward")[n % 2],
        )
        for n in range(count)
    ]  # fmt: skip


def all_of(broker: MemoryBroker) -> list[str]:
    taken: list[str] = []
    for queue in ("a.forward", "b.forward"):
        while (hint := broker.take(queue)) is not None:
            taken.append(hint.run_id)
    return taken


def test_hints_are_lost_doubled_and_mixed() -> None:
    broker, chance = MemoryBroker(), Random(7)
    broker.put(hints(100))
    lost = broker.lose(chance, 0.3)
    assert 10 < lost < 60
    doubled = broker.double(chance, 0.5)
    assert doubled > 10
    broker.shuffle(chance)
    found = all_of(broker)
    assert len(found) == 100 - lost + doubled
    assert Counter(Counter(found).values()) == {2: doubled, 1: 100 - lost - doubled}
    evens = [int(each[1:]) for each in found if int(each[1:]) % 2 == 0]
    assert evens != sorted(evens)


async def test_a_broker_that_is_away_takes_and_gives_nothing() -> None:
    broker = MemoryBroker()
    broker.put(hints(1))
    broker.away = True
    assert broker.take("a.forward") is None
    with pytest.raises(Unavailable):
        await MemoryHints(broker).publish(hints(1))
    broker.away = False
    assert all_of(broker) == ["r0"]
    broker.put(hints(3))
    broker.flush()
    assert all_of(broker) == []


# --- the same again -------------------------------------------------------------------------------


async def history(seed: int) -> str:
    """Everything that a random history of calls is answered with, as text."""
    chance, database = Random(seed), MemoryDatabase(Ticking())
    stores = [MemoryStore(database) for _ in range(3)]
    (store, *_) = stores
    await accepted_by_number(store, 60)
    workers = ["w1", "w2", "w3"]
    told = [await _one(chance, chance.choice(stores), chance.choice(workers)) for _ in range(400)]
    told += await store.runs(RunFilter(limit=100))
    return "\n".join(map(repr, told))


async def accepted_by_number(store: MemoryStore, count: int) -> None:
    """Runs whose ids are the same each time."""
    for n in range(count):
        await accepted(store, id=f"{n * 7919 % 256:08x}-0000-7000-8000-{n:012x}",
                       idempotency_key=str(n), lane=f"lane{n % 3}")  # fmt: skip


async def _one(chance: Random, store: MemoryStore, owner: str) -> object:
    database = store.database
    rows = sorted(
        chance.sample(list(database.runs.values()), 6), key=lambda row: row.idempotency_key
    )
    theirs = database.owned.get(owner, {})
    await registered(store, owner)
    match chance.randrange(8):
        case 0:
            return await store.recover_dead(dead_after_seconds=9.0, also_dead=[owner, "w1"])
        case 1:
            return await store.take_lost(silent_seconds=0.001, limit=7)
        case 2:
            return await store.take_due(limit=5), await store.queue_counts()
        case 3:
            wish = store.request_cancel(rows[0].id, mode=CancelMode.UNDO, reason="r", by="a")
            return await _told(wish)
        case 4 if theirs:
            until = database.clock() + timedelta(milliseconds=chance.randrange(4))
            taken = await store.claim([(rows[1].id, rows[1].epoch)], owner=owner)
            status = chance.choice([RunStatus.WAITING, RunStatus.PARKED, RunStatus.RUNNING])
            given = [write(run, status=status, wake_at=until, release=True) for run in taken]
            return await store.record(given)
        case _:
            return await store.claim([(row.id, row.epoch) for row in rows], owner=owner)


async def _told(call: Awaitable[object]) -> object:
    try:
        return await call
    except NotFound as error:
        return str(error)


def test_another_process_with_other_hashes_tells_the_same() -> None:
    program = (
        "import asyncio, hashlib\n"
        "from tests.faults.memory.test_memory import history\n"
        "told = asyncio.run(history(5))\n"
        "print(len(told), hashlib.sha256(told.encode()).hexdigest())\n"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True,
            timeout=60, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(answers) == 1
    assert int(answers.pop().split()[0]) > 10_000


async def test_sweeps_come_in_order_of_time_and_then_of_ids(store: MemoryStore) -> None:
    later, sooner = await waiting(store, -1), await waiting(store, -2, 2)
    found = [each.run_id for each in await store.take_due()]
    assert found == [*ids(sooner), *ids(later)]
