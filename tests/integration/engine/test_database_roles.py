"""The roles of deploy/postgres/roles.sql, on a real server: each does its work, and no more."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
import pytest

from orchestrator.core.states import RunStatus
from orchestrator.service.auditing import Checkpoints
from orchestrator.store import migrate
from tests.integration.engine.house import House
from tests.integration.engine.world import Fate, Kind, shop_plan

pytestmark = pytest.mark.postgres

FILE = Path(__file__).parents[3] / "deploy" / "postgres" / "roles.sql"
KEYED = (Kind.KEYED, Kind.KEYED)
UNDONE = (Kind.KEYED, Kind.UNKEYED)

As = Callable[[str], str]


def _libpq(dsn: str) -> str:
    return dsn.replace("postgresql+psycopg://", "postgresql://")


@pytest.fixture
def as_role(migrated_postgres_dsn: str) -> As:
    """The database's address for a role; twice, since the file may be repeated."""
    with psycopg.connect(_libpq(migrated_postgres_dsn), autocommit=True) as owner:
        for _ in range(2):
            owner.execute(FILE.read_bytes())
    return lambda role: re.sub(r"//[^@/]*@", f"//orchestrator_{role}@", migrated_postgres_dsn)


@pytest.fixture
async def houses(as_role: As) -> AsyncIterator[tuple[House, House]]:
    """One that takes runs in, one that does the work; a broker and an API for both."""
    api, worker = House(as_role("api")), House(as_role("worker"))
    worker.broker = api.broker
    worker.shop = api.shop
    yield api, worker
    await api.close()
    await worker.close()


async def test_runs_go_their_way_under_these_roles(houses: tuple[House, House]) -> None:
    api, worker = houses
    plan = shop_plan([KEYED, KEYED])
    done = await api.submit(plan, "o-1")
    undone = await api.submit(plan, "o-2")
    worker.shop.will("o-2", "s2", Fate.REFUSED)
    assert (await worker.settle(done)).status is RunStatus.SUCCEEDED
    assert (await worker.settle(undone)).status is RunStatus.COMPENSATED
    stuck = await api.submit(plan, "o-3")
    worker.shop.will("o-3", "s2", Fate.REFUSED)
    worker.shop.will("o-3", "s1.undo", Fate.REFUSED)
    assert (await worker.settle(stuck)).status is RunStatus.ESCALATED
    (record,) = await api.store.escalations_of(stuck)
    await api.escalations.resolve(record.id, by="ada", reason="by hand", landed=True)
    while made := await Checkpoints(worker.store, None, every_seconds=60).make(everything=True):
        if not made.heads:
            break
    await migrate(api.url)  # nothing to do, and nothing that would want more rights


NOT_THEIRS = {
    "worker": [
        "UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit",
        "DELETE FROM audit_default", "SELECT * FROM access_keys", "DROP TABLE runs",
        "UPDATE workflows SET plan = ''", "DELETE FROM workflows",
        "CREATE TABLE mine (id int)", "ALTER TABLE runs ADD COLUMN mine int",
        "UPDATE audit_checkpoints SET number = 0", "UPDATE alembic_version SET version_num = ''",
        "CREATE ROLE mine", "COPY runs TO PROGRAM 'cat'", "SELECT pg_read_file('/etc/passwd')",
    ],
    "api": [
        "UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "DROP TABLE runs",
        "DELETE FROM audit_checkpoints", "DELETE FROM audit_deletions",
        "CREATE TABLE mine (id int)", "UPDATE alembic_version SET version_num = ''",
        "SET ROLE orchestrator_migrator",
    ],
    "readonly": [
        "INSERT INTO pauses SELECT * FROM pauses", "UPDATE runs SET tenant = 'x'",
        "DELETE FROM runs", "SELECT * FROM access_keys", "TRUNCATE runs",
        "CREATE TABLE mine (id int)",
    ],
    "migrator": ["CREATE ROLE mine", "CREATE DATABASE mine", "COPY runs TO PROGRAM 'cat'"],
}  # fmt: skip


@pytest.mark.parametrize("role", NOT_THEIRS)
def test_what_is_not_theirs_is_refused(role: str, as_role: As) -> None:
    with psycopg.connect(_libpq(as_role(role)), autocommit=True) as link:
        assert link.execute("SELECT count(*) FROM runs").fetchone() == (0,)
        allowed = [command for command in NOT_THEIRS[role] if not _refuses(link, command)]
    assert allowed == []


def _refuses(link: psycopg.Connection, command: str) -> bool:
    try:
        link.execute(command.encode())
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


async def test_the_migrator_makes_and_drops_what_weeks_need(as_role: As) -> None:
    house = House(as_role("migrator"))
    try:
        await house.store.make_partitions()
        await house.store.retire_partitions(older_than_seconds=0)
    finally:
        await house.close()
