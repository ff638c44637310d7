"""Writes of owners who have lost their runs: not one row of any table may change by them."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from sqlalchemy import create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from orchestrator.core.states import RunStatus
from orchestrator.ports import ClaimedRun, RunWrite, Store
from orchestrator.store import migrate, open_store
from orchestrator.store.tables import metadata
from tests.store import making

RUNS = 500
BATCH = 250
OLD, NEW = "worker-old", "worker-new"


@dataclass(frozen=True, kw_only=True)
class Refused:
    """What became of them."""

    tried: int
    applied: int  # that the store said were recorded
    tables_changed: tuple[str, ...]  # whose digest is another one
    seconds: float


async def try_stale_writes(database_url: str, count: int) -> Refused:
    """`count` writes by owners and epochs that do not hold any more, on a fresh database."""
    await migrate(database_url)
    store = open_store(database_url)
    try:
        before_takeover, held = await _taken_over(store)
        writes = itertools.islice(_stale(before_takeover, held), count)
        before, began, applied, tried = digests(database_url), time.monotonic(), 0, 0
        while batch := list(itertools.islice(writes, BATCH)):
            applied += sum(answer is not None for answer in await store.record(batch))
            tried += len(batch)
        seconds = time.monotonic() - began
        after = digests(database_url)
    finally:
        await store.close()
    changed = tuple(name for name in before if before[name] != after[name])
    return Refused(tried=tried, applied=applied, tables_changed=changed, seconds=seconds)


def digests(database_url: str) -> dict[str, str]:
    """SHA-256 over all rows of each table, in order of its key."""
    plain = make_url(database_url)
    driver = "sqlite" if plain.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_engine(plain.set(drivername=driver), poolclass=NullPool)
    found = {}
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            digest = hashlib.sha256()
            for row in connection.execute(select(table).order_by(*table.primary_key)):
                digest.update(repr(tuple(row)).encode())
            found[table.name] = digest.hexdigest()
    engine.dispose()
    return found


async def _taken_over(store: Store) -> tuple[list[ClaimedRun], list[ClaimedRun]]:
    """The same runs as their old owner knew them and as their new one holds them."""
    old = await making.claimed(store, RUNS, owner=OLD)
    await store.record([making.write(run, links=(making.begun(),)) for run in old])
    recovered = await store.recover_dead(dead_after_seconds=3600, also_dead=[OLD], limit=RUNS)
    await making.registered(store, NEW)
    new = await store.claim([(each.run_id, each.epoch) for each in recovered], owner=NEW)
    assert len(new) == RUNS, f"{len(new)} of {RUNS} runs were taken over"
    return old, sorted(new, key=lambda each: each.run.id)


def _stale(old: Sequence[ClaimedRun], new: Sequence[ClaimedRun]) -> Iterator[RunWrite]:
    """Without end: everything that a worker writes, each with every kind of stale claim."""
    for contents in itertools.count():
        for before, now in zip(old, new, strict=True):
            fresh = now.run.epoch
            for owner, epoch in ((OLD, before.run.epoch), (OLD, fresh), (NEW, fresh - 1)):
                yield replace(_content(contents, before), owner=owner, epoch=epoch)


def _content(number: int, run: ClaimedRun) -> RunWrite:
    match number % 4:
        case 0:
            landed, said = making.landed(), making.audit(2, "step.landed")
            return making.write(run, links=(landed,), audit=(said,), attempts=(making.attempt(),))
        case 1:
            return making.write(run, release=True, hinted=True)
        case 2:
            ended = making.audit(2, "run.succeeded")
            return making.write(
                run, status=RunStatus.SUCCEEDED, audit=(ended,), outputs={"id": 1}, release=True
            )
        case _:
            return making.write(
                run, status=RunStatus.ESCALATED, escalation=making.escalation(), release=True,
                cause="stale",
            )  # fmt: skip
