"""The hot path: what many runs have to record, in one transaction (group commit).

Each write is guarded by its owner and epoch. Whoever is refused has written nothing at all: the
guard names the accepted ones, and only their rows follow. On PostgreSQL all of it is one statement,
hence one round trip; on SQLite, whose writer is alone, the guard is read first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import TextClause

from orchestrator.core.events import CancelMode
from orchestrator.ports import RunWrite, Signals
from orchestrator.store import codec, writes
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx
from orchestrator.store.writes import Told

_NOTHING = Signals()
# COALESCE keeps the planner from the index of owners: statistics of a full queue say that hardly
# any run is owned, and it would go through all runs of the owner for each row of the batch.
GUARD = (
    "runs.id = b.run_id AND COALESCE(runs.owner = b.owner, false) AND runs.epoch = b.epoch"
    " AND runs.write_number <= b.write_number"
)
_UPDATE = (
    f"UPDATE runs SET {writes.SET_RUN}, write_number = b.write_number,"
    " settled_at = CASE WHEN b.settled THEN COALESCE(runs.settled_at, {now}) END,"
    " audit_seq = CASE WHEN b.last_seq + runs.audit_shift > runs.audit_seq"
    " THEN b.last_seq + runs.audit_shift ELSE runs.audit_seq END"
    ", audit_head = {head}"
)
_REPEATED = "runs.write_number = b.write_number"
_ANSWER = "runs.id, runs.cancel_wish, runs.cancel_reason, runs.audit_shift"
_FRESH = "{before} < b.write_number AS fresh"
"""False: the same batch again, whose answer was lost. What it adds is there already."""


class Journal(Part):
    """The recording part of ports.RunStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        dialect = self._dialect
        self._links = writes.LINKS.bulk(dialect)
        self._attempts = writes.ATTEMPTS.bulk(dialect)
        self._audit = writes.AUDIT.bulk(dialect)
        self._escalations = writes.ESCALATIONS.bulk(dialect)
        guarded = dialect.batch({name: writes.RUN_COLUMNS[name] for name in writes.GUARD})
        fresh = _FRESH.format(before="runs.write_number")
        self._accepted = self._sql(
            f"SELECT {_ANSWER}, {fresh} FROM {guarded} AS b JOIN runs ON {GUARD}"
        )
        head = writes.next_head(dialect, unless=_REPEATED)
        self._set = _UPDATE.replace("{head}", head)
        self._update = dialect.bulk(writes.RUN_COLUMNS, self._set, where=GUARD)
        self._withdraw = writes.WITHDRAWAL.bulk(dialect)
        self._traces = writes.TRACES.bulk(dialect)
        # Of their own, since a part costs something also when there is nothing in it.
        self._whole = [self._whole_batch({**_DETAILS, **rare}) for rare in _RARE]

    async def record(self, given: Sequence[RunWrite]) -> list[Signals | None]:
        """Apply each write whose (owner, epoch) holds, all in one transaction.

        None stands for a refused (stale) one, of which nothing at all is written. Repeating a
        batch whose commit's answer was lost is harmless.
        """
        if not given:
            return []
        waves = list(_waves(given))
        withdraws = any(write.withdraws for write in given)
        if len(waves) > 1 or withdraws or self._dialect.is_sqlite:
            return await self._db.write(lambda tx: self._record(tx, given, waves))
        rows = await self._db.write_rows(self._statement(given), **self._parameters(given))
        accepted = {row[0]: row for row in rows}
        return [_signals(accepted.get(write.run_id)) for write in given]

    async def record_in(self, tx: Tx, given: Sequence[RunWrite]) -> list[Signals | None]:
        """The same in a transaction of the caller's."""
        return await self._record(tx, given, list(_waves(given)))

    async def write_details(
        self, tx: Tx, taken: Sequence[RunWrite], told: Sequence[Sequence[Any]]
    ) -> None:
        """Links, attempts and escalations of accepted writes, and their audit's rows."""
        dialect = self._dialect
        await tx.apply(self._links, [r for w in taken for r in writes.link_rows(w, dialect)])
        await tx.apply(self._attempts, [r for w in taken for r in writes.attempt_rows(w, dialect)])
        await tx.apply(self._audit, told)
        await tx.apply(self._escalations, [r for w in taken for r in writes.escalation_rows(w)])
        await tx.apply(self._traces, [r for w in taken for r in writes.trace_rows(w)])

    async def _record(
        self, tx: Tx, given: Sequence[RunWrite], waves: Sequence[Sequence[int]]
    ) -> list[Signals | None]:
        answers: list[Signals | None] = [None] * len(given)
        for wave in waves:
            accepted = await self._apply(tx, [given[place] for place in wave])
            over = [(w.run_id,) for w in given if w.withdraws and w.run_id in accepted]
            await tx.apply(self._withdraw, over)
            for place in wave:
                answers[place] = _signals(accepted.get(given[place].run_id))
        return answers

    async def _apply(self, tx: Tx, given: Sequence[RunWrite]) -> dict[str, Sequence[Any]]:
        """The accepted ones' answers by run id."""
        if not self._dialect.is_sqlite:
            answer = await tx.rows(self._statement(given), **self._parameters(given))
            return {row[0]: row for row in answer}
        told = {write.run_id: writes.told(write, self._dialect) for write in given}
        rows = [writes.run_row(w, self._dialect, told[w.run_id].entries) for w in given]
        guards = codec.dump_batch([row[: len(writes.GUARD)] for row in rows])
        accepted = {row[0]: row for row in await tx.rows(self._accepted, batch=guards)}
        await tx.apply(self._update, [row for row in rows if row[0] in accepted])
        taken = [write for write in given if write.run_id in accepted]
        added = [_to_be_added(write, accepted[write.run_id]) for write in taken]
        new = [row for w in taken for row in _numbered(told[w.run_id], accepted[w.run_id])]
        await self.write_details(tx, added, new)
        refusing = {write.run_id for write in taken if write.refuses_cancel}
        return {i: (i, None, "") if i in refusing else row for i, row in accepted.items()}

    def _statement(self, given: Sequence[RunWrite]) -> TextClause:
        return self._whole[_rare_details(given)]

    def _whole_batch(self, details: Mapping[str, writes.Insert]) -> TextClause:
        """Everything as one statement (PostgreSQL): a part sees the others' answers, not rows.

        Locks in order of run ids, so that two batches with common runs cannot block each other.
        """
        batch = self._dialect.batch
        given = f"SELECT * FROM {batch(writes.RUN_COLUMNS, 'runs')} AS b WHERE {{few}}"
        held = (
            "SELECT b.*, runs.write_number AS before FROM runs"
            f" JOIN b ON {GUARD} ORDER BY runs.id {{for_update_of_runs}}"
        )
        update = f"{self._set} FROM held AS b WHERE {GUARD}"
        parts = [f"b AS MATERIALIZED ({given})", f"held AS MATERIALIZED ({held})"]
        fresh = _FRESH.format(before="b.before")
        parts.append(f"accepted AS ({update} RETURNING {_ANSWER}, {fresh}, runs.audit_head)")
        for name, insert in details.items():
            head = re.sub(r"\bb\.seq\b", "b.seq + accepted.audit_shift", insert.head)
            head = head.replace(writes.HEAD, "accepted.audit_head")
            once = "" if insert.tail else "AND accepted.fresh"
            parts.append(
                f"{name} AS ({head} FROM {batch(insert.columns, name)} AS b, accepted"
                f" WHERE accepted.id = b.run_id {once} {insert.tail})"
            )
        told = "id, cancel_wish, cancel_reason, audit_shift, fresh"
        return self._sql(f"WITH {', '.join(parts)} SELECT {told} FROM accepted")

    def _parameters(self, given: Sequence[RunWrite]) -> dict[str, str]:
        dialect, dump = self._dialect, codec.dump_batch
        told = [writes.told(write, dialect) for write in given]
        parameters = {
            "runs": dump([
                writes.run_row(write, dialect, each.entries)
                for write, each in zip(given, told, strict=True)
            ]),
            "new_links": dump([r for w in given for r in writes.link_rows(w, dialect)]),
            "new_attempts": dump([r for w in given for r in writes.attempt_rows(w, dialect)]),
            "new_audit": dump([row for each in told for row in each.rows]),
        }  # fmt: skip
        rare = _RARE[_rare_details(given)]
        if "new_escalations" in rare:
            parameters["new_escalations"] = dump(
                [r for w in given for r in writes.escalation_rows(w)]
            )
        if "new_traces" in rare:
            parameters["new_traces"] = dump([r for w in given for r in writes.trace_rows(w)])
        return parameters


_DETAILS = {
    "new_links": writes.LINKS,
    "new_attempts": writes.ATTEMPTS,
    "new_audit": writes.AUDIT,
}
_ESCALATIONS = {"new_escalations": writes.ESCALATIONS}
_TRACES = {"new_traces": writes.TRACES}
_RARE: Sequence[Mapping[str, writes.Insert]] = ({}, _ESCALATIONS, _TRACES, _ESCALATIONS | _TRACES)
"""What most batches have nothing of."""


def _rare_details(given: Sequence[RunWrite]) -> int:
    """Which of `_RARE` they have."""
    escalated = any(write.escalation is not None for write in given)
    return escalated + 2 * any(write.traced for write in given)


def _to_be_added(write: RunWrite, accepted: Sequence[Any]) -> RunWrite:
    """What is not there yet."""
    *_, fresh = accepted
    return write if fresh else replace(write, attempts=())


def _numbered(told: Told, accepted: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Rows not there yet, numbered on by the records that others wrote since the claim."""
    *_, shift, fresh = accepted
    if not fresh:
        return ()
    return told.rows if not shift else [(r[0], r[1] + shift, *r[2:]) for r in told.rows]


def _signals(row: Sequence[Any] | None) -> Signals | None:
    if row is None:
        return None
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
