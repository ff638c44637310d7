"""Rows of a table as a Parquet file, a row group at a time, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.archive.place import Abandoned, Place
from orchestrator.ports.archiving import ArchivedFile, ArchivedTable, Row

GROUP_BYTES = 8 << 20
"""Of rows in memory that become a row group."""

_TYPES = {
    "text": pa.string(), "int": pa.int64(), "real": pa.float64(), "bool": pa.bool_(),
    "bytes": pa.binary(), "time": pa.timestamp("us", tz="UTC"),
}  # fmt: skip


def schema_of(table: ArchivedTable) -> pa.Schema:
    """How a table is written."""
    return pa.schema([(name, _TYPES[kind]) for name, kind in table.columns.items()])


class _Told:
    """A stream that works the digest of what is written out; what pyarrow asks of a file."""

    closed = False

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.count, self.told = 0, sha256()

    def write(self, content: bytes) -> int:
        self._stream.write(content)
        self.told.update(content)
        self.count += len(content)
        return len(content)

    def tell(self) -> int:
        return self.count

    def flush(self) -> None:
        """The stream is flushed when it is closed."""

    def close(self) -> None:
        """Its owner closes the stream."""


class ParquetFile:
    """One file that is being written; it is begun with its first row."""

    def __init__(self, place: Place, path: str, schema: pa.Schema) -> None:
        self._place, self._path, self._schema = place, path, schema
        self._open: AbstractContextManager[IO[bytes]] | None = None
        self._writer: Any = None
        self._told: Any = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Rows, in order."""
        if not rows:
            return
        columns = [
            pa.array(values, type=field.type)
            for values, field in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        self._waiting.append(pa.record_batch(columns, schema=self._schema))
        self._rows += len(rows)
        if sum(each.nbytes for each in self._waiting) >= GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if self._writer is None:
            self._open = self._place.writing(self._path)
            self._told = _Told(self._open.__enter__())
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._told, mode="w"), self._schema, compression="zstd"
            )
        group = pa.Table.from_batches(self._waiting, schema=self._schema)
        self._writer.write_table(group, row_group_size=group.num_rows)
        self._waiting.clear()

    def add_named(self, rows: Sequence[Row]) -> None:
        """Rows by name of column, in order."""
        self.add([[row[name] for name in self._schema.names] for row in rows])

    def close(self) -> ArchivedFile | None:
        """What was written; None: there was no row."""
        if not self._rows:
            return None
        if self._waiting:
            self._write_group()
        self._writer.close()
        self._leave(None)
        return ArchivedFile(
            path=self._path, rows=self._rows, bytes=self._told.count,
            sha256=self._told.told.hexdigest(),
        )  # fmt: skip

    def abandon(self) -> None:
        """Let go of the stream. What it had written is overwritten by whoever comes next."""
        if self._open is not None:
            self._leave(Abandoned())

    def _leave(self, why: Exception | None) -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        try:
            opened.__exit__(None if why is None else type(why), why, None)
        except Abandoned:
            return


def pages(place: Place, path: str) -> Iterator[tuple[pa.Schema, list[Row]]]:
    """The whole file, a hundred rows at a time. Raises FileNotFoundError, ArrowException."""
    with place.reached(), place.files.open(place.full(path), "rb") as stream:
        file = pq.ParquetFile(stream)
        for group in file.iter_batches(batch_size=100):
            yield file.schema_arrow, group.to_pylist()


def batches(place: Place, path: str, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Rows of a file, a thousand at a time. Raises FileNotFoundError, ArrowException."""
    with place.reached(), place.files.open(place.full(path), "rb") as stream:
        for group in pq.ParquetFile(stream).iter_batches(batch_size=1000, columns=list(columns)):
            yield from group.to_pylist()


def rows_of(place: Place, path: str, column: str, value: str) -> list[Mapping[str, Any]]:
    """Rows with this value; of the row groups that may have some. Raises FileNotFoundError."""
    with place.reached(), place.files.open(place.full(path), "rb") as stream:
        found: list[Mapping[str, Any]] = pq.read_table(
            stream, filters=[(column, "==", value)]
        ).to_pylist()
        return found
