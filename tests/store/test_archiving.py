"""Ended runs go into files, and out of the database only once they are proved to be there."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from orchestrator.archive import open_archive, parquet
from orchestrator.archive.files import ArchiveFiles
from orchestrator.archive.place import Place
from orchestrator.core.states import RunStatus
from orchestrator.engine.signing import TrustedKeys, new_key_pair, public_key_of, signer_of
from orchestrator.errors import Conflict, InvalidInput, InvalidSetting, NotFound, Unavailable
from orchestrator.ports.archiving import Manifest, day_of
from orchestrator.ports.vouching import Signer
from orchestrator.service import archiving as service
from orchestrator.service.archive_erasing import ArchiveErasing
from orchestrator.service.archive_reading import ArchiveReading, ArchiveVerification
from orchestrator.service.archiving import Archiving
from orchestrator.service.auditing import Auditing
from orchestrator.service.retention import Retention
from orchestrator.store import codec, open_store
from orchestrator.store.engine import Database, open_database
from orchestrator.store.payloads import PayloadKeys
from orchestrator.store.rows import audit_of
from orchestrator.store.store import SqlStore
from tests.store.ageing import DAY, ended, id_of, left

AGE = timedelta(days=90)
NOBODY = TrustedKeys([])


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    opened = open_store(url, pool_size=3)
    yield opened
    await opened.close()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = open_database(url, pool_size=2)
    yield opened
    await opened.close()


@pytest.fixture
def archive(tmp_path: Path) -> ArchiveFiles:
    return open_archive(f"file://{tmp_path}/archive")


def files_of(archive: ArchiveFiles, which: str = "*/*/*/*") -> list[Path]:
    return sorted(Path(archive._place.full("")).glob(which))


async def archived(store: SqlStore, archive: ArchiveFiles) -> int:
    return (await Archiving(store, archive, None).archive(older_than=AGE)).runs


async def retired(store: SqlStore, archive: ArchiveFiles) -> int:
    retention = Retention(store, Archiving(store, archive, None))
    return (await retention.retire(older_than=AGE, by="me")).runs


async def verified(archive: ArchiveFiles, keys: TrustedKeys = NOBODY) -> ArchiveVerification:
    return await ArchiveReading(archive, audit_of).verify(keys)


async def test_old_runs_go_into_files_by_tenant_and_day_and_then_out_of_the_database(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    ours = await ended(store, database, RunStatus.SUCCEEDED, count=3, tenant="acme/eu")
    theirs = await ended(store, database, RunStatus.COMPENSATED, count=2, days_ago=120)
    await ended(store, database, RunStatus.ESCALATED)
    await ended(store, database, RunStatus.SUCCEEDED, days_ago=10)
    assert await archived(store, archive) == 5
    assert await left(database, "runs") == 7
    assert await retired(store, archive) == 5
    assert await left(database, "runs") == 2
    assert await left(database, "archived_runs") == 0

    names = {str(path.relative_to(archive._place.full(""))) for path in files_of(archive)}
    folder = f"tenant=acme%2Feu/day={day_of(ours[0])}"
    assert {name.rpartition("/")[0] for name in names if "acme" in name} == {
        f"{table}/{folder}"
        for table in ("manifests", "workflows", "runs", "run_steps", "attempts", "audit")
    }
    assert any(f"day={day_of(theirs[0])}" in name for name in names)
    found = await verified(archive)
    assert (found.whole, found.batches, found.runs, found.unsigned_batches) == (True, 2, 5, 2)
    assert found.records == 5 * 2
    assert (await Auditing(store).verify(NOBODY)).whole


async def test_what_was_archived_tells_its_story_without_the_database(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    run_id, other = await ended(store, database, RunStatus.SUCCEEDED, count=2)
    before = await store.audit(run_id)
    await retired(store, archive)
    with pytest.raises(NotFound):
        await store.run(run_id)
    reading = ArchiveReading(archive, audit_of)
    told = await reading.explain(run_id)
    assert (told.run["id"], told.run["workflow"]) == (run_id, "order")
    assert told.told.outcome.startswith("ended succeeded")
    assert {each.seq for each in told.told.sentences} <= {each.seq for each in before}
    assert told.told.sentences[0].text != ""
    assert (await reading.explain(other)).run["id"] == other
    with pytest.raises(NotFound, match="no run"):
        await reading.explain(run_id[:-1] + ("0" if run_id[-1] != "0" else "1"))
    with pytest.raises(InvalidInput, match="no run's id"):
        await reading.explain("yesterday")


async def test_rows_are_as_they_were_to_the_byte(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    (run_id,) = await ended(store, database, RunStatus.SUCCEEDED)
    tables = [table.name for table in store.archived_tables]
    rows = await store.rows_of(tables, [run_id])
    await archived(store, archive)
    for table in store.archived_tables:
        found = files_of(archive, f"{table.name}/*/*/*.parquet")
        assert bool(found) == bool(rows[table.name])
        if found:
            stored = pq.read_table(found[0], partitioning=None).to_pylist()
            expected = [dict(zip(table.columns, row, strict=True)) for row in rows[table.name]]
            assert stored == expected


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_sealed_payloads_stay_sealed(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    canary = b"book"  # what all inputs of these tests say
    codec.seal_with(PayloadKeys.read([base64.b64encode(b"k" * 32).decode()]))
    try:
        await ended(store, database, RunStatus.SUCCEEDED, count=3)
        await archived(store, archive)
    finally:
        codec.seal_with(None)
    (runs,) = files_of(archive, "runs/*/*/*.parquet")
    inputs = pq.read_table(runs, partitioning=None).column("inputs").to_pylist()
    assert all('"dek"' in each for each in inputs)
    assert not any(canary in str(each).encode() for each in inputs)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_once_more_makes_no_doubles(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    await ended(store, database, RunStatus.SUCCEEDED, count=4)
    assert await archived(store, archive) == 4
    before = {path: path.read_bytes() for path in files_of(archive)}
    assert await archived(store, archive) == 0
    assert {path: path.read_bytes() for path in files_of(archive)} == before


class Death(BaseException):
    """Nobody catches it."""


class Dying(ArchiveFiles):
    """Dies once, at its first manifest."""

    after = False
    died = False

    def write_manifest(self, manifest: Manifest) -> str:
        if self.died:
            return super().write_manifest(manifest)
        self.died = True
        if self.after:
            super().write_manifest(manifest)
        raise Death


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_death_at_the_manifest_leaves_none_or_a_whole_one(
    store: SqlStore, database: Database, archive: ArchiveFiles, after: bool
) -> None:
    await ended(store, database, RunStatus.SUCCEEDED, count=3)
    dying = Dying(archive._place)
    dying.after = after
    with pytest.raises(Death):
        await archived(store, dying)
    assert len(files_of(archive, "manifests/*/*/*.json")) == int(after)
    # Nothing goes before the database knows that the batch is written.
    retention = Retention(store, Archiving(store, archive, None))
    await ended(store, database, RunStatus.SUCCEEDED, days_ago=101)
    gone = await retention.retire(older_than=AGE, by="me")
    assert gone.runs == 4
    found = await verified(archive)
    assert (found.whole, found.runs) == (True, 4)
    assert not files_of(archive, "**/*.new")


async def test_nothing_goes_that_is_not_archived(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    await ended(store, database, RunStatus.SUCCEEDED, count=2)
    archiving = Archiving(store, archive, None)
    gone = await archiving.retire(older_than=AGE, most=None, at_once=10)
    assert gone.runs == 0
    assert await left(database, "runs") == 2


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("spoil", ["changed", "gone", "cut", "manifest", "no-manifest"])
async def test_nothing_goes_whose_file_is_not_as_it_was_written(
    store: SqlStore, database: Database, archive: ArchiveFiles, spoil: str
) -> None:
    await ended(store, database, RunStatus.SUCCEEDED, count=2)
    await archived(store, archive)
    (file,) = files_of(archive, "audit/*/*/*.parquet")
    (manifest,) = files_of(archive, "manifests/*/*/*.json")
    whole = file.read_bytes()
    if spoil == "changed":
        file.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    elif spoil == "gone":
        file.unlink()
    elif spoil == "cut":
        file.write_bytes(whole[:-1])
    elif spoil == "manifest":
        manifest.write_bytes(manifest.read_bytes().replace(b'"rows":2', b'"rows":1'))
    else:
        manifest.unlink()
    archiving = Archiving(store, archive, None)
    assert await archiving.lost() or spoil in {"changed", "gone", "cut"}
    assert not (await verified(archive)).whole or spoil in {"manifest", "no-manifest"}
    with capture_logs() as logs:
        gone = await archiving.retire(older_than=AGE, most=None, at_once=10)
    assert [each["event"] for each in logs] == ["archive.spoilt"]
    assert gone.runs == 0
    assert await left(database, "runs") == 2
    # What was spoilt is archived anew, and goes then.
    assert await retired(store, archive) == 2
    assert (await verified(archive)).whole


async def test_a_batch_with_an_erased_run_is_written_anew_before_anything_of_it_goes(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    erased, _ = await ended(store, database, RunStatus.SUCCEEDED, count=2)
    await archived(store, archive)
    before = files_of(archive)
    await store.erase(erased, by="ada", reason="asked for")
    archiving = Archiving(store, archive, None)
    assert (await archiving.retire(older_than=AGE, most=None, at_once=10)).runs == 0
    assert await retired(store, archive) == 2
    assert not set(before) & set(files_of(archive))
    (runs,) = files_of(archive, "runs/*/*/*.parquet")
    inputs = {r["id"]: r["inputs"] for r in pq.read_table(runs, partitioning=None).to_pylist()}
    assert "book" not in inputs.pop(erased)
    assert all("book" in each for each in inputs.values())


async def test_the_files_of_a_batch_stay_when_some_of_its_runs_are_there_alone(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    gone, erased = sorted(await ended(store, database, RunStatus.SUCCEEDED, count=2))
    await archived(store, archive)
    before = files_of(archive)
    (batch,) = await store.archived_batches(kept=True, most=10)
    await store.retire_runs(older_than_seconds=90 * DAY, limit=1, batch=batch.id)
    await store.erase(erased, by="ada", reason="asked for")
    assert await retired(store, archive) == 1
    assert set(before) <= set(files_of(archive))
    found = await verified(archive)
    assert (found.whole, found.erased_records > 0) == (True, True)
    reading = ArchiveReading(archive, audit_of)
    assert "book" not in (await reading.explain(erased)).run["inputs"]  # of the later batch
    assert (await reading.explain(gone)).run["id"] == gone


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_manifests_are_signed_and_told_apart(
    store: SqlStore, database: Database, archive: ArchiveFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = new_key_pair()
    monkeypatch.setenv("AUDIT_KEY", private.decode().strip())
    signer = signer_of("env:AUDIT_KEY", setting="audit_key")
    keys = TrustedKeys([public_key_of(public, place="here")])
    await ended(store, database, RunStatus.SUCCEEDED, count=2)
    await Archiving(store, archive, signer).archive(older_than=AGE)
    found = await verified(archive, keys)
    assert (found.whole, found.unsigned_batches) == (True, 0)
    assert (await verified(archive)).unsigned_batches == 1
    (manifest,) = files_of(archive, "manifests/*/*/*.json")
    manifest.write_bytes(manifest.read_bytes().replace(b'"older_until":', b'"older_until":1'))
    found = await verified(archive, keys)
    assert [each.what for each in found.breaches] == ["the signature is not of this manifest"]


async def test_a_record_that_was_changed_with_its_digests_breaks_its_chain(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    (run_id,) = await ended(store, database, RunStatus.SUCCEEDED)
    await run_statement(database, "UPDATE audit SET actor = 'eve' WHERE seq = 2")
    with capture_logs() as logs:
        assert await archived(store, archive) == 0
    assert [each["event"] for each in logs] == ["archive.not_as_planned"]
    assert run_id in logs[0]["why"][0]
    assert files_of(archive) == []


async def run_statement(database: Database, statement: str) -> None:
    await database.write(lambda tx: tx.change(text(statement)))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_files_are_written_in_row_groups_and_found_by_them(
    store: SqlStore, database: Database, archive: ArchiveFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1)
    monkeypatch.setattr(service, "FEWEST_READ_AT_ONCE", 2)
    monkeypatch.setattr(service, "RUNS_READ_AT_ONCE", 2)
    ids = await ended(store, database, RunStatus.SUCCEEDED, count=5)
    await archived(store, archive)
    (audit,) = files_of(archive, "audit/*/*/*.parquet")
    assert pq.ParquetFile(audit).num_row_groups == 3
    reading = ArchiveReading(archive, audit_of)
    assert [(await reading.explain(each)).run["id"] for each in ids] == ids


@pytest.mark.parametrize(
    ("size", "megabytes", "following"),
    [(8, 0, 16), (8, 5, 8), (8, 9, 4), (1, 50, 1), (150, 1, 200)],
)
def test_as_many_runs_are_read_at_once_as_memory_has_room_for(
    size: int, megabytes: int, following: int
) -> None:
    assert service._next_size(size, megabytes << 20) == following


async def test_two_at_once_write_each_run_once(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    await ended(store, database, RunStatus.SUCCEEDED, count=6)
    done = await asyncio.gather(*(archived(store, archive) for _ in range(3)))
    assert sum(done) == 6
    found = await verified(archive)
    assert (found.whole, found.runs) == (True, 6)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_place_that_cannot_be_had_costs_nothing(
    store: SqlStore, database: Database, tmp_path: Path
) -> None:
    await ended(store, database, RunStatus.SUCCEEDED)
    (tmp_path / "archive").write_text("a file, not a folder")
    archive = open_archive(f"file://{tmp_path}/archive")
    with pytest.raises(Unavailable, match="archive at file://"):
        await retired(store, archive)
    assert await left(database, "runs") == 1
    (tmp_path / "archive").unlink()
    assert await retired(store, archive) == 1


def test_a_url_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="nowhere://"):
        open_archive("nowhere://there")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format":2}', b'{"format":1}', b"\xff"])
def test_what_is_no_manifest_is_said_with_its_place(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "manifests" / "tenant=acme" / "day=2026-01-01"
    folder.mkdir(parents=True)
    (folder / "b.json").write_bytes(content)
    archive = open_archive(f"file://{tmp_path}")
    with pytest.raises(InvalidInput, match=r"day=2026-01-01/b\.json"):
        list(archive.manifests())


def test_the_url_is_shown_without_its_password() -> None:
    shown = Place("memory://user:secret@host/folder?key=secret").address
    assert "secret" not in shown


# --- what is erased in the archive ----------------------------------------------------------------


def erasing(store: SqlStore, archive: ArchiveFiles, signer: Signer | None = None) -> ArchiveErasing:
    return ArchiveErasing(store, archive, signer)


def said(archive: ArchiveFiles, run_id: str) -> list[str]:
    """All that the archive's tables say of a run, as text."""
    return [
        str(row)
        for path in files_of(archive, "*/*/*/*.parquet")
        for row in pq.read_table(path, partitioning=None).to_pylist()
        if run_id in (row.get("run_id"), row.get("id"))
    ]


async def test_a_person_is_erased_where_the_archive_is_all_that_is_left(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    erased, other = await ended(store, database, RunStatus.SUCCEEDED, count=2)
    await retired(store, archive)
    before, of_other = files_of(archive), said(archive, other)
    assert any("book" in each for each in said(archive, erased))
    assert any("all is well" in each for each in said(archive, erased))

    done = await erasing(store, archive).erase(erased, by="ada", reason="asked for")
    assert (done.batches, done.records) == (1, 2)
    assert not any("book" in each or "all is well" in each for each in said(archive, erased))
    assert said(archive, other) == of_other
    manifest = files_of(archive, "manifests/*/*/*.json")
    assert set(before) & set(files_of(archive)) == set(manifest)

    found = await verified(archive)
    assert (found.whole, found.runs, found.records, found.erased_records) == (True, 2, 5, 2)
    assert await Archiving(store, archive, None).lost() == []
    told = (await ArchiveReading(archive, audit_of).explain(erased)).told
    assert any("asked for" in each.text for each in told.sentences)
    after = {path: path.read_bytes() for path in files_of(archive)}
    again = await erasing(store, archive).erase(erased, by="ada", reason="asked for")
    assert (again.batches, again.records) == (0, 0)
    assert {path: path.read_bytes() for path in files_of(archive)} == after


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_what_is_in_the_database_as_well_is_erased_there(
    store: SqlStore, database: Database, archive: ArchiveFiles
) -> None:
    (run_id,) = await ended(store, database, RunStatus.SUCCEEDED)
    await archived(store, archive)
    with pytest.raises(Conflict, match="audit erase"):
        await erasing(store, archive).erase(run_id, by="ada", reason="asked for")
    await retired(store, archive)
    with pytest.raises(NotFound, match="no run"):
        await erasing(store, archive).erase(id_of(100), by="ada", reason="asked for")
    (audit,) = files_of(archive, "audit/*/*/*.parquet")
    audit.write_bytes(audit.read_bytes()[:-1])
    with pytest.raises(Conflict, match="not as it was written"):
        await erasing(store, archive).erase(run_id, by="ada", reason="asked for")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_death_while_erasing_leaves_a_whole_archive(
    store: SqlStore, database: Database, archive: ArchiveFiles, after: bool
) -> None:
    erased, _ = await ended(store, database, RunStatus.SUCCEEDED, count=2)
    await retired(store, archive)
    files = len(files_of(archive))
    dying = Dying(archive._place)
    dying.after = after
    with pytest.raises(Death):
        await erasing(store, dying).erase(erased, by="ada", reason="asked for")
    found = await verified(archive)
    assert (found.whole, found.erased_records) == (True, 2 if after else 0)
    await erasing(store, archive).erase(erased, by="ada", reason="asked for")
    found = await verified(archive)
    assert (found.whole, found.erased_records) == (True, 2)
    assert await Archiving(store, archive, None).lost() == []
    assert len(files_of(archive)) == files  # none that no manifest names
    assert not any("book" in each for each in said(archive, erased))
