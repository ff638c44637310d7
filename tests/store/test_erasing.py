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
from orchestrator.ports import Asks, Awaiting, ClaimedRun
from orchestrator.ports.auditing import ERASED_INPUTS
from orchestrator.ports.maps import MapRecord
from orchestrator.service import erasing
from orchestrator.service.auditing import Auditing, Checkpoints
from orchestrator.service.erasing import Erasing
from orchestrator.service.explaining import Explaining
from orchestrator.store import SqlStore, auditing, codec, open_store
from orchestrator.store.payloads import PayloadKeys, new_key
from orchestrator.store.tables import metadata
from tests.store.making import ME, attempt, audit, claimed, landed, new_id, write
from tests.store.test_branches import branch
from tests.store.test_maps import begin, end, mapped
from tests.store.test_waiting import wait

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


# --- with all that is below a run -----------------------------------------------------------------

ITEMS = 5


async def tree(store: SqlStore) -> tuple[str, MapRecord, str]:
    """A run that has ended, its map, and a child of an item of it that is still under way.

    Five items have ended; the first of them began two branches, of which one has ended.
    """
    run, found = await mapped(store, [CANARY] * ITEMS, parallel=ITEMS)
    first, *others = await begin(store, run, found, *range(ITEMS))
    (item,) = await store.claim([(first, 0)], owner=ME)
    parts = [branch(item, name, fails_fast=False) for name in "ab"]
    opens = wait(item, asks=Asks.BLOCK, signal=None, asked={"who": CANARY})
    sleeps = write(item, status=RunStatus.WAITING, wake_at=await store.now(), release=True)
    await store.await_answers([Awaiting(wait=opens, write=sleeps, children=tuple(parts))])
    (item,) = await store.claim([(first, 1)], owner=ME)
    await store.record([write(item, status=RunStatus.ABANDONED, cause=CANARY, release=True)])
    for run_id in others:
        await end(store, run_id, RunStatus.COMPENSATED, CANARY)
    await end(store, parts[0].run.id, RunStatus.SUCCEEDED)
    (again,) = await store.claim([(run.run.id, 1)], owner=ME)
    await store.record([write(again, status=RunStatus.ABANDONED, cause=CANARY, release=True)])
    return run.run.id, found, parts[1].run.id


async def erasures(store: SqlStore) -> list[int]:
    """How often each run was erased."""
    statement = text("SELECT count(*) FROM audit WHERE kind = 'audit.erased' GROUP BY run_id")
    return [row[0] for row in await store._database.read(lambda tx: tx.rows(statement))]


async def test_what_is_below_a_run_goes_with_it(sql: SqlStore) -> None:
    root, found, open_child = await tree(sql)
    work = Erasing(sql, sql)
    done = await work.erase(root, by="ada", reason="they asked for it")
    assert (done.runs, done.parts, done.under_way) == ([root], ITEMS + 1, [open_child])
    assert (done.records > ITEMS, done.more) == (True, False)
    rest = await texts(sql)
    assert CANARY not in rest
    item = (await sql.map_items(found.id, limit=1))[0].run_id
    assert (await sql.run(item)).inputs == ERASED_INPUTS
    assert (await sql.run(open_child)).inputs != ERASED_INPUTS, "it still needs them"
    await end(sql, open_child, RunStatus.SUCCEEDED)
    assert (await work.erase(open_child, by="ada", reason="now, too")).runs == [open_child]
    codec.seal_with(PayloadKeys.read([new_key()]))
    try:
        assert await sql.reseal_payloads()
        assert (await work.erase(root, by="eve", reason="once more")).parts == 0
    finally:
        codec.seal_with(None)
    assert sorted(await erasures(sql)) == [1] * (ITEMS + 2) + [2], "the root alone once more"
    assert (await Auditing(sql).verify(NOBODY)).breaches == []


async def test_an_erasure_goes_on_where_it_was_left(
    sql: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little at a time, by somebody who is asked again until there is no more."""
    monkeypatch.setattr(erasing, "MOST_PARTS", 2)
    monkeypatch.setattr(erasing, "PARTS_A_BATCH", 1)
    root, _, open_child = await tree(sql)
    some = await Erasing(sql, sql).erase(root, by="ada", reason="why")
    assert (some.runs, some.parts, some.more) == ([], 2, True)
    rest = await Erasing(sql, sql).erase_whole(root, by="ada", reason="why")
    assert (rest.runs, rest.parts, rest.more) == ([root], ITEMS - 1, False)
    assert await erasures(sql) == [1] * (ITEMS + 2), "each of them once"
    assert CANARY not in await texts(sql)
    assert (await Erasing(sql, sql).erase(root, by="eve", reason="again")).parts == 0
    assert some.then(rest).under_way == [open_child]


async def test_a_run_stays_while_nobody_would_find_its_parts_without_it(
    sql: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "MOST_ERASED", 0)
    root, found, open_child = await tree(sql)
    done = await Erasing(sql, sql).erase_whole(root, by="ada", reason="why")
    assert (done.runs, done.parts, done.under_way) == ([], ITEMS, [])
    item = (await sql.map_items(found.id, limit=1))[0].run_id
    assert (await sql.run(item)).inputs != ERASED_INPUTS, "it leads to one under way"
    await end(sql, open_child, RunStatus.SUCCEEDED)
    done = await Erasing(sql, sql).erase_whole(root, by="ada", reason="why")
    assert (done.runs, done.parts) == ([root], 2)
    assert CANARY not in await texts(sql)
