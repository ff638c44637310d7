"""The sweeps, that run every second in every worker, find their rows by an index."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import TextClause, text

from orchestrator.store import codec, open_store
from orchestrator.store.claiming import Claiming
from orchestrator.store.engine import Database, open_database
from orchestrator.store.part import Shared
from orchestrator.store.recovering import Recovering
from tests.store.making import accepted, claimed, waiting

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
