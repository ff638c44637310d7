"""Runs that ended long ago, for the tests of what is deleted and archived."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from orchestrator.core.states import RunStatus
from orchestrator.ports import ClaimedRun
from orchestrator.store.engine import Database
from orchestrator.store.partitions import first_id
from orchestrator.store.store import SqlStore
from tests.store.making import (
    ME,
    attempt,
    audit,
    escalation,
    landed,
    new_id,
    new_run,
    published,
    registered,
    write,
)

DAY = 86400.0
OLD_DAYS = 100


async def run_sql(database: Database, statement: str) -> None:
    await database.write(lambda tx: tx.change(text(statement)))


def id_of(days_ago: float) -> str:
    """An id as it would have been made then."""
    return f"{first_id(datetime.now(UTC) - timedelta(days=days_ago))}-{new_id()[14:]}"


async def claimed_of(
    store: SqlStore, count: int, *, days_ago: float, tenant: str = "default"
) -> list[ClaimedRun]:
    version = await published(store)
    runs = [
        new_run(version, id=id_of(days_ago), idempotency_key=new_id(), tenant=tenant)
        for _ in range(count)
    ]
    await store.accept(runs)
    await registered(store, ME)
    return await store.claim([(run.id, 0) for run in runs], owner=ME)


async def ended(
    store: SqlStore,
    database: Database,
    status: RunStatus,
    *,
    count: int = 1,
    days_ago: float = OLD_DAYS,
    tenant: str = "default",
) -> list[str]:
    """Ids of runs that came to this status so long ago, with two audit rows and an attempt each."""
    runs = await claimed_of(store, count, days_ago=days_ago, tenant=tenant)
    about = {"escalation": escalation()} if status is RunStatus.ESCALATED else {}
    await store.record(
        [
            write(
                run, status=status, release=True, links=(landed(),), attempts=(attempt(),),
                audit=(audit(2, "run.remarked", remark="all is well"),), **about,
            )
            for run in runs
        ]
    )  # fmt: skip
    ids = [run.run.id for run in runs]
    await settled_then(database, ids, days_ago)
    return ids


async def settled_then(database: Database, ids: Sequence[str], days_ago: float) -> None:
    at = database.dialect.later(database.dialect.words["now"], f"-{days_ago * DAY}")
    for run_id in ids:
        statement = text(f"UPDATE runs SET settled_at = {at} WHERE id = :id AND owner IS NULL")
        await database.write(lambda tx, s=statement, i=run_id: tx.change(s, id=i))


async def left(database: Database, table: str) -> int:
    return int((await database.row(text(f"SELECT count(*) FROM {table}")))[0])
