"""Attributes of runs: written when a run is accepted, deleted with it, never changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from orchestrator.ports import NewRun
from orchestrator.store import codec
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx

INSERT = "INSERT INTO run_attributes (run_id, name, value, tenant)"
PAIR = {"name": "text", "value": "text"}


class Attributes(Part):
    """The part of ports.RunStore that keeps them."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._insert = self._dialect.bulk(
            {"run_id": "text", **PAIR, "tenant": "text"},
            f"{INSERT} SELECT b.run_id, b.name, b.value, b.tenant",
        )
        wanted = self._dialect.batch({"wanted": "text"})
        self._read = self._sql(
            "SELECT run_id, name, value FROM run_attributes"
            f" WHERE run_id IN (SELECT wanted FROM {wanted} AS b) ORDER BY run_id, name"
        )

    async def attributes(self, run_ids: Collection[str]) -> dict[str, dict[str, str]]:
        """By name, of those of the runs that have some."""
        found: dict[str, dict[str, str]] = {}
        if run_ids:
            batch = codec.dump_batch([[run_id] for run_id in run_ids])
            for run_id, name, value in await self._db.rows(self._read, batch=batch):
                found.setdefault(run_id, {})[name] = value
        return found

    async def insert_in(self, tx: Tx, runs: Sequence[NewRun]) -> None:
        """Of runs that this transaction has just inserted."""
        await tx.apply(self._insert, [row for run in runs if run.attributes for row in _rows(run)])


def _rows(run: NewRun) -> Iterator[tuple[Any, ...]]:
    return ((run.id, name, codec.storable(value), run.tenant) for name, value in run.attributes)
