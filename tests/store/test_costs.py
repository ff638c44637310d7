"""Nothing that the product does all the time costs more for the runs that have ended.

Each call is made for real, with a few and with many ended runs. PostgreSQL tells the buffers that
its statements touched (`auto_explain`), SQLite the steps of its virtual machine.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import event, text

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.ports import RunFilter
from orchestrator.store import open_store
from orchestrator.store.store import SqlStore
from tests.store.making import (
    ME,
    SURVEYED,
    accepted,
    attempt,
    audit,
    begun,
    claimed,
    escalated,
    landed,
    new_run,
    published,
    waiting,
    write,
)

FEW, MANY = 1_000, 16_000
GROWTH = 1.5
"""For a level more of an index, or the page of a row that is elsewhere."""
LEAST = {"postgresql": 40, "sqlite": 20}  # buffers; hundreds of steps
_STEPS = 100
_EXPLAIN = (
    "LOAD 'auto_explain'", "SET auto_explain.log_min_duration = 0",
    "SET auto_explain.log_analyze = on", "SET auto_explain.log_buffers = on",
    "SET auto_explain.log_timing = off", "SET auto_explain.log_format = json",
    "SET client_min_messages = log",
)  # fmt: skip


@dataclass
class Meter:
    """What the statements of one store have cost since it was last set to 0."""

    cost: int = 0
    plans: list[str] = field(default_factory=list)

    def explained(self, notice: Any) -> None:
        found = notice.message_primary.partition("plan:\n")[2]
        if found:
            plan = json.loads(found)["Plan"]
            self.cost += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            self.plans.append(found)

    def stepped(self) -> int:
        self.cost += 1
        return 0

    @contextmanager
    def on(self, store: SqlStore) -> Iterator[None]:
        """Watch every connection that the store makes from now on."""
        engine = store._database.direct.sync_engine

        def connected(connection: Any, _record: Any) -> None:
            if store._database.dialect.is_sqlite:
                connection.run_async(lambda raw: raw.set_progress_handler(self.stepped, _STEPS))
                return
            connection.driver_connection.add_notice_handler(self.explained)
            cursor = connection.cursor()
            for setting in _EXPLAIN:
                cursor.execute(setting)
            connection.commit()

        event.listen(engine, "connect", connected)
        yield
        event.remove(engine, "connect", connected)


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    opened = open_store(url, pool_size=1)
    yield opened
    await opened.close()


async def add_ended(store: SqlStore, count: int) -> None:
    """Runs that succeeded, and statistics about them."""
    version = await published(store)
    for _ in range(count // 1000):
        await store.accept([new_run(version) for _ in range(1000)])
    end = text(
        "UPDATE runs SET status = 'succeeded', settled_at = created_at, published_at = NULL"
        " WHERE status = 'pending'"
    )
    await store._database.write(lambda tx: tx.change(end))
    if store._database.dialect.is_sqlite:
        await store._database.write(lambda tx: tx.change(text("ANALYZE")))
        return
    async with store._database.direct.connect() as connection:
        await connection.execute(text("VACUUM ANALYZE"))


async def calls(store: SqlStore) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What is done all the time, or for one run, each to be made once."""
    mine, due = await claimed(store, 3), await accepted(store, 4)
    await waiting(store, -1, 3)
    ((dead_letter, _),) = await escalated(store)
    version, now = await published(store), await store.now()
    step = [
        write(run, number=1, links=(landed(), begun(1)), attempts=(attempt(),), audit=(audit(2),))
        for run in mine
    ]
    new, run_id = [new_run(version) for _ in range(3)], mine[0].run.id
    lists = {
        f"runs, {status}": lambda s=status: store.runs(RunFilter(status=frozenset({s}), limit=5))
        for status in RunStatus
    }
    return {
        "accept": lambda: store.accept(new),
        "accept again": lambda: store.accept(new),
        "backlog": lambda: store.backlog(100),
        "claim": lambda: store.claim([(run.id, 0) for run in due[:2]], owner=ME),
        "record": lambda: store.record(step),
        "cancel": lambda: store.request_cancel(due[2].id, mode=CancelMode.UNDO, reason="", by="me"),
        "heartbeat": lambda: store.heartbeat(ME, active_runs=1, reserved=0),
        "workers": store.workers,
        "dead": lambda: store.recover_dead(dead_after_seconds=60),
        "due": store.take_due,
        "next due": store.due_in_seconds,
        "survey": lambda: store.survey(SURVEYED),
        "lost": lambda: store.take_lost(silent_seconds=60, limit=100),
        "queues": store.queue_counts,
        "dead letters": store.open_unclaimed,
        "escalations": store.escalations,
        "an escalation": lambda: store.escalation(dead_letter[-10:]),
        "a run": lambda: store.run(run_id),
        "by the beginning": lambda: store.run(run_id[:35]),
        "steps": lambda: store.steps(run_id),
        "attempts": lambda: store.attempts(run_id),
        "audit": lambda: store.audit(run_id),
        "runs": lambda: store.runs(RunFilter(limit=5)),
        **lists,
        "counts": lambda: store.count_by_status(since=now),
        "retention": lambda: store.retire_runs(older_than_seconds=86400),
        "partitions": store.make_partitions,
    }


async def costs(store: SqlStore) -> dict[str, int]:
    meter, found = Meter(), dict[str, int]()
    given = await calls(store)
    await store._database.disconnect()
    with meter.on(store):
        for name, call in given.items():
            await store.now()  # connects, and is not part of the cost
            meter.cost = 0
            await call()
            found[name] = meter.cost
    await store._database.disconnect()
    return found


async def test_ended_runs_make_nothing_dearer(store: SqlStore) -> None:
    await add_ended(store, FEW)
    few = await costs(store)
    await add_ended(store, MANY)
    many = await costs(store)
    least = LEAST[store._database.dialect.name]
    grown = {
        name: (few[name], many[name]) for name in few if many[name] > few[name] * GROWTH + least
    }
    assert not grown
    assert sum(few.values()) > 0


async def test_the_end_of_an_id_is_looked_for_among_the_newest(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.finding.NEWEST", FEW // 2)
    bounded = open_store(store._database.url.render_as_string(hide_password=False), pool_size=1)
    await add_ended(bounded, FEW)
    meter, found = Meter(), list[int]()
    for count in (0, MANY):
        await add_ended(bounded, count)
        (run,) = await accepted(bounded)
        await bounded._database.disconnect()
        with meter.on(bounded):
            await bounded.now()
            meter.cost = 0
            await bounded.run(run.id[-8:])
            found.append(meter.cost)
    await bounded.close()
    assert found[1] <= found[0] * GROWTH + LEAST[bounded._database.dialect.name]
