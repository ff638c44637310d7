"""Takes the payloads of a run away and leaves its chain whole.

What a record of the audit says (kind, actor, data) goes into its chain as a digest of its own, so
that the digest can stand where the data stood: see core/chain. The erasure is a record itself, of
the same transaction. What a run did (states, times, calls' numbers, who acted) stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import TextClause

from orchestrator.core import chain
from orchestrator.core.states import FINAL
from orchestrator.ports.auditing import ERASED_INPUTS
from orchestrator.ports.erasing import ErasableRun, not_ended
from orchestrator.store import codec
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.transactions import Tx

_NOTHING = codec.dump({})
_ERASED = codec.dump(ERASED_INPUTS)
ERASED_COLUMNS: Mapping[str, Mapping[str, Any] | None] = {
    "runs": {
        "inputs": _ERASED, "outputs": None, "edits": None, "cause": "", "cancel_reason": "",
    },
    "run_steps": {"request": None, "outputs": None, "error": None},
    "attempts": {"reason": ""},
    "escalations": {"detail": "", "context": _NOTHING, "closing_reason": None},
    "waits": {"asked": _NOTHING, "answer": None},
    "maps": {"given": _NOTHING, "stopped": ""},
    "map_values": None,
    "signals": {"data": _NOTHING},
    "proposals": {"arguments": _NOTHING, "reason": "", "closing_reason": None},
    "run_attributes": None,
}  # fmt: skip
"""By table, what stands in the place of payloads; None: the rows go."""
_LITERALS = {None: "NULL", "": "''", _NOTHING: ":nothing", _ERASED: ":inputs"}


def _statement(table: str, columns: Mapping[str, Any] | None) -> str:
    which = ("id" if table == "runs" else "run_id") + " IN ({ids})"
    if table == "map_values":
        which = f"map_id IN (SELECT id FROM maps WHERE {which})"
    if columns is None:
        return f"DELETE FROM {table} WHERE {which}"
    changes = ", ".join(f"{name} = {_LITERALS[value]}" for name, value in columns.items())
    return f"UPDATE {table} SET {changes} WHERE {which}"


_PAYLOADS = tuple(_statement(*each) for each in ERASED_COLUMNS.items())
_PART = (
    "r.id, r.standing, EXISTS (SELECT 1 FROM runs AS c WHERE c.parent_id = r.id AND c.map_id IS"
    " NULL) OR EXISTS (SELECT 1 FROM maps AS m WHERE m.run_id = r.id)"
)


class Erasing(Part):
    """Implements ports.erasing.ErasingStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._notes = Notes(shared)
        ids = f"SELECT b.id FROM {self._dialect.batch({'id': 'text'})} AS b"
        self._run = self._sql("SELECT standing FROM runs WHERE id = :run_id {for_update_of_runs}")
        self._runs = self._sql(
            f"SELECT id, standing FROM runs WHERE id IN ({ids}) AND inputs <> :inputs ORDER BY id"
            " {for_update_of_runs}"
        )
        self._records = self._sql(
            f"SELECT run_id, seq, kind, actor, data FROM audit WHERE run_id IN ({ids})"
            " ORDER BY run_id, seq"
        )
        self._forget = self._dialect.bulk(
            {"run_id": "text", "seq": "int", "data": "text"},
            "UPDATE audit SET data = b.data",
            where="audit.run_id = b.run_id AND audit.seq = b.seq",
        )
        self._payloads = [self._sql(each, ids=ids) for each in _PAYLOADS]
        self._children = self._sql(
            f"SELECT {_PART}, 0 FROM runs AS r WHERE r.parent_id = :run_id AND r.map_id IS NULL"
            " AND r.id > :after AND r.inputs <> :inputs ORDER BY r.id LIMIT :most"
        )
        self._maps = self._sql("SELECT id FROM maps WHERE run_id = :run_id ORDER BY id")
        self._items = self._sql(
            f"SELECT {_PART}, x.item FROM map_items AS x {{join_then}} runs AS r ON r.id = x.run_id"
            " WHERE x.map_id = :map_id AND x.item > :after AND r.inputs <> :inputs"
            " ORDER BY x.item LIMIT :most"
        )
        self._forget_values = self._sql(
            "DELETE FROM map_values WHERE map_id = :map_id AND chunk IN (SELECT chunk FROM"
            " map_values WHERE map_id = :map_id ORDER BY chunk LIMIT :most)"
        )

    async def erase(self, run_id: str, *, by: str, reason: str) -> int:
        """See ErasingStore."""

        async def work(tx: Tx) -> int:
            row = await tx.row(self._run, run_id=run_id)
            if row is None:
                raise not_found("run", run_id, "the whole id of a run")
            if row[0] not in FINAL:
                raise not_ended(run_id, row[0])
            return await self._erase(tx, [run_id], by, reason)

        return await self._db.write(work)

    async def erase_parts(self, run_ids: Sequence[str], *, by: str, reason: str) -> int:
        """See ErasingStore."""

        async def work(tx: Tx) -> int:
            batch = codec.dump_batch([[run_id] for run_id in run_ids])
            found = await tx.rows(self._runs, batch=batch, inputs=_ERASED)
            ended = [row[0] for row in found if row[1] in FINAL]
            return await self._erase(tx, ended, by, reason) if ended else 0

        return await self._db.write(work)

    async def _erase(self, tx: Tx, run_ids: Sequence[str], by: str, reason: str) -> int:
        """Of runs that are locked."""
        batch = codec.dump_batch([[run_id] for run_id in run_ids])
        known = {"nothing": _NOTHING, "inputs": _ERASED}
        for statement, text in zip(self._payloads, _PAYLOADS, strict=True):
            wanted = {name: value for name, value in known.items() if f":{name}" in text}
            await tx.change(statement, batch=batch, **wanted)
        records = await tx.rows(self._records, batch=batch)
        forgotten = [row for row in records if _has_data(row)]
        await tx.apply(self._forget, [(row[0], row[1], _marker(row)) for row in forgotten])
        numbers = dict.fromkeys(run_ids, 0)
        for run_id, _, kind, *_ in forgotten:
            numbers[run_id] += chain.number_of(kind)
        for run_id, number in numbers.items():
            data = {"reason": reason, "records": number}
            await self._notes.note(tx, run_id, chain.ERASED, by=by, data=data)
        return sum(numbers.values())

    # --- what is below a run ----------------------------------------------------------------------

    async def children_to_erase(
        self, run_id: str, *, after: str, limit: int
    ) -> Sequence[ErasableRun]:
        """See ErasingStore."""
        return await self._parts(self._children, run_id=run_id, after=after, most=limit)

    async def maps_to_erase(self, run_id: str) -> Sequence[str]:
        """See ErasingStore."""
        return [row[0] for row in await self._db.rows(self._maps, run_id=run_id)]

    async def items_to_erase(self, map_id: str, *, after: int, limit: int) -> Sequence[ErasableRun]:
        """See ErasingStore."""
        return await self._parts(self._items, map_id=map_id, after=after, most=limit)

    async def _parts(self, statement: TextClause, **known: Any) -> Sequence[ErasableRun]:
        return [
            ErasableRun(id=row[0], has_ended=row[1] in FINAL, has_parts=bool(row[2]), item=row[3])
            for row in await self._db.rows(statement, inputs=_ERASED, **known)
        ]

    async def forget_values(self, map_id: str, *, limit: int) -> int:
        """See ErasingStore."""
        return await self._db.write(
            lambda tx: tx.change(self._forget_values, map_id=map_id, most=limit)
        )


def _has_data(row: Sequence[Any]) -> bool:
    _, _, kind, _, data = row
    return kind != chain.ERASED and chain.erased_content(data) is None


def _marker(row: Sequence[Any]) -> str:
    _, _, kind, actor, data = row
    return chain.erased(kind, actor, data)
