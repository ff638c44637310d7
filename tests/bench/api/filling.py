"""A million runs of many tenants, workflows and statuses, multiplied from a few hundred."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import psycopg

from orchestrator.core.plan import Plan
from orchestrator.core.states import RunStatus
from orchestrator.ports import ClaimedRun, Store, WorkflowVersion
from orchestrator.store import migrate, open_store
from tests.bench.engine.filling import Filled, fill
from tests.faults.workload import Kind, Shape
from tests.store.making import (
    ME,
    attempt,
    audit,
    begun,
    escalation,
    landed,
    new_run,
    registered,
    write,
)

TEMPLATES = 400
BACKLOG = 20_000
"""Runs that wait for a worker while the lists are read."""
WORKFLOWS = {"order": 60, "refund": 25, "onboard": 14, "audit-trail": 1}
TENANTS = {"acme": 50, "globex": 30, "initech": 19, "hooli": 1}
STATUSES = {
    RunStatus.SUCCEEDED: 90, RunStatus.COMPENSATED: 7, RunStatus.ABANDONED: 1,
    RunStatus.ESCALATED: 2,
}  # fmt: skip
GONE = {"tenant": "gone", "workflow": "retired"}
"""Those of the oldest few hundred runs alone: what a reader from the newest on finds last."""
_GONE_RUNS = 300
_ESCALATIONS = """
INSERT INTO escalations (id, run_id, reason, detail, step, step_id, direction, context, opened_at)
SELECT runs.id, runs.id, t.reason, t.detail, t.step, t.step_id, t.direction, t.context,
    runs.settled_at
FROM runs, (SELECT * FROM escalations LIMIT 1) AS t
WHERE runs.status = 'escalated' AND runs.id NOT IN (SELECT run_id FROM escalations)
"""


async def make(url: str, *, runs: int, details: int, seed: int) -> Filled:
    """Migrate, make the templates, multiply them, add what waits. `url` as libpq takes it."""
    address = url.replace("postgresql:", "postgresql+psycopg:", 1)
    await migrate(address)
    store, chance = open_store(address), random.Random(seed)
    try:
        versions = [
            (await store.publish(_plan(name), document="bench", by="bench"))[0]
            for name in WORKFLOWS
        ]
        await registered(store, ME)
        await _templates(store, versions, chance)
        filled = fill(url, runs=runs, details=details)
        _make_old_ones(url)
        await _backlog(store, versions, chance)
    finally:
        await store.close()
    with psycopg.connect(url, autocommit=True) as link:
        link.execute("VACUUM (ANALYZE)")
    return filled


def _plan(name: str) -> Plan:
    return Shape(name=name, steps=((Kind.KEYED, Kind.KEYED),) * 3).plan


async def _templates(
    store: Store, versions: Sequence[WorkflowVersion], chance: random.Random
) -> None:
    news = [
        new_run(version, tenant=_one(TENANTS, chance))
        for version in chance.choices(versions, list(WORKFLOWS.values()), k=TEMPLATES)
    ]
    await store.accept(news)
    taken = await store.claim([(run.id, 0) for run in news], owner=ME)
    for run in taken:
        await store.record([write(
            run, links=(landed(), begun(1)), attempts=(attempt(),), audit=(audit(2), audit(3)),
            number=1,
        )])  # fmt: skip
        await _end(store, run, _one(STATUSES, chance))


async def _end(store: Store, run: ClaimedRun, status: RunStatus) -> None:
    more: dict[str, Any] = {"escalation": escalation()} if status is RunStatus.ESCALATED else {}
    await store.record([write(
        run, status=status, links=(landed(1, sequence=2),), attempts=(attempt(1),),
        audit=(audit(4), audit(5, f"run.{status}")), release=True, number=2, **more,
    )])  # fmt: skip


def _one(weighted: dict[Any, int], chance: random.Random) -> Any:
    return chance.choices(list(weighted), list(weighted.values()))[0]


def _make_old_ones(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as link:
        for place, (column, value) in enumerate(GONE.items()):
            link.execute(
                f"UPDATE runs SET {column} = %s WHERE id IN"
                " (SELECT id FROM runs ORDER BY id OFFSET %s LIMIT %s)",
                (value, place * _GONE_RUNS, _GONE_RUNS),
            )
        link.execute(_ESCALATIONS)


async def _backlog(
    store: Store, versions: Sequence[WorkflowVersion], chance: random.Random
) -> None:
    for _ in range(BACKLOG // 1000):
        await store.accept([
            new_run(chance.choice(versions), tenant=_one(TENANTS, chance)) for _ in range(1000)
        ])  # fmt: skip
