"""Takes the payloads of a run away and leaves its chain whole.

What a record of the audit says (kind, actor, data) goes into its chain as a digest of its own, so
that the digest can stand where the data stood: see core/chain. The erasure is a record itself, of
the same transaction. What a run did (states, times, calls' numbers, who acted) stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.core import chain
from orchestrator.core.states import FINAL
from orchestrator.errors import Conflict, Problem
from orchestrator.ports.auditing import ERASED_INPUTS
from orchestrator.store import codec
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.transactions import Tx

_NOTHING = codec.dump({})
_OF_RUN = " WHERE run_id = :run_id"
_PAYLOADS = (
    "UPDATE runs SET inputs = :inputs, outputs = NULL, edits = NULL, cause = '', cancel_reason = ''"
    + _OF_RUN.replace("run_id =", "id ="),
    "UPDATE run_steps SET request = NULL, outputs = NULL, error = NULL" + _OF_RUN,
    "UPDATE attempts SET reason = ''" + _OF_RUN,
    "UPDATE escalations SET detail = '', context = :nothing, closing_reason = NULL" + _OF_RUN,
    "UPDATE waits SET asked = :nothing, answer = NULL" + _OF_RUN,
    "UPDATE maps SET given = :nothing, stopped = ''" + _OF_RUN,
    "DELETE FROM map_values WHERE map_id IN (SELECT id FROM maps" + _OF_RUN + ")",
    "UPDATE signals SET data = :nothing" + _OF_RUN,
    "UPDATE proposals SET arguments = :nothing, reason = '', closing_reason = NULL" + _OF_RUN,
    "DELETE FROM run_attributes" + _OF_RUN,
)


class Erasing(Part):
    """The erasing part of ports.auditing.AuditStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._notes = Notes(shared)
        self._run = self._sql(
            "SELECT standing, workflow FROM runs WHERE id = :run_id {for_update_of_runs}"
        )
        self._records = self._sql(
            "SELECT seq, kind, actor, data FROM audit WHERE run_id = :run_id ORDER BY seq"
        )
        self._forget = self._dialect.bulk(
            {"run_id": "text", "seq": "int", "data": "text"},
            "UPDATE audit SET data = b.data",
            where="audit.run_id = b.run_id AND audit.seq = b.seq",
        )
        self._payloads = [self._sql(each) for each in _PAYLOADS]

    async def erase(self, run_id: str, *, by: str, reason: str) -> int:
        """See AuditStore."""

        async def work(tx: Tx) -> int:
            row = await tx.row(self._run, run_id=run_id)
            if row is None:
                raise not_found("run", run_id, "the whole id of a run")
            if row[0] not in FINAL:
                raise _not_final(run_id, row[0])
            return await self._erase(tx, run_id, by, reason)

        return await self._db.write(work)

    async def _erase(self, tx: Tx, run_id: str, by: str, reason: str) -> int:
        known = {
            "run_id": run_id, "nothing": _NOTHING, "inputs": codec.dump(ERASED_INPUTS)
        }  # fmt: skip
        for statement, text in zip(self._payloads, _PAYLOADS, strict=True):
            wanted = {name: value for name, value in known.items() if f":{name}" in text}
            await tx.change(statement, **wanted)
        records = await tx.rows(self._records, run_id=run_id)
        forgotten = [row for row in records if _has_data(row)]
        await tx.apply(self._forget, [(run_id, row[0], _marker(row)) for row in forgotten])
        number: int = sum(chain.number_of(row[1]) for row in forgotten)
        data = {"reason": reason, "records": number}
        await self._notes.note(tx, run_id, chain.ERASED, by=by, data=data)
        return number


def _has_data(row: Sequence[Any]) -> bool:
    _, kind, _, data = row
    return kind != chain.ERASED and chain.erased_content(data) is None


def _marker(row: Sequence[Any]) -> str:
    _, kind, actor, data = row
    return chain.erased(kind, actor, data)


def _not_final(run_id: str, standing: str) -> Conflict:
    problem = Problem(
        place=f"run {run_id}", found=f"one that is {standing}",
        wanted="one that has ended: until then it needs its payloads",
    )  # fmt: skip
    return Conflict("the payloads cannot be erased", problems=[problem])
