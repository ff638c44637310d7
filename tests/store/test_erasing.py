"""Payloads of a run are erased for good, and what is left of its audit can still be verified."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from orchestrator.core.calls import calls_of
from orchestrator.core.states import RunStatus
from orchestrator.engine.signing import TrustedKeys
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.ports import ClaimedRun
from orchestrator.ports.auditing import ERASED_INPUTS
from orchestrator.service import erasing
from orchestrator.service.auditing import Auditing, Checkpoints
from orchestrator.service.erasing import Erasing
from orchestrator.service.explaining import Explaining
from orchestrator.store import SqlStore, auditing, open_store
from orchestrator.store.tables import metadata
from tests.store.making import attempt, audit, claimed, landed, new_id, write

CANARY = "mrs-jones-of-elm-street"
NOBODY = TrustedKeys(())


@pytest.fixture
async def sql(url: str) -> AsyncIterator[SqlStore]:
    store = open_store(url, pool_size=2)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint covers also what has only just been accepted."""
    monkeypatch.setattr(auditing, "SETTLING", timedelta(seconds=-10))


async def ended(store: SqlStore) -> ClaimedRun:
    """A run that says the same everywhere, and has ended."""
    (run,) = await claimed(
        store, inputs={"name": CANARY}, attributes=(("customer", CANARY),), tenant="acme"
    )
    request = {"method": "PUT", "target": f"/people/{CANARY}"}
    await store.record([write(
        run, status=RunStatus.SUCCEEDED, release=True, outputs={"name": CANARY},
        links=(replace(landed(), outputs={"name": CANARY}, error=CANARY),),
        attempts=(replace(attempt(), reason=CANARY),),
        audit=(audit(2, step="s1", attempt=1, request=request),
               audit(3, "step.landed", step="s1", reason=CANARY, call={"seconds": 1.0})),
    )])  # fmt: skip
    return run


async def texts(store: SqlStore) -> str:
    """All that stands in all tables."""
    found = []
    for table in metadata.sorted_tables:
        statement = text(f"SELECT * FROM {table.name}")
        found += await store._database.read(lambda tx, s=statement: tx.rows(s))
    return repr(found)


async def test_payloads_are_gone_and_the_chain_is_whole(sql: SqlStore) -> None:
    run, other = await ended(sql), (await claimed(sql))[0]
    (open_run,) = await claimed(sql, attributes=(("customer", CANARY),))
    run_id = run.run.id
    checkpoints = Checkpoints(sql, None, every_seconds=60.0)
    await checkpoints.make()
    assert CANARY in await texts(sql)
    who = {"customer": CANARY}
    done = await Erasing(sql, sql).erase_all(who, tenant=None, by="ada", reason="they asked for it")
    assert (done.runs, done.records, done.under_way) == ([run_id], 3, [open_run.run.id])
    with pytest.raises(Conflict):
        await Erasing(sql, sql).erase(open_run.run.id, by="ada", reason="why")
    await sql.record([write(open_run, status=RunStatus.SUCCEEDED, release=True)])
    await Erasing(sql, sql).erase(open_run.run.id, by="ada", reason="they asked for it")
    assert CANARY not in await texts(sql)
    await checkpoints.make()

    found = await Auditing(sql).verify(NOBODY)
    assert (found.breaches, found.erased_records, found.uncovered_runs) == ([], 4, 0)
    row = await sql.run(run_id)
    assert (row.inputs, row.outputs, row.status) == (ERASED_INPUTS, None, RunStatus.SUCCEEDED)
    assert (await sql.run(other.run.id)).inputs == other.run.inputs
    told = (await Explaining(sql).explain(run_id)).told
    assert [each.text for each in told.sentences][-2:] == [
        "step landed; the details were erased",
        "ada had its payloads erased: they asked for it",
    ]
    assert list(calls_of(await sql.audit(run_id))) == []
    assert (await Erasing(sql, sql).erase(run_id, by="eve", reason="again")).records == 0
    assert (await Auditing(sql).verify(NOBODY)).whole


async def test_more_than_are_erased_at_once(sql: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "MOST_ERASED", 2)
    runs = [(await ended(sql)).run.id for _ in range(5)]
    who = {"customer": CANARY}
    meant = {"by": "ada", "reason": "why"}
    assert (await Erasing(sql, sql).erase_all(who, tenant="zeta", **meant)).runs == []
    some = await Erasing(sql, sql).erase_some(who, tenant="acme", **meant)
    assert (some.runs, some.more) == (runs[:2:-1], True)
    rest = await Erasing(sql, sql).erase_all(who, tenant="acme", **meant)
    assert (rest.runs, rest.records, rest.more) == (runs[2::-1], 9, False)
    with pytest.raises(InvalidInput):
        await Erasing(sql, sql).erase_all({}, tenant=None, **meant)


async def test_who_erases_without_a_word_is_found_out(sql: SqlStore) -> None:
    run_id = (await ended(sql)).run.id
    marker = '{"v":1,"data":{"erased":"' + 64 * "0" + '"}}'
    statement = text("UPDATE audit SET data = :data WHERE run_id = :run AND seq = 3")
    await sql._database.write(lambda tx: tx.change(statement, data=marker, run=run_id))
    said = " ".join(each.what for each in (await Auditing(sql).verify_run(run_id)).breaches)
    assert "not what was written" in said
    assert "nothing after it says by whom" in said


async def test_what_may_not_be_erased(sql: SqlStore) -> None:
    (run,) = await claimed(sql)
    with pytest.raises(Conflict, match="cannot be erased"):
        await Erasing(sql, sql).erase(run.run.id, by="ada", reason="why")
    with pytest.raises(InvalidInput):
        await Erasing(sql, sql).erase(run.run.id, by="ada", reason=" ")
    with pytest.raises(NotFound):
        await Erasing(sql, sql).erase(new_id(), by="ada", reason="why")
    assert CANARY not in await texts(sql)
