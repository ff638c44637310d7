"""Writes batches, and reads them again: see the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import quote

from pyarrow.lib import ArrowException

from orchestrator.archive.manifests import dump_manifest, load_manifest
from orchestrator.archive.parquet import ParquetFile, batches, pages, rows_of, schema_of
from orchestrator.archive.place import Place
from orchestrator.core.chain import ChainedRecord, Story
from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.ports.archiving import (
    ArchivedFile,
    ArchivedRun,
    ArchivedTable,
    Batch,
    Change,
    Manifest,
)

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def open_archive(url: str) -> ArchiveFiles:
    """The archive at a URL that fsspec knows; touches nothing yet. Raises InvalidSetting."""
    return ArchiveFiles(Place(url))


class ArchiveFiles:
    """Implements ports.archiving.Archive."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def address(self) -> str:
        """See Archive."""
        return self._place.address

    def begin(self, batch: Batch, tables: Sequence[ArchivedTable]) -> Writer:
        """See Archive."""
        return Writer(self._place, batch, tables)

    def write_manifest(self, manifest: Manifest) -> str:
        """See Archive."""
        content = dump_manifest(manifest)
        self._place.write(_manifest_path(manifest.tenant, manifest.day, manifest.batch), content)
        return sha256(content).hexdigest()

    def manifest(self, tenant: str, day: str, batch: str) -> tuple[Manifest, str]:
        """See Archive."""
        path = _manifest_path(tenant, day, batch)
        try:
            content = self._place.read(path)
        except FileNotFoundError:
            raise self._missing(path) from None
        return load_manifest(content, place=self._said(path)), sha256(content).hexdigest()

    def manifests(self, *, day: str | None = None) -> Iterator[Manifest]:
        """See Archive."""
        for path in self._place.found(f"manifests/*/day={day or '*'}/*.json"):
            yield load_manifest(self._place.read(path), place=self._said(path))

    def remove(self, batch: Batch, tables: Sequence[ArchivedTable]) -> None:
        """See Archive."""
        path = _manifest_path(batch.tenant, batch.day, batch.id)
        try:
            named = load_manifest(self._place.read(path), place=self._said(path)).files
        except (FileNotFoundError, InvalidInput):  # then it names nothing
            named = {}
        self._place.remove(path)
        self.discard(named)
        for table in tables:
            self._place.remove(_path(table.name, batch.tenant, batch.day, batch.id))

    def rewrite(self, manifest: Manifest, change: Change) -> Mapping[str, ArchivedFile]:
        """See Archive."""
        files = {}
        for table, old in manifest.files.items():
            new = self._rewritten(table, old, change)
            if new is not None:
                files[table] = new
        return files

    def _rewritten(self, table: str, old: ArchivedFile, change: Change) -> ArchivedFile | None:
        file: ParquetFile | None = None
        try:
            for schema, rows in pages(self._place, old.path):
                file = file or ParquetFile(self._place, _next(old.path), schema)
                file.add_named([new for row in rows for new in change(table, row)])
            return None if file is None else file.close()
        finally:
            if file is not None:
                file.abandon()

    def discard(self, files: Mapping[str, ArchivedFile]) -> None:
        """See Archive."""
        for file in files.values():
            self._place.remove(file.path)

    def sweep(self, manifest: Manifest) -> None:
        """See Archive."""
        named = {file.path for file in manifest.files.values()}
        folder = _folder(manifest.tenant, manifest.day)
        for path in self._place.found(f"*/{folder}/{manifest.batch}*.parquet"):
            if path not in named:
                self._place.remove(path)

    def differences(self, manifest: Manifest) -> list[str]:
        """See Archive."""
        found = []
        for file in manifest.files.values():
            try:
                size, digest = self._place.digest(file.path)
            except FileNotFoundError:
                found.append(f"{file.path} is missing")
                continue
            if (size, digest) != (file.bytes, file.sha256):
                found.append(f"{file.path} is not what was written ({size} bytes, {digest})")
        return found

    def stories(self, manifest: Manifest) -> Iterator[Story]:
        """See Archive."""
        records = groupby(
            self._all(manifest, "audit", ("run_id", "seq", "at", "kind", "actor", "data", "chain")),
            key=itemgetter("run_id"),
        )
        ahead = next(records, None)
        for run in self._all(manifest, "runs", ("id", "audit_seq", "audit_head")):
            told: list[ChainedRecord] = []
            if ahead is not None and ahead[0] == run["id"]:
                told = [_record(each) for each in ahead[1]]
                ahead = next(records, None)
            yield Story(
                run_id=run["id"], records=told, claimed=(run["audit_seq"], run["audit_head"]),
                older_until=manifest.older_until,
            )  # fmt: skip
        if ahead is not None:
            yield Story(run_id=ahead[0], records=[_record(r) for r in ahead[1]], claimed=None)

    def run(self, manifest: Manifest, run_id: str) -> ArchivedRun:
        """See Archive."""
        runs = self._some(manifest, "runs", "id", run_id)
        if not runs:
            raise self._missing(f"run {run_id} of batch {manifest.batch}")
        audit = sorted(self._some(manifest, "audit", "run_id", run_id), key=itemgetter("seq"))
        maps = frozenset(each["id"] for each in self._some(manifest, "maps", "run_id", run_id))
        return ArchivedRun(run=runs[0], audit=audit, maps=maps)

    def _all(
        self, manifest: Manifest, table: str, columns: Sequence[str]
    ) -> Iterator[Mapping[str, Any]]:
        file = manifest.files.get(table)
        if file is None:
            return
        try:
            yield from batches(self._place, file.path, columns)
        except FileNotFoundError:
            raise self._missing(file.path) from None
        except ArrowException as error:
            raise self._unreadable(file, error) from None

    def _some(
        self, manifest: Manifest, table: str, column: str, value: str
    ) -> list[Mapping[str, Any]]:
        file = manifest.files.get(table)
        if file is None:
            return []
        try:
            return rows_of(self._place, file.path, column, value)
        except FileNotFoundError:
            raise self._missing(file.path) from None
        except ArrowException as error:
            raise self._unreadable(file, error) from None

    def _said(self, path: str) -> str:
        return f"{self.address}/{path}"

    def _missing(self, what: str) -> NotFound:
        problem = Problem(place=self.address, found=f"no {what}", wanted="what its manifest names")
        return NotFound(f"the archive has no {what}", problems=[problem])

    def _unreadable(self, file: ArchivedFile, error: ArrowException) -> InvalidInput:
        said = str(error).splitlines()[0]
        problem = Problem(place=self._said(file.path), found=said, wanted="a Parquet file")
        return InvalidInput("a file of the archive cannot be read", problems=[problem])


class Writer:
    """Implements ports.archiving.BatchWriter."""

    def __init__(self, place: Place, batch: Batch, tables: Sequence[ArchivedTable]) -> None:
        # What somebody before has begun is no batch any more, whatever becomes of this one.
        place.remove(_manifest_path(batch.tenant, batch.day, batch.id))
        self._files = {
            table.name: ParquetFile(
                place, _path(table.name, batch.tenant, batch.day, batch.id), schema_of(table)
            )
            for table in tables
        }

    def add(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """See BatchWriter."""
        self._files[table].add(rows)

    def close(self) -> Mapping[str, ArchivedFile]:
        """See BatchWriter."""
        closed = {name: file.close() for name, file in self._files.items()}
        return {name: file for name, file in closed.items() if file is not None}

    def abandon(self) -> None:
        """See BatchWriter."""
        for file in self._files.values():
            file.abandon()


def _path(table: str, tenant: str, day: str, batch: str) -> str:
    return f"{table}/{_folder(tenant, day)}/{batch}.parquet"


def _next(path: str) -> str:
    """The name of a file that is written in place of another: BATCH.parquet, BATCH-2.parquet …"""
    head, _, name = path.removesuffix(".parquet").rpartition("/")
    batch, _, number = name.partition("-")
    return f"{head}/{batch}-{int(number or 1) + 1}.parquet"


def _manifest_path(tenant: str, day: str, batch: str) -> str:
    return f"manifests/{_folder(tenant, day)}/{batch}.json"


def _folder(tenant: str, day: str) -> str:
    return f"tenant={quote(tenant, safe='')}/day={day}"


def _record(row: Mapping[str, Any]) -> ChainedRecord:
    at = row["at"] - _EPOCH
    return ChainedRecord(
        seq=row["seq"], at=(at.days * 86_400 + at.seconds) * 1_000_000 + at.microseconds,
        kind=row["kind"], actor=row["actor"], data=row["data"], chain=row["chain"],
    )  # fmt: skip
