"""Ended runs that leave the database for files: what is written, by whom, and how it is read again.

A *batch* is some hundreds of ended runs of one tenant that were accepted on one day (UTC). Which
runs it holds, and with which heads of their audits, is in the database before the first byte of a
file, so that whoever is cut off writes the same batch again, under the same names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeAlias

from orchestrator.core.chain import Story
from orchestrator.ports.retention import Retired

Row: TypeAlias = Mapping[str, Any]
"""By name of column."""
Change: TypeAlias = Callable[[str, Row], Iterable[Row]]
"""Of a table's row: the rows that stand in its place."""

FORMAT = 1
"""Of manifests and of how files are laid out; readers refuse what they do not know."""


def day_of(run_id: str) -> str:
    """When a run was accepted, by the time that its id begins with: 2026-11-30, in UTC.

    Raises ValueError for what is no such id.
    """
    milliseconds = int(run_id.replace("-", "")[:12], 16)
    return datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros_of(at: datetime) -> int:
    """Microseconds since 1970, exact. `at` is aware."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def json_line(value: Mapping[str, Any]) -> bytes:
    """The same bytes for the same value."""
    return (json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n").encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Where a run's audit had come to."""

    run_id: str
    seq: int  # of its last record
    head: bytes  # of its chain; empty: it is older than chains


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Runs that are archived together, in order of their ids."""

    id: str  # made of the runs and their heads
    tenant: str
    day: str  # 2026-11-30: when they were accepted
    heads: Sequence[Head]
    manifest: str | None = None  # SHA-256 of it in hex; None: it is not written yet

    @property
    def run_ids(self) -> list[str]:
        """Of its runs."""
        return [each.run_id for each in self.heads]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedTable:
    """A table as it is archived: its columns in order, and what each holds.

    Kinds: text, int, real, bool, bytes, time (aware datetimes).
    """

    name: str
    columns: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedFile:
    """One file of a batch."""

    path: str  # below the archive's URL
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a batch consists of. It is written last: without it there is no batch."""

    batch: str
    tenant: str
    day: str
    schema: str  # of the database that the rows come from: its newest migration
    older_until: int  # microseconds: records up to then may be in no chain, see core/chain
    heads: Sequence[Head]
    files: Mapping[str, ArchivedFile]  # by table; a table without rows has none
    key_id: str | None = None
    signature: bytes | None = None

    def told(self) -> dict[str, Any]:
        """All of it but the signature, as JSON has it; the same for the same batch."""
        return {
            "format": FORMAT, "schema": self.schema, "batch": self.batch,
            "tenant": self.tenant, "day": self.day, "older_until": self.older_until,
            "runs": len(self.heads),
            "heads": [[each.run_id, each.seq, each.head.hex()] for each in self.heads],
            "files": {name: asdict(file) for name, file in sorted(self.files.items())},
        }  # fmt: skip

    def text(self) -> bytes:
        """What its signature is made over."""
        return json_line(self.told())


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedRun:
    """A run as an archive has it: rows as they stood in the database, by name of column."""

    run: Row
    audit: Sequence[Row]  # in order
    maps: frozenset[str] = frozenset()  # ids of those that it began


class BatchWriter(Protocol):
    """Writes the files of one batch. Blocks; raises Unavailable when the place cannot be had."""

    def add(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Rows of a table, in order of its key."""

    def close(self) -> Mapping[str, ArchivedFile]:
        """Everything is written; what came of it."""

    def abandon(self) -> None:
        """Let go of what is open. Safe after anything."""


class Archive(Protocol):
    """The files. All of it blocks. Raises Unavailable when the place cannot be had."""

    @property
    def address(self) -> str:
        """Where it is, without secrets."""

    def begin(self, batch: Batch, tables: Sequence[ArchivedTable]) -> BatchWriter:
        """Write a batch, over what a writer before has left of it."""

    def write_manifest(self, manifest: Manifest) -> str:
        """Put it in place, all or nothing; its SHA-256 in hex."""

    def manifest(self, tenant: str, day: str, batch: str) -> tuple[Manifest, str]:
        """One, and its SHA-256. Raises NotFound, InvalidInput for what is none."""

    def manifests(self, *, day: str | None = None) -> Iterator[Manifest]:
        """All, or those of a day, in order of their paths. Raises InvalidInput for what is none."""

    def remove(self, batch: Batch, tables: Sequence[ArchivedTable]) -> None:
        """Its manifest and files, as far as they are there; the manifest first."""

    def rewrite(self, manifest: Manifest, change: Change) -> Mapping[str, ArchivedFile]:
        """Its files once more, under other names, with their rows changed; the old ones stay."""

    def discard(self, files: Mapping[str, ArchivedFile]) -> None:
        """Remove these, as far as they are there."""

    def sweep(self, manifest: Manifest) -> None:
        """Remove what is there of its batch beside the files that it names."""

    def differences(self, manifest: Manifest) -> list[str]:
        """What is not as the manifest says, by the bytes of its files; one sentence each."""

    def stories(self, manifest: Manifest) -> Iterator[Story]:
        """The audits of its runs, read from the files; in order of the runs' ids."""

    def run(self, manifest: Manifest, run_id: str) -> ArchivedRun:
        """One of its runs. Raises NotFound."""


class ArchivingStore(Protocol):
    """The database of which ended runs are archived."""

    @property
    def archived_tables(self) -> Sequence[ArchivedTable]:
        """What is kept of a run; first those that are read by chunks of runs."""

    @property
    def schema(self) -> str:
        """The newest migration."""

    @property
    def erased_columns(self) -> Mapping[str, Mapping[str, Any] | None]:
        """By table, what stands in the place of a run's payloads; None: its rows go."""

    def erasure_data(self, reason: str, records: int) -> str:
        """What the record of an erasure says, as it is stored."""

    async def now(self) -> datetime:
        """The database's clock."""

    async def has_run(self, run_id: str) -> bool:
        """Whether it is in the database."""

    async def plan_batches(self, *, older_than_seconds: float, most: int) -> int:
        """Put final runs that settled so long ago and are in no batch into batches; how many runs.

        The oldest ones, so many at most; in one transaction, by one process at a time (0 for the
        others).
        """

    async def take_batch(self, *, hold_seconds: float) -> Batch | None:
        """The oldest batch without a manifest that nobody else is writing."""

    async def release_batch(self, batch: str) -> None:
        """Whoever was writing it does so no more: the next one takes it."""

    async def rows_of(
        self, tables: Iterable[str], run_ids: Sequence[str]
    ) -> Mapping[str, Sequence[Sequence[Any]]]:
        """Rows of these tables that belong to these runs, of one snapshot, each by its key."""

    async def older_until(self) -> int:
        """Microseconds: records up to then may be in no chain."""

    async def note_archived(self, batch: str, *, manifest: str) -> bool:
        """It is written, read back and right. False: it was given up meanwhile."""

    async def changed_batches(self) -> Sequence[str]:
        """Of which a run that is still there has other records than when it was planned."""

    async def give_up_batch(self, batch: str) -> bool:
        """Its runs that are still there are archived no more, and will be planned anew.

        Whether all are, so that its files are of no use.
        """

    async def archived_batches(self, *, kept: bool, after: str = "", most: int) -> Sequence[Batch]:
        """Those that are written, by id; `kept`: of which runs are still in the database."""

    async def batch(self, batch: str) -> Batch | None:
        """With its runs that are still in the database."""

    async def retire_runs(
        self, *, older_than_seconds: float, limit: int = 200, batch: str | None = None
    ) -> Retired:
        """See RetentionStore: of this batch those alone that are as they were archived."""
