"""A restored database: runs that have not ended are doubted, and nobody from before may write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from orchestrator.core.states import LinkStatus, RunStatus
from orchestrator.errors import Conflict
from orchestrator.ports import Store
from orchestrator.ports.restoring import HighWater, RestoredRun
from orchestrator.service.auditing import Auditing
from orchestrator.service.high_water import HighWaterWatch, when
from orchestrator.service.restoring import Restoring
from orchestrator.store import open_store
from orchestrator.store.locks import open_worker_locks
from orchestrator.store.restoring import EPOCHS_AHEAD
from orchestrator.store.store import SqlStore
from orchestrator.wiring import plan_loader
from tests.store.making import (
    ME,
    YOU,
    accepted,
    audit,
    begun,
    claimed,
    escalated,
    landed,
    registered,
    saga,
    write,
)


class Mark:
    """Implements HighWaterMark in memory."""

    def __init__(self) -> None:
        self.at = HighWater()

    async def read(self) -> HighWater:
        return self.at

    async def raise_to(self, reached: HighWater) -> HighWater:
        self.at = HighWater(
            newest_run=max(self.at.newest_run, reached.newest_run),
            checkpoint=max(self.at.checkpoint, reached.checkpoint),
        )
        return self.at

    async def set_to(self, reached: HighWater) -> None:
        self.at = reached


@pytest.fixture
async def sql(url: str) -> AsyncIterator[SqlStore]:
    store = open_store(url)
    yield store
    await store.close()


def restoring(store: SqlStore, url: str, mark: Mark, *, dead_after: float = 0.0) -> Restoring:
    locks = open_worker_locks(url)
    return Restoring(store, store, locks, mark, plan_loader(store), dead_after_seconds=dead_after)


async def half_done(store: Store) -> str:
    """A run with its first step landed, in the hands of a worker; its id."""
    (run,) = await claimed(store, 1)
    await store.record([write(run, links=(begun(), landed()), audit=(audit(2), audit(3)))])
    return run.run.id


async def test_it_takes_every_run_from_whoever_had_it(sql: SqlStore, url: str) -> None:
    run_id = await half_done(sql)
    held = await sql.run(run_id)
    told = await restoring(sql, url, Mark()).restore(by="anna")

    assert (told.runs, told.escalated) == (1, 0)
    assert told.keyed > 0
    run = await sql.run(run_id)
    assert (run.owner, run.claims) == (None, 0)
    assert run.epoch == held.epoch + EPOCHS_AHEAD
    assert await sql.workers() == []
    await registered(sql, YOU)
    assert await sql.claim([(run_id, held.epoch)], owner=YOU) == [], "a hint from before"
    (again,) = await sql.claim([(run_id, run.epoch)], owner=YOU)
    first, second, *_ = again.steps
    assert (first.forward.link.status, first.forward.link.doubt) == (LinkStatus.LANDED, False)
    assert (second.forward.link.status, second.forward.link.doubt) == (LinkStatus.PENDING, True)
    assert second.undo.link.doubt
    assert await sql.record([write(again, owner=ME, epoch=held.epoch)]) == [None], "a stale owner"


async def test_every_run_tells_of_it_and_its_chain_stays_whole(sql: SqlStore, url: str) -> None:
    run_id = await half_done(sql)
    before = await sql.run(run_id)
    await restoring(sql, url, Mark()).restore(by="anna")
    *_, last = await sql.audit(run_id)
    assert (last.kind, last.actor, last.seq) == ("run.restored", "anna", before.audit_seq + 1)
    assert last.data["epoch"] == before.epoch
    assert [event["event"] for event in last.data["events"]] == ["Restored"]
    assert (await Auditing(sql).verify_run(run_id)).whole


async def test_pending_runs_run_and_escalated_ones_stay_with_people(
    sql: SqlStore, url: str
) -> None:
    (new,) = await accepted(sql)
    ((_, stuck),) = await escalated(sql)
    told = await restoring(sql, url, Mark()).restore(by="anna")
    assert (told.runs, told.escalated) == (2, 1)
    assert (await sql.run(new.id)).status is RunStatus.RUNNING
    assert (await sql.run(stuck.run.id)).status is RunStatus.ESCALATED


async def test_looking_writes_nothing(sql: SqlStore, url: str) -> None:
    run_id = await half_done(sql)
    before = await sql.run(run_id), await sql.steps(run_id), await sql.audit(run_id)
    told = await restoring(sql, url, Mark()).look()
    assert told.runs == 1
    assert before == (await sql.run(run_id), await sql.steps(run_id), await sql.audit(run_id))


async def test_not_while_a_worker_is_at_work(sql: SqlStore, url: str) -> None:
    run_id = await half_done(sql)
    locks = open_worker_locks(url)
    await locks.hold(ME)
    try:
        with pytest.raises(Conflict, match="stop all of them"):
            await restoring(sql, url, Mark(), dead_after=60.0).restore(by="anna")
    finally:
        await locks.release()
    assert (await sql.run(run_id)).owner == ME


async def test_a_run_that_somebody_moves_on_meanwhile_is_named(sql: SqlStore) -> None:
    (run,) = await claimed(sql, 1)
    (read,) = await sql.restorable(after="", limit=10)
    await sql.record([write(run, links=(begun(),), audit=(audit(2),))])
    late = RestoredRun(
        run_id=run.run.id, epoch=read.run.epoch, audit_seq=read.run.audit_seq,
        status=saga(read).status, links=(), data={},
    )  # fmt: skip
    with pytest.raises(Conflict, match=run.run.id):
        await sql.restore([late], by="anna")
    assert (await sql.run(run.run.id)).owner == ME


async def test_a_database_that_went_back_is_noticed_until_it_was_made_safe(
    sql: SqlStore, url: str
) -> None:
    await accepted(sql)
    mark = Mark()
    watch = HighWaterWatch(sql, mark)
    await watch.one_pass()
    assert await watch.missing() == ""
    later = "0fffffff-ffff-7fff-bfff-ffffffffffff"
    mark.at = HighWater(newest_run=later)
    assert f"run {later}" in await watch.missing()
    mark.at = HighWater(checkpoint=3)
    assert "checkpoint 3" in await watch.missing()
    told = await restoring(sql, url, mark).restore(by="anna")
    assert "checkpoint 3" in told.missing
    assert await watch.missing() == ""


def test_an_id_says_when_its_run_was_accepted() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    head = f"{int(at.timestamp() * 1000):012x}"
    assert when(f"{head[:8]}-{head[8:]}-7000-8000-000000000000") == at.isoformat()
