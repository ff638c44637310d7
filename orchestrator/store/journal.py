"""The hot path: what many runs have to record, in one transaction (group commit).

Each write is guarded by its owner and epoch. Whoever is refused has written nothing at all: the
guarded UPDATE comes first and names the accepted ones; only their rows follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import TextClause

from orchestrator.core.events import CancelMode
from orchestrator.ports import RunWrite, Signals
from orchestrator.store import codec, writes
from orchestrator.store.engine import Tx
from orchestrator.store.part import Part, Shared

_NOTHING = Signals()


class Journal(Part):
    """The recording part of ports.RunStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        dialect = self._dialect
        batch = dialect.batch(writes.RUN_COLUMNS)
        guard = "runs.id = b.run_id AND runs.owner = b.owner AND runs.epoch = b.epoch"
        # Locks in order of run ids, so that two batches with common runs cannot block each other.
        locked = (
            f"WITH b AS MATERIALIZED (SELECT * FROM {batch} AS rows_given),"
            f" held AS MATERIALIZED (SELECT runs.id FROM runs JOIN b ON {guard}"
            " ORDER BY runs.id FOR UPDATE OF runs) "
        )
        self._update = self._sql(
            ("" if dialect.is_sqlite else locked) + f"UPDATE runs SET {writes.SET_RUN},"
            " settled_at = CASE WHEN b.settled THEN COALESCE(runs.settled_at, {now}) END,"
            " audit_seq = CASE WHEN b.last_seq + runs.audit_shift > runs.audit_seq"
            " THEN b.last_seq + runs.audit_shift ELSE runs.audit_seq END"
            + (
                f" FROM {batch} AS b"
                if dialect.is_sqlite
                else " FROM b JOIN held ON held.id = b.run_id"
            )
            + f" WHERE {guard}"
            " RETURNING runs.id, runs.cancel_wish, runs.cancel_reason, runs.audit_shift"
        )
        self._links = self._sql(writes.upsert_links(dialect))
        self._attempts = self._sql(writes.insert_attempts(dialect))
        self._audit = self._sql(writes.insert_audit(dialect))
        self._escalations = self._sql(writes.insert_escalations(dialect))

    async def record(self, given: Sequence[RunWrite]) -> list[Signals | None]:
        """Apply each write whose (owner, epoch) holds, all in one transaction.

        None stands for a refused (stale) one, of which nothing at all is written. Repeating a
        batch whose commit's answer was lost is harmless.
        """
        return await self._db.write(lambda tx: self._record(tx, given)) if given else []

    async def _record(self, tx: Tx, given: Sequence[RunWrite]) -> list[Signals | None]:
        answers: list[Signals | None] = [None] * len(given)
        for wave in _waves(given):
            accepted = await self._update_runs(tx, [given[place] for place in wave])
            taken = []
            for place in wave:
                row = accepted.get(given[place].run_id)
                if row is not None:
                    answers[place] = _signals(row)
                    taken.append((given[place], row[3]))
            await self.write_details(tx, taken)
        return answers

    async def _update_runs(self, tx: Tx, given: Sequence[RunWrite]) -> dict[str, Any]:
        batch = codec.dump_batch([writes.run_row(write, self._dialect) for write in given])
        return {row[0]: row for row in await tx.rows(self._update, batch=batch)}

    async def write_details(self, tx: Tx, taken: Sequence[tuple[RunWrite, int]]) -> None:
        """Links, attempts, audit and escalations of accepted writes, each with its audit shift."""
        dialect = self._dialect
        given = [write for write, _ in taken]
        await _insert(tx, self._links, (r for w in given for r in writes.link_rows(w, dialect)))
        await _insert(
            tx, self._attempts, (r for w in given for r in writes.attempt_rows(w, dialect))
        )
        await _insert(
            tx, self._audit, (r for w, shift in taken for r in writes.audit_rows(w, dialect, shift))
        )
        await _insert(tx, self._escalations, (r for w in given for r in writes.escalation_rows(w)))


async def _insert(tx: Tx, statement: TextClause, given: Iterable[tuple[Any, ...]]) -> None:
    batch = list(given)
    if batch:
        await tx.change(statement, batch=codec.dump_batch(batch))


def _signals(row: Sequence[Any]) -> Signals:
    wish = row[1]
    return _NOTHING if wish is None else Signals(cancel=CancelMode(wish), cancel_reason=row[2])


def _waves(given: Sequence[RunWrite]) -> Iterable[list[int]]:
    """Places in the batch, split so that no run is in a wave twice: one statement, one change."""
    rest = list(range(len(given)))
    while rest:
        seen: set[str] = set()
        wave: list[int] = []
        later: list[int] = []
        for place in rest:
            run_id = given[place].run_id
            (later if run_id in seen else wave).append(place)
            seen.add(run_id)
        yield wave
        rest = later
