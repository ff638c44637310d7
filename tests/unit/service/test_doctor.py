"""What `doctor` says of connections and APIs, on facts of the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.engine.api_files import ApiFolder
from orchestrator.errors import Unavailable
from orchestrator.ports import (
    HOLD,
    ApiChangeKind,
    ApiSetting,
    BrokerFacts,
    DatabaseRoom,
    NewApiChange,
    WorkerRecord,
)
from orchestrator.ports.credentials import CredentialFacts
from orchestrator.ports.looking import ReplicaFacts
from orchestrator.ports.restoring import HighWater
from orchestrator.service.doctor import Check, Doctor, Verdict
from orchestrator.service.high_water import HighWaterWatch
from orchestrator.service.queues import Queues
from orchestrator.store import Looks
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase

FACTS = BrokerFacts(
    address="here", version="valkey 8", maxmemory_policy="noeviction", maxmemory=0, used_memory=1,
    append_only=True, round_trip_seconds=0.001, clients=40, max_clients=10_000,
)  # fmt: skip


def utc_now() -> datetime:
    return datetime.now(UTC)


class Broker:
    """Implements BrokerInspector and HintPublisher with nothing on it."""

    def __init__(self, facts: BrokerFacts) -> None:
        self._facts = facts

    async def facts(self) -> BrokerFacts:
        return self._facts

    async def publish(self, hints: Sequence[object]) -> None:
        raise AssertionError("a doctor publishes nothing")

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(queues, 0)


class AwayBroker:
    """Implements BrokerInspector."""

    async def facts(self) -> BrokerFacts:
        raise Unavailable("broker", "redis://reports:6379/0", "connection refused")


class NoCredentials:
    """Implements CredentialInspector."""

    async def facts(self) -> CredentialFacts:
        return CredentialFacts(credentials=[])


NEWEST = "019b7f00-0000-7000-8000-000000000000"
LATER = "019b7f01-0000-7000-8000-000000000000"


class Roomy(MemoryStore):
    """With a server's room."""

    found: DatabaseRoom | None = None

    async def room(self) -> DatabaseRoom | None:
        return self.found


class Ages:
    """How far the tables have come, and how far by what is remembered of it."""

    def __init__(self) -> None:
        self.tables = HighWater(newest_run=NEWEST, checkpoint=2)
        self.remembered = self.tables
        self.deleted: set[str] = set()

    async def high_water(self) -> HighWater:
        return self.tables

    async def was_deleted(self, run_id: str) -> bool:
        return run_id in self.deleted

    async def read(self) -> HighWater:
        return self.remembered


class NoSessions:
    """Of an embedded database."""

    async def facts(self) -> None:
        return None


class KnownReplica(Looks):
    """A replica that stands so; None: there is none."""

    def __init__(self, known: ReplicaFacts | None) -> None:
        super().__init__(None)
        self.known = known

    async def facts(self) -> ReplicaFacts | None:
        return self.known


GOOD_REPLICA = ReplicaFacts(
    where="replica/orchestrator", in_recovery=True, same_system=True, same_tables=True,
    can_write=False, lag_seconds=0.2, max_lag_seconds=10.0,
)  # fmt: skip


class Practice:
    """A doctor and what it looks at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Roomy(MemoryDatabase(utc_now))
        self.facts, self.open_files = FACTS, 1024
        self.age = Ages()
        self.others: list[Broker | AwayBroker] = []
        self.looks = KnownReplica(None)

    async def workers(self, count: int) -> None:
        for number in range(count):
            await self.store.register(
                WorkerRecord(
                    id=f"{number}", name=f"w{number}", pid=number, started_at=utc_now(),
                    heartbeat_at=utc_now(), active_runs=0, reserved=0, version="1",
                )
            )  # fmt: skip

    async def check(self, name: str) -> Check:
        (found,) = [check for check in await self.checks() if check.name == name]
        return found

    async def checks(self, *, preflight: bool = False) -> list[Check]:
        def read() -> ApiFolder:
            files = ApiFolder(self.folder)
            files.take(files.read())
            return files

        broker = Broker(self.facts)
        return await Doctor(
            self.store, broker, Queues(self.store, broker, lanes=["default"]), database="memory",
            wall_clock=utc_now, dead_after_seconds=6, read_files=read, open_files=self.open_files,
            credentials=NoCredentials(), age=HighWaterWatch(self.age, self.age),
            sessions=NoSessions(), looking=self.looks, others=self.others,
        ).checks(preflight=preflight)  # fmt: skip


@pytest.fixture
def practice(tmp_path: Path) -> Practice:
    return Practice(tmp_path)


@pytest.mark.parametrize(("workers", "verdict"), [(6, Verdict.GOOD), (7, Verdict.WARNING)])
async def test_connections_of_all_workers_to_the_database(
    practice: Practice, workers: int, verdict: Verdict
) -> None:
    practice.store.found = DatabaseRoom(allowed=100, in_use=12, per_worker=13)
    await practice.workers(workers)
    check = await practice.check("database connections")
    assert check.verdict == verdict
    assert f"{workers} workers open up to {13 * workers} connections (13 each)" in check.found
    assert "100 are allowed, 12 are open now" in check.found
    assert ("at most 6 workers" in check.do) is (verdict == Verdict.WARNING)


async def test_an_embedded_database_counts_nothing(practice: Practice) -> None:
    assert "database connections" not in [check.name for check in await practice.checks()]


@pytest.mark.parametrize(
    ("change", "name", "verdict", "found"),
    [
        ({}, "replica", Verdict.GOOD, "0.2 s behind"),
        ({"lag_seconds": 10.5}, "replica", Verdict.WARNING, "10.5 s behind"),
        ({"lag_seconds": None}, "replica", Verdict.WARNING, "not known how far behind"),
        ({"in_recovery": False}, "replica", Verdict.BAD, "is a primary"),
        ({"same_system": False}, "replica", Verdict.BAD, "of another database server"),
        ({"same_tables": False}, "replica tables", Verdict.WARNING, "another release"),
        ({"can_write": True}, "replica role", Verdict.WARNING, "may change runs"),
    ],
)
async def test_what_is_wrong_with_a_replica_is_told(
    practice: Practice, change: dict[str, Any], name: str, verdict: Verdict, found: str
) -> None:
    practice.looks.known = replace(GOOD_REPLICA, **change)
    checks = [each for each in await practice.checks() if each.name.startswith("replica")]
    (check,) = [each for each in checks if each.name == name]
    assert (check.verdict, found in check.found) == (verdict, True)
    assert bool(check.do) is (verdict is not Verdict.GOOD)
    assert all(each.verdict is Verdict.GOOD for each in checks if each.name != name)


async def test_a_broker_that_may_evict(practice: Practice) -> None:
    assert (await practice.check("broker eviction")).verdict == Verdict.GOOD
    practice.facts = replace(FACTS, maxmemory_policy="allkeys-lru")
    check = await practice.check("broker eviction")
    assert (check.verdict, check.found) == (Verdict.BAD, "allkeys-lru")
    assert "noeviction" in check.do


async def test_clients_of_the_broker(practice: Practice) -> None:
    assert (await practice.check("broker clients")).verdict == Verdict.GOOD
    practice.facts = BrokerFacts(
        address="here", version="valkey 8", maxmemory_policy="noeviction", maxmemory=0,
        used_memory=1, append_only=True, round_trip_seconds=0.001, clients=81, max_clients=100,
    )  # fmt: skip
    check = await practice.check("broker clients")
    assert (check.verdict, check.found) == (Verdict.WARNING, "81 of 100 connected")


async def test_files_that_one_worker_may_open(practice: Practice) -> None:
    assert (await practice.check("open files")).verdict == Verdict.GOOD
    for name in ("a", "b"):
        (practice.folder / f"{name}.yaml").write_text("connections: 500\n")
    check = await practice.check("open files")
    assert check.verdict == Verdict.WARNING
    assert "up to 1,064 files: 1,000 connections to APIs, 0 to the database, 64" in check.found
    practice.open_files = 4096
    assert (await practice.check("open files")).verdict == Verdict.GOOD


async def test_a_broken_file_and_a_held_api(practice: Practice) -> None:
    (practice.folder / "a.yaml").write_text("connections: many\n")
    (practice.folder / "b.yaml").write_text("connections: 5\n")
    await practice.store.change_api(
        NewApiChange(
            api="b", expected_version=0, kind=ApiChangeKind.HOLD, by="ada", reason="x",
            before={}, after={}, settings={HOLD: ApiSetting(value=True, change=1)},
        )
    )  # fmt: skip
    broken = await practice.check("api file")
    assert broken.verdict == Verdict.BAD
    assert f"{practice.folder}/a.yaml:1: connections: found 'many'" in broken.found
    assert (await practice.check("api b")).verdict == Verdict.WARNING
    assert (await practice.check("apis")).found == "1 with a file, 0 with overrides"


async def test_a_database_that_is_an_older_one_is_told(practice: Practice) -> None:
    assert "database age" not in [check.name for check in await practice.checks()]
    practice.age.remembered = HighWater(newest_run=LATER, checkpoint=2)
    check = await practice.check("database age")
    assert check.verdict == Verdict.BAD
    assert f"run {LATER} of 20" in check.found
    assert "restore-check" in check.do
    practice.age.deleted.add(LATER)  # for its age: the tables are right
    assert "database age" not in [check.name for check in await practice.checks()]
    practice.age.remembered = HighWater(newest_run=NEWEST, checkpoint=3)
    assert "checkpoint 3" in (await practice.check("database age")).found


async def test_brokers_of_lanes_are_looked_at_each_by_itself(practice: Practice) -> None:
    evicting = replace(FACTS, address="there", maxmemory_policy="allkeys-lru")
    practice.others = [AwayBroker(), Broker(evicting)]
    found = await practice.checks()
    brokers = [check for check in found if check.name == "broker"]
    assert [check.verdict for check in brokers] == [Verdict.GOOD, Verdict.BAD, Verdict.GOOD]
    assert "redis://reports:6379/0" in brokers[1].found
    assert "there" in brokers[2].found
    evictions = [check.verdict for check in found if check.name == "broker eviction"]
    assert evictions == [Verdict.GOOD, Verdict.BAD]


async def test_before_anything_runs_only_what_can_be_well_is_looked_at(practice: Practice) -> None:
    practice.others = [AwayBroker()]
    names = {check.name for check in await practice.checks()}
    before = await practice.checks(preflight=True)
    assert {"workers", "workflows"} <= names - {check.name for check in before}
    assert [check.name for check in before if check.verdict is Verdict.BAD] == ["broker"]
