"""What metrics count in the tables is what stands there."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.store import SqlStore, open_store
from tests.store.making import accepted, claimed, escalated, waiting, write


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    """A store on a fresh database."""
    opened = open_store(url, pool_size=2)
    yield opened
    await opened.close()


async def test_unfinished_runs_are_counted_wherever_they_stand(store: SqlStore) -> None:
    await accepted(store, 3, tenant="acme")
    await accepted(store, 2)
    await claimed(store, 4)
    await waiting(store, 60.0, 2)
    await waiting(store, 60.0, 1, status=RunStatus.PARKED)
    await escalated(store, 2)
    done = await claimed(store, 3)
    await store.record([write(run, status=RunStatus.SUCCEEDED, release=True) for run in done])
    paused = await claimed(store, 1)
    await store.record([write(run, status=RunStatus.PAUSED, release=True) for run in paused])
    found = Counter[tuple[str, str, str]]()
    for count in await store.count_unfinished():
        assert found[count.workflow, count.tenant, count.status] == 0
        found[count.workflow, count.tenant, count.status] = count.number
    assert found == {
        ("order", "acme", "pending"): 3, ("order", "default", "pending"): 6,
        ("order", "default", "waiting"): 2, ("order", "default", "parked"): 1,
        ("order", "default", "escalated"): 2, ("order", "default", "paused"): 1,
    }  # fmt: skip


async def test_open_escalations_are_told_apart_by_age(store: SqlStore) -> None:
    opened = await escalated(store, 3)
    dues = {"compensation_failed": 3600.0, "in_doubt": 1.0}
    ages = (0.0, 900.0, 86_400.0)
    shift = store._database.dialect
    older = "UPDATE escalations SET opened_at = {} WHERE id = :id"
    for (escalation, _), seconds in zip(opened[:2], ("-1000", "-90000"), strict=True):
        statement = shift.sql(older.format(shift.later("opened_at", seconds)))
        await store._database.write(lambda tx, s=statement, e=escalation: tx.change(s, id=e))
    found = await store.count_open_escalations(ages=ages, due_seconds=dues)
    assert sorted((c.older_than_seconds, c.overdue, c.number) for c in found) == [
        (0.0, False, 1), (900.0, False, 1), (86_400.0, True, 1),
    ]  # fmt: skip
    assert {count.reason for count in found} == {"compensation_failed"}
    said = shift.sql("UPDATE escalations SET severity = 'low', due_seconds = 10 WHERE id = :id")
    await store._database.write(lambda tx: tx.change(said, id=opened[0][0]))
    found = await store.count_open_escalations(ages=ages, due_seconds=dues)
    assert sum(count.number for count in found if count.overdue) == 2


async def test_successes_are_counted_among_the_newest_by_tenant_and_workflow(
    store: SqlStore,
) -> None:
    await claimed(store, 1)  # on its way
    done = await claimed(store, 3)
    await store.record([write(run, status=RunStatus.SUCCEEDED, release=True) for run in done])
    assert await store.count_recent_successes(10) == {"default": {"order": 3}}
    assert await store.count_recent_successes(2) == {"default": {"order": 2}}
