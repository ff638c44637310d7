"""How fast the store accepts, claims and records, on SQLite and PostgreSQL.

    python tests/bench/store.py [--runs 4000] [--db sqlite|postgres]

One record is what a step costs: two links with payloads, one attempt and two audit rows, fsync on.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uuid_utils

from orchestrator.core.exchange import FrozenRequest, Outcome
from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.saga import Link
from orchestrator.core.states import Direction, LinkStatus
from orchestrator.embedded.postgres import create_database, throwaway_postgres
from orchestrator.ports import (
    AttemptRecord,
    AuditRecord,
    ClaimedRun,
    LinkWrite,
    NewRun,
    RunWrite,
    WorkerRecord,
)
from orchestrator.store import SqlStore, migrate, open_store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = FrozenRequest(method="PUT", target="/records/1", body=b'{"data": "' + b"x" * 300 + b'"}')


def new_id() -> str:
    return str(uuid_utils.uuid7())


def plan() -> Plan:
    call = Call(label="bench.step", api="shop", effects=Effects.KEYED, template={})
    undo = Compensation(call=call)
    steps = tuple(PlanStep(id=f"s{i}", call=call, compensation=undo) for i in range(5))
    return Plan(workflow="bench", steps=steps)


def write_of(claimed: ClaimedRun, plan_: Plan, nth: int, owner: str) -> RunWrite:
    landed, begun = Link(status=LinkStatus.LANDED, attempts=1), Link(status=LinkStatus.STARTED)
    links = tuple(
        LinkWrite(step=step, direction=Direction.FORWARD, link=link, request=REQUEST,
                  outputs={"etag": "1"}, started_at=NOW, finished_at=NOW)
        for step, link in ((nth % 4, landed), (nth % 4 + 1, begun))
    )  # fmt: skip
    attempt = AttemptRecord(
        id=new_id(), step=nth % 4, direction=Direction.FORWARD, number=1, kind="call",
        outcome=Outcome.LANDED, reason="200 OK", status_code=200, started_at=NOW,
        finished_at=NOW, worker=owner,
    )  # fmt: skip
    first = claimed.run.audit_seq + 1 + 2 * nth
    audit = tuple(
        AuditRecord(seq=first + i, at=NOW, kind="step.landed", actor=owner, data={"step": "s"})
        for i in range(2)
    )
    return RunWrite(
        run_id=claimed.run.id, owner=owner, epoch=claimed.run.epoch, saga=claimed.saga(plan_),
        links=links, attempts=(attempt,), audit=audit, progressed=True,
    )  # fmt: skip


@contextmanager
def measured(what: str, items: int) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    each = cpu / items * 1e6
    print(f"  {what:24} {wall * 1e3:8.1f} ms  {items / wall:9,.0f}/s  {each:6.0f} µs CPU each")


async def measure(store: SqlStore, runs: int) -> None:
    version, _ = await store.publish(plan(), document="bench", by="bench")
    worker, news = new_id(), [_new_run(version.id) for _ in range(runs)]
    await store.register(
        WorkerRecord(id=worker, name="bench", pid=1, started_at=NOW, heartbeat_at=NOW,
                     active_runs=0, reserved=0, version="0")
    )  # fmt: skip
    with measured(f"accept {runs:,}", runs):
        await store.accept(news)
    claimed: list[ClaimedRun] = []
    with measured("claim in batches of 200", runs):
        for start in range(0, runs, 200):
            hints = [(run.id, 0) for run in news[start : start + 200]]
            claimed += await store.claim(hints, owner=worker)
    for size, batches in ((1, 300), (50, 40), (500, 8)):
        await _record(store, version.plan, claimed[:size], batches, worker)


async def _record(
    store: SqlStore, plan_: Plan, claimed: Sequence[ClaimedRun], batches: int, worker: str
) -> None:
    writes = [[write_of(run, plan_, nth, worker) for run in claimed] for nth in range(batches)]
    with measured(f"record in batches of {len(claimed)}", len(claimed) * batches):
        for batch in writes:
            answers = await store.record(batch)
            assert all(answer is not None for answer in answers), "a write was refused"


def _new_run(workflow_id: str) -> NewRun:
    run_id = new_id()
    return NewRun(
        id=run_id, workflow_id=workflow_id, workflow="bench", version=1, inputs={"n": 1},
        inputs_digest="d", idempotency_key=run_id,
    )  # fmt: skip


async def on(url: str, runs: int) -> None:
    await migrate(url)
    store = open_store(url)
    try:
        await measure(store, runs)
    finally:
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--db", choices=["sqlite", "postgres"], action="append")
    given = parser.parse_args()
    for kind in given.db or ["sqlite", "postgres"]:
        print(kind)
        if kind == "sqlite":
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(on(f"sqlite+aiosqlite:///{Path(folder) / 'bench.db'}", given.runs))
            continue
        with throwaway_postgres() as server:
            url = create_database(server, "bench").replace("postgresql:", "postgresql+psycopg:", 1)
            asyncio.run(on(url, given.runs))


if __name__ == "__main__":
    main()
