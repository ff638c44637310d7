"""Seals stored payloads anew, with the key that is the first now.

Page by page, in order of the rows' keys. A payload is only replaced while it is as it was read, so
runs go on meanwhile; what they write is sealed with the first key by itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import TextClause

from orchestrator.ports.auditing import ERASED_INPUTS
from orchestrator.store import codec
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx

ROWS_A_PAGE = 200
_ERASED = codec.dump(ERASED_INPUTS)


class _Kept(NamedTuple):
    """Where payloads stand."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


KEPT = (
    _Kept("runs", ("id",), ("inputs", "outputs", "edits")),
    _Kept("run_steps", ("run_id", "step", "direction"), ("request", "outputs")),
    _Kept("signals", ("run_id", "number"), ("data",)),
    _Kept("waits", ("id",), ("asked", "answer")),
    _Kept("maps", ("id",), ("given",)),
    _Kept("map_values", ("map_id", "chunk"), ("items",)),
    _Kept("proposals", ("id",), ("arguments",)),
    _Kept("escalations", ("id",), ("context",)),
    _Kept("schedules", ("id",), ("schedule",)),
    _Kept("schedule_changes", ("schedule_id", "version"), ("schedule",)),
)
"""All columns that are written with `codec.dump_payload`."""


class Resealing(Part):
    """The resealing part of the store."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._first = {kept: self._page(kept, "") for kept in KEPT}
        self._next = {kept: self._page(kept, f"({', '.join(kept.key)}) > ({_marks(kept)}) AND")
                      for kept in KEPT}  # fmt: skip

    def _page(self, kept: _Kept, after: str) -> TextClause:
        # What stands for an erased payload says nothing, and is looked for as it is.
        others = " OR ".join(
            f"({c} IS NOT NULL AND {c} NOT LIKE :fine AND {c} <> :erased)" for c in kept.columns
        )
        return self._sql(
            f"SELECT {', '.join((*kept.key, *kept.columns))} FROM {kept.table}"
            f" WHERE {after} ({others}) ORDER BY {', '.join(kept.key)} LIMIT {ROWS_A_PAGE}"
        )

    async def reseal_payloads(self) -> int:
        """How many payloads were sealed anew. Raises InvalidSetting where a key is missing."""
        return sum([await self._reseal(kept) for kept in KEPT])

    async def _reseal(self, kept: _Kept) -> int:
        keys = codec.sealing()
        # Without keys those that are sealed are looked for, which cannot be opened: that is told.
        fine = f"{codec.PLAIN_PREFIX if keys is None else keys.stored_prefix()}%"
        changed = 0
        last: tuple[Any, ...] | None = None
        while True:
            page, number = await self._db.write(partial(self._one_page, kept, fine, last))
            changed += number
            if len(page) < ROWS_A_PAGE:
                return changed
            last = page[-1]

    async def _one_page(
        self, kept: _Kept, fine: str, last: tuple[Any, ...] | None, tx: Tx
    ) -> tuple[list[tuple[Any, ...]], int]:
        """The keys of the page's rows, and how many of their payloads were sealed anew."""
        after = {} if last is None else {f"after{n}": value for n, value in enumerate(last)}
        statement = self._first[kept] if last is None else self._next[kept]
        found = await tx.rows(statement, fine=fine, erased=_ERASED, **after)
        width, changed = len(kept.key), 0
        for row in found:
            key = {f"key{n}": value for n, value in enumerate(row[:width])}
            for column, stored in zip(kept.columns, row[width:], strict=True):
                if stored not in (None, _ERASED) and not stored.startswith(fine[:-1]):
                    new = codec.resealed(stored)
                    where = " AND ".join(f"{name} = :key{n}" for n, name in enumerate(kept.key))
                    change = self._sql(
                        f"UPDATE {kept.table} SET {column} = :new WHERE {where} AND {column} = :old"
                    )
                    changed += await tx.change(change, new=new, old=stored, **key)
        return [tuple(row[:width]) for row in found], changed


def _marks(kept: _Kept) -> str:
    return ", ".join(f":after{n}" for n in range(len(kept.key)))
