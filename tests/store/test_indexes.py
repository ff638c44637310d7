"""The sweeps, that run every second in every worker, find their rows by an index."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import TextClause, text

from orchestrator.core.states import RunStatus
from orchestrator.ports import RunFilter
from orchestrator.store import codec, open_store
from orchestrator.store.choosing_runs import runs_chosen
from orchestrator.store.claiming import Claiming
from orchestrator.store.engine import Database, open_database
from orchestrator.store.journal import Journal
from orchestrator.store.part import Shared
from orchestrator.store.recovering import Recovering
from tests.store.making import accepted, begun, claimed, landed, waiting, write

PARAMETERS = {"most": 10, "seconds": 5.0, "batch": codec.dump_batch([("a", 0, False)])}


@pytest.fixture
async def database(url: str) -> Any:
    """Thousands of settled runs, a few that wait, and statistics about them."""
    store = open_store(url)
    runs = await accepted(store, 4000)
    opened = open_database(url)
    async with opened.engine.begin() as connection:
        await connection.execute(
            text("UPDATE runs SET status = 'succeeded', settled_at = created_at")
        )
    await accepted(store, 20)
    await claimed(store, 20)
    await waiting(store, 60, 20)
    async with opened.engine.begin() as connection:
        await connection.execute(text("ANALYZE"))
    assert len(runs) == 4000
    yield opened
    await opened.close()
    await store.close()


async def plan_of(database: Database, statement: TextClause) -> str:
    explain = "EXPLAIN QUERY PLAN " if database.dialect.is_sqlite else "EXPLAIN "
    rows = await database.rows(text(explain + statement.text), owner="me", id="a", **PARAMETERS)
    return "\n".join(str(row[-1]) for row in rows)


async def test_what_runs_all_the_time_uses_its_index(database: Database) -> None:
    sweeps, claiming = Recovering(Shared(database)), Claiming(Shared(database))
    by_id = "sqlite_autoindex_runs_1" if database.dialect.is_sqlite else "runs_pkey"
    for statement, indexes in [
        (sweeps._due, ["runs_sleeping"]),
        (sweeps._lost, ["runs_announced"]),
        (sweeps._owned, ["runs_owned"]),
        (sweeps._orphaned, ["runs_owned"]),  # one hop for each owner
        (sweeps._counts, ["runs_sleeping", "runs_announced", "runs_owned"]),
        (claiming._take, [by_id]),
    ]:
        found = await plan_of(database, statement)
        assert all(index in found for index in indexes), found
        assert "Seq Scan on runs" not in found
        assert "SCAN runs" not in found.replace("SCAN runs USING COVERING INDEX runs_", "")


@pytest.mark.postgres
async def test_a_run_on_its_way_is_written_without_touching_an_index(postgres_url: str) -> None:
    store = open_store(postgres_url)
    (run,) = await claimed(store)
    await store.record([write(run, links=(begun(),), status=RunStatus.PENDING)])
    opened = open_database(postgres_url)

    async def hot(tx: Any, table: str) -> int:
        ask = text(f"SELECT pg_stat_get_xact_tuples_hot_updated('{table}'::regclass)")
        return int((await tx.row(ask))[0])

    async def work(tx: Any) -> tuple[int, int]:
        journal = Journal(Shared(opened))
        batch = [write(run, links=(landed(), begun(1)), progressed=True)]
        assert len(await tx.rows(journal._statement(batch), **journal._parameters(batch))) == 1
        return await hot(tx, "runs"), await hot(tx, "run_steps")

    assert await opened.write(work) == (1, 1)  # from pending to running; the first step's link
    assert (await store.run(run.run.id)).status is RunStatus.RUNNING
    await opened.close()
    await store.close()


@pytest.mark.postgres
async def test_statistics_of_a_full_queue_do_not_lead_the_journal_astray(postgres_url: str) -> None:
    """They say that nobody owns a run; then all runs of an owner are few, and were gone through."""
    store, opened = open_store(postgres_url), open_database(postgres_url)
    await accepted(store, 1000)
    async with opened.engine.begin() as connection:
        await connection.execute(text("ANALYZE"))
    runs = await claimed(store, 200)
    journal, batch = Journal(Shared(opened)), [write(run) for run in runs]
    explain = text("EXPLAIN " + journal._statement(batch).text)
    found = await opened.rows(explain, **journal._parameters(batch))
    plan = "\n".join(row[0] for row in found)
    assert "runs_pkey" in plan
    assert "runs_owned" not in plan, plan
    await opened.close()
    await store.close()


LISTS: tuple[dict[str, Any], ...] = (
    {"tenant": "rare"}, {"workflow": "rare"}, {"tenant": "default", "workflow": "rare"},
    {"tenant": "rare", "workflow": "order"}, {"status": frozenset({RunStatus.SUCCEEDED})},
    {"status": frozenset({RunStatus.SUCCEEDED}), "tenant": "rare"},
    {"status": frozenset({RunStatus.SUCCEEDED}), "workflow": "order", "tenant": "rare"},
    {"rerun_of": "rare"},
)  # fmt: skip


async def test_a_list_never_goes_through_the_rows_of_others(database: Database) -> None:
    explain = "EXPLAIN QUERY PLAN " if database.dialect.is_sqlite else "EXPLAIN "
    for which in LISTS:
        chosen, named = runs_chosen(RunFilter(**which), database.dialect)
        asked = text(f"{explain} SELECT runs.id {chosen} ORDER BY runs.id DESC LIMIT :most")
        rows = await database.rows(asked, most=50, **named)
        plan = "\n".join(str(row[-1]) for row in rows)
        assert "runs_by_" in plan or "runs_reruns" in plan, plan
        assert "Seq Scan on runs" not in plan, plan
        assert "Backward using runs_pkey" not in plan, plan
