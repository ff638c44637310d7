"""Alarms of objectives: one for each incident, told once, and what the counts cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.core.slo import DAY, Count, Objective, ObjectiveKind, Source, Urgency
from orchestrator.core.states import RunStatus
from orchestrator.service.notifying import Notifier
from orchestrator.service.slos import Slos, SloWatch
from orchestrator.service.urgency import Urgency as Dues
from orchestrator.store import SqlStore, open_store
from tests.store.making import claimed, escalated, new_id, plan, write

WORKFLOW = "order"
SUCCESS = Objective(workflow=WORKFLOW, kind=ObjectiveKind.SUCCESS, target=0.9)
DECLARED = {WORKFLOW: {SUCCESS.kind: SUCCESS, ObjectiveKind.COMPENSATION: None}}


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    """A store on a fresh database."""
    opened = open_store(url, pool_size=4)
    yield opened
    await opened.close()


@pytest.fixture
async def file_store(sqlite_file_url: str) -> AsyncIterator[SqlStore]:
    """The same where both databases are asked by what other tests ask on both."""
    opened = open_store(sqlite_file_url, pool_size=4)
    yield opened
    await opened.close()


def watch(store: SqlStore) -> SloWatch:
    return SloWatch(store, lambda: DECLARED, new_id=new_id)


async def ended(store: SqlStore, count: int, status: RunStatus) -> None:
    runs = await claimed(store, count)
    await store.record([write(run, status=status, release=True) for run in runs])


async def earlier(store: SqlStore, column: str, seconds: int) -> None:
    dialect = store._database.dialect
    moved = dialect.sql(f"UPDATE slo_alarms SET {column} = {dialect.later(column, f'-{seconds}')}")
    await store._database.write(lambda tx: tx.change(moved))


async def test_an_incident_is_one_alarm_until_it_is_over(store: SqlStore) -> None:
    await ended(store, 6, RunStatus.COMPENSATED)
    several = [watch(store) for _ in range(3)]
    await asyncio.gather(*(each.one_pass() for each in several * 3))
    slos = Slos(store, lambda: DECLARED)
    report = await slos.report(WORKFLOW)
    (alarm,), (view,) = report.alarms, report.views
    assert (alarm.workflow, alarm.kind, alarm.urgency) == (WORKFLOW, SUCCESS.kind, Urgency.PAGE)
    assert (alarm.bad, alarm.total, alarm.burn_rate) == (6, 6, pytest.approx(10.0))
    assert list(view.alarms) == [alarm]
    assert view.budget_used == pytest.approx(10.0)
    assert (await slos.report("another")).views == []

    await ended(store, 600, RunStatus.SUCCEEDED)
    await several[0].one_pass()
    assert (await slos.report()).alarms[0].closed_at is None, "it may burn again at once"
    await earlier(store, "burning_at", 901)
    await asyncio.gather(*(each.one_pass() for each in several))
    (ended_one,) = (await slos.report()).alarms
    assert ended_one.closed_at is not None

    await ended(store, 3000, RunStatus.COMPENSATED)
    await several[0].one_pass()
    again, first = (await slos.report()).alarms
    assert first.id == alarm.id != again.id, "another incident"


async def test_an_alarm_of_what_is_no_objective_any_more_ends(file_store: SqlStore) -> None:
    await ended(file_store, 6, RunStatus.COMPENSATED)
    await watch(file_store).one_pass()
    await earlier(file_store, "burning_at", 901)
    await SloWatch(file_store, dict, new_id=new_id).one_pass()
    (alarm,) = await file_store.alarms(closed_within_seconds=60)
    assert alarm.closed_at is not None


class Told:
    """Implements NoticeSender; keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Mapping[str, Any]]] = []

    async def send(self, notice_id: str, body: Mapping[str, Any]) -> None:
        self.told.append((notice_id, body))

    async def aclose(self) -> None:
        """Nothing is open."""


async def test_an_alarm_is_told_once_beside_escalations(store: SqlStore) -> None:
    await ended(store, 6, RunStatus.COMPENSATED)
    ((escalation_id, _),) = await escalated(store)
    await watch(store).one_pass()
    sender = Told()
    notifiers = [Notifier(store, {"ops": sender}, Dues()) for _ in range(2)]
    for _ in range(2):
        await watch(store).one_pass()
        await asyncio.gather(*(each.one_pass() for each in notifiers))
    (alarm,) = await store.alarms(closed_within_seconds=0)
    assert sorted(known for known, _ in sender.told) == sorted(
        [f"{alarm.id}.ops", f"{escalation_id}.ops"]
    )
    (body,) = [body for known, body in sender.told if known.startswith(alarm.id)]
    assert body["type"] == "slo.alarm"
    assert body["data"] == {
        "id": alarm.id, "workflow": WORKFLOW, "objective": "success", "urgency": "page",
        "target": 0.9, "burn_rate": pytest.approx(10.0), "within_seconds": 3600, "bad": 7,
        "total": 7,
    }  # fmt: skip


async def test_fast_calls_and_failing_runs_are_an_alarm(file_store: SqlStore) -> None:
    """15 of 100 runs fail; each is over in no time, so no latency objective sees it."""
    strict = replace(SUCCESS, target=0.99)
    fast = replace(SUCCESS, kind=ObjectiveKind.LATENCY, seconds=60.0, target=0.99)
    declared = {WORKFLOW: {each.kind: each for each in (strict, fast)}}
    await ended(file_store, 85, RunStatus.SUCCEEDED)
    await ended(file_store, 15, RunStatus.COMPENSATED)
    await SloWatch(file_store, lambda: declared, new_id=new_id).one_pass()
    (alarm,) = await file_store.alarms(closed_within_seconds=0)
    assert (alarm.kind, alarm.urgency, alarm.bad) == (SUCCESS.kind, Urgency.PAGE, 15)


async def test_undos_that_fail_are_an_alarm_that_nobody_declared(file_store: SqlStore) -> None:
    await escalated(file_store, 3)
    await SloWatch(file_store, dict, new_id=new_id).one_pass()
    (alarm,) = await file_store.alarms(closed_within_seconds=0)
    assert (alarm.kind, alarm.urgency) == (ObjectiveKind.COMPENSATION, Urgency.PAGE)


async def test_what_the_newest_version_of_a_workflow_says_holds(store: SqlStore) -> None:
    await ended(store, 6, RunStatus.COMPENSATED)
    slos = Slos(store, dict)
    for target in (0.99, 0.9):
        told = replace(plan(WORKFLOW), slo={"success": {"target": target}}, digest=str(target))
        await store.publish(told, document="", by="ada")
        views = {view.objective.kind: view for view in (await slos.report(WORKFLOW)).views}
        assert views[SUCCESS.kind].objective == replace(
            SUCCESS, target=target, source=Source.DOCUMENT
        )
    await SloWatch(store, dict, new_id=new_id).one_pass()
    (alarm,) = await store.alarms(closed_within_seconds=0)
    assert (alarm.kind, alarm.target, alarm.bad) == (SUCCESS.kind, 0.9, 6)


async def test_counting_goes_through_an_index(store: SqlStore) -> None:
    """However many runs have ended, a pass reads those of the last minutes."""
    await ended(store, 2000, RunStatus.SUCCEEDED)
    database = store._database
    await database.write(lambda tx: tx.change(text("ANALYZE")))
    explain = "EXPLAIN QUERY PLAN" if database.dialect.is_sqlite else "EXPLAIN"
    now = await store.now()
    recent = (
        f"{explain} SELECT count(*) FROM runs WHERE settled_at >= :since AND settled_at < :until"
        " AND status IN ('succeeded', 'compensated')"
    )
    since = database.dialect.time(now)
    rows = await database.rows(text(recent), since=since, until=since)
    assert "runs_settled" in " ".join(str(row[-1]) for row in rows)


async def test_nothing_is_counted_twice_by_several(store: SqlStore) -> None:
    await ended(store, 10, RunStatus.SUCCEEDED)
    await asyncio.gather(*(watch(store).one_pass() for _ in range(4)))
    await watch(store).one_pass()
    _, (counts,) = await store.event_counts([SUCCESS])
    assert set(counts) == set(SUCCESS.windows)
    assert set(counts.values()) == {Count(good=10)}
    assert max(counts) == 30 * DAY
