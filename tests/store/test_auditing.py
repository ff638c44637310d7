"""The audit in SQL: chained by whoever writes it, covered by checkpoints, deleted with a proof."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.engine.signing import TrustedKeys, new_key_pair, signer_of
from orchestrator.ports import NewPause
from orchestrator.service.auditing import Auditing, Checkpoints, Kept, Verification
from orchestrator.store import SqlStore, auditing, open_store, retention
from orchestrator.store.notes import Notes
from orchestrator.store.part import Shared
from tests.store.making import ME, accepted, audit, claimed, new_id, registered, write

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


def reference(folder: Path) -> str:
    """To a new private key."""
    file = folder / "audit.pem"
    file.write_bytes(new_key_pair()[0])
    return f"file:{file}"


async def verified(store: SqlStore) -> Verification:
    return await Auditing(store).verify(NOBODY)


async def what_is_wrong(store: SqlStore) -> list[str]:
    return [f"{each.place}: {each.what}" for each in (await verified(store)).breaches]


async def change(store: SqlStore, statement: str, **parameters: object) -> None:
    await store._database.write(lambda tx: tx.change(text(statement), **parameters))


async def test_everybody_who_writes_goes_on_with_the_same_chain(sql: SqlStore) -> None:
    (run,) = await claimed(sql)
    run_id = run.run.id
    first = write(run, audit=(audit(2), audit(3)))
    await sql.record([first])
    await sql.request_cancel(run_id, mode=CancelMode.STOP, by="ada\0 \ud800", reason="why")
    await sql.record([write(run, audit=(audit(4),))])  # the fifth by now
    again = write(run, audit=(audit(5), audit(6)))
    await sql.record([again])
    await sql.record([again])  # its answer was lost
    await sql.record([write(run)])
    await sql.recover_dead(dead_after_seconds=1e9, also_dead=[ME])
    await sql.pause(
        NewPause(id=new_id(), run_id=run_id, workflow=None, tenant=None, also_undoing=True,
                 by="ada", reason="because", seconds=None)
    )  # fmt: skip
    await accepted(sql, 60)

    found = await verified(sql)
    assert (found.breaches, found.older_records) == ([], 0)
    assert (found.runs, found.records) == (61, 9 + 60)
    assert [r.seq for r in await sql.audit(run_id)] == list(range(1, 10))


async def test_records_of_one_write_are_one_row_and_are_told_one_by_one(sql: SqlStore) -> None:
    (run,) = await claimed(sql)
    run_id, (first,) = run.run.id, await sql.audit(run.run.id)
    second, third, fourth = audit(2, step="a"), audit(3, "step.landed", step="b"), audit(4)
    third = replace(third, at=third.at + timedelta(microseconds=7))
    fourth = replace(fourth, at=fourth.at - timedelta(seconds=2))  # a clock that was put back
    await sql.record([write(run, audit=(second, third, fourth))])
    mixed = audit(5), replace(audit(6), actor="ada"), audit(7)
    await sql.record([write(run, audit=mixed)])
    records = [first, second, third, fourth, *mixed]
    assert await sql.audit(run_id) == records
    for after in range(7):
        assert await sql.audit(run_id, after=after, limit=2) == records[after : after + 2]
    rows = await sql._database.rows(text("SELECT seq FROM audit ORDER BY seq"))
    assert [row[0] for row in rows] == [1, 4, 5, 6, 7], "those of several actors are rows apart"
    assert (await verified(sql)).records == 7


async def test_what_somebody_has_done_to_the_tables_shows(sql: SqlStore) -> None:
    runs = await claimed(sql, 5)
    for run in runs:
        await sql.record([write(run, audit=(audit(2), audit(3)))])
        await sql.record([write(run, audit=(audit(4),))])
    assert await what_is_wrong(sql) == []
    for which, statement in enumerate((
        "UPDATE audit SET actor = 'eve' WHERE run_id = :run AND seq = 3",
        "DELETE FROM audit WHERE run_id = :run AND seq = 3",
        "DELETE FROM audit WHERE run_id = :run AND seq = 4",
        "DELETE FROM runs WHERE id = :run",
    )):  # fmt: skip
        await change(sql, statement, run=runs[which].run.id)
    wrong = await what_is_wrong(sql)
    assert [each.split(": ", 1)[1] for each in wrong] == [
        "records 2 to 3: not what was written, or not in this place",
        "records 2 to 3: missing",
        "record 4 is missing",
        "the run is gone, and nothing says that it was deleted",
    ]
    assert [each.partition(":")[0] for each in wrong] == [f"run {r.run.id}" for r in runs[:4]]


async def test_checkpoints_betray_an_end_that_was_cut_off_with_care(
    sql: SqlStore, tmp_path: Path
) -> None:
    cut, gone = await claimed(sql, 2)
    signer = signer_of(reference(tmp_path), setting="audit_key")
    checkpoints = Checkpoints(sql, signer, every_seconds=60)
    one = await checkpoints.make()
    for run in (cut, gone):
        await sql.record([write(run, audit=(audit(2),))])
    two = await checkpoints.make()
    three = await checkpoints.make()
    assert one is not None
    assert two is not None
    assert three is not None
    assert [each.heads for each in (one, two, three)] == [2, 2, 0]
    keys = TrustedKeys([signer.public_key])
    kept = [Kept(number=3, digest=three.digest)]
    found = await Auditing(sql).verify(keys, kept=kept)
    assert (found.breaches, found.unsigned_checkpoints, found.uncovered_runs) == ([], 0, 0)
    assert found.checkpoints == 3

    await change(sql, "DELETE FROM audit WHERE run_id = :run AND seq = 2", run=cut.run.id)
    await change(
        sql,
        "UPDATE runs SET audit_seq = 1, audit_head = (SELECT chain FROM audit"
        " WHERE run_id = :run AND seq = 1) WHERE id = :run",
        run=cut.run.id,
    )
    for table, column in (("runs", "id"), ("audit", "run_id")):
        await change(sql, f"DELETE FROM {table} WHERE {column} = :run", run=gone.run.id)
    assert [each.partition(": ")[2] for each in await what_is_wrong(sql)] == [
        "checkpoint 2 knew another record 2, which is gone",
        "the run is gone, and nothing says that it was deleted",
    ]

    # ... and the anchors with it, and then the checkpoints.
    await change(sql, "DELETE FROM audit_anchors WHERE checkpoint = 2")
    assert "the heads and deletions kept of it" in (await what_is_wrong(sql))[0]
    await change(sql, "UPDATE audit_checkpoints SET heads = 0 WHERE number = 2")
    assert "its text is not what" in (await what_is_wrong(sql))[0]
    await change(sql, "DELETE FROM audit_checkpoints WHERE number > 1")
    found = await Auditing(sql).verify(keys, kept=kept)
    assert found.breaches[0].place == "checkpoint 3"


async def test_a_signature_of_another_text_shows(sql: SqlStore, tmp_path: Path) -> None:
    await accepted(sql)
    signer = signer_of(reference(tmp_path), setting="audit_key")
    await Checkpoints(sql, signer, every_seconds=60).make()
    await change(sql, "UPDATE audit_checkpoints SET signature = :other", other=b"\1" * 64)
    found = await Auditing(sql).verify(TrustedKeys([signer.public_key]))
    assert [each.what for each in found.breaches] == ["the signature is not of this text"]
    assert (await verified(sql)).unsigned_checkpoints == 1


async def test_what_is_final_is_covered_once_and_again_when_somebody_adds_to_it(
    sql: SqlStore,
) -> None:
    (run,) = await claimed(sql)
    await sql.record([write(run, audit=(audit(2),), status=RunStatus.SUCCEEDED)])
    checkpoints = Checkpoints(sql, None, every_seconds=60)
    heads = [await heads_of_next(checkpoints), await heads_of_next(checkpoints)]
    notes = Notes(Shared(sql._database))
    await sql._database.write(
        lambda tx: notes.note(tx, run.run.id, "run.rerun_as", by="ada", data={})
    )
    heads += [await heads_of_next(checkpoints), await heads_of_next(checkpoints)]
    assert heads == [1, 0, 1, 0]
    assert await what_is_wrong(sql) == []


async def test_retention_leaves_a_proof(sql: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = await claimed(sql)
    await sql.record([write(run, audit=(audit(2),), status=RunStatus.SUCCEEDED)])
    checkpoints = Checkpoints(sql, None, every_seconds=60)
    await checkpoints.make()
    monkeypatch.setattr(retention, "first_id", lambda at: "~")
    assert (await sql.retire_runs(older_than_seconds=0)).runs == 1
    assert await what_is_wrong(sql) == []
    made = await checkpoints.make()
    assert made is not None
    assert made.deletions == 1
    found = await verified(sql)
    assert (found.breaches, found.runs, found.deleted_runs) == ([], 0, 1)
    await change(sql, "DELETE FROM audit_deletions")
    assert len(await what_is_wrong(sql)) == 2, "the checkpoint's content, and the run"


async def test_one_of_many_makes_the_checkpoint(sql: SqlStore) -> None:
    await accepted(sql, 3)
    made = await asyncio.gather(
        *(Checkpoints(sql, None, every_seconds=60).make(at_least_seconds=60) for _ in range(4))
    )
    assert len([each for each in made if each is not None]) == 1


async def test_young_ids_wait_and_late_ones_are_found(
    sql: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = new_id()
    await accepted(sql)
    checkpoints = Checkpoints(sql, None, every_seconds=60)
    assert await heads_of_next(checkpoints) == 1
    await accepted(sql, id=late, idempotency_key=late)
    assert await heads_of_next(checkpoints) == 1
    monkeypatch.setattr(auditing, "SETTLING", timedelta(seconds=10))
    await accepted(sql)
    assert await heads_of_next(checkpoints) == 0
    assert (await verified(sql)).uncovered_runs == 1


async def test_one_run_alone(sql: SqlStore) -> None:
    one, two = await accepted(sql, 2)
    await change(sql, "UPDATE audit SET kind = 'x' WHERE run_id = :run", run=two.id)
    assert (await Auditing(sql).verify_run(one.id)).whole
    found = await Auditing(sql).verify_run(two.id)
    assert (found.runs, found.records, found.broken) == (1, 1, 1)


async def test_pages_leave_nothing_out(sql: SqlStore) -> None:
    runs = await accepted(sql, 7)
    await registered(sql, ME)
    seen, after = [], ""
    while True:
        page = await sql.stories(after=after, most=2)
        seen += [story.run_id for story in page.stories]
        if page.after is None:
            break
        after = page.after
    assert seen == sorted(run.id for run in runs)


async def heads_of_next(checkpoints: Checkpoints) -> int:
    made = await checkpoints.make()
    assert made is not None
    return made.heads
