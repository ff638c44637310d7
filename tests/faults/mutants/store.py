"""Faults of the SQL store: guards, epochs, and rows that go missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import text

from orchestrator.core import events as e
from orchestrator.core import states
from orchestrator.core.states import RunStatus
from orchestrator.ports import Accepted, NewRun, Signals
from orchestrator.store import codec, journal, writes
from orchestrator.store.accepting import Accepting
from orchestrator.store.journal import Journal
from orchestrator.store.recovering import RECOVERED
from orchestrator.store.tables import ANNOUNCED, DUE, TIMED
from orchestrator.store.transactions import FileTx
from orchestrator.store.workers import Workers
from tests.faults.mutants.patching import replaced, sql, strike
from tests.faults.mutants.planting import World, planted

SQL = World.SQL_STORM
_GUARD = "runs.id = b.run_id AND COALESCE(runs.owner = b.owner, false) AND runs.epoch = b.epoch"

# --- fences ---------------------------------------------------------------------------------------


@planted("P4", world=SQL)
def fence_dropped() -> Iterator[None]:
    """A write is accepted whoever makes it."""
    with sql(_GUARD, "runs.id = b.run_id"):
        yield


@planted("P4", world=SQL)
def epoch_kept_at_recovery() -> Iterator[None]:
    """A run that is taken from a dead worker keeps its epoch, by which alone writes are guarded."""
    with (
        sql(_GUARD, "runs.id = b.run_id AND runs.epoch = b.epoch"),
        sql("owner = NULL, epoch = epoch + 1", "owner = NULL, epoch = epoch"),
    ):
        yield


@planted("P4", world=World.SQL_ICE)
def refused_rows_not_noticed() -> Iterator[None]:
    """Who is refused by the guard is told that all was written."""

    def signals(row: Sequence[Any] | None) -> Signals | None:
        if row is None:
            strike()
            return Signals()
        return original(row)

    original = journal._signals
    with replaced(journal, "_signals", signals):
        yield


@planted("P4", world=SQL)
def claimed_from_a_living_owner() -> Iterator[None]:
    """A second copy of a hint takes the run from whoever has it."""
    with sql("runs.epoch = b.epoch AND runs.owner IS NULL AND", "true AND"):
        yield


@planted("P4", world=SQL)
def sweep_takes_owned_runs() -> Iterator[None]:
    """The sweep for lost hints takes runs also from those who have them in hand."""
    mark, found = "UPDATE runs SET published_at = {now}", "WHERE id IN (SELECT id FROM runs WHERE"
    with sql(
        f"{mark} {found} {ANNOUNCED}",
        f"{mark}, owner = NULL, epoch = epoch + 1 {found} published_at IS NOT NULL AND ({DUE})",
    ):
        yield


@planted("P1", world=World.DEAF)
def heartbeat_for_the_dead() -> Iterator[None]:
    """A living worker's heartbeat renews the rows of dead ones too."""

    async def heartbeat(self: Workers, worker_id: str, **more: Any) -> bool:
        for worker in await self.workers():
            if worker.id != worker_id:
                strike()
                await original(self, worker.id, **more)
        return await original(self, worker_id, **more)

    original = Workers.heartbeat
    with replaced(Workers, "heartbeat", heartbeat):
        yield


@planted("P3", world=SQL)
def settled_run_claimed_again() -> Iterator[None]:
    """A stale hint takes up a run that has ended, and the core has no objection."""
    ended = states.RUN_TRANSITIONS[RunStatus.SUCCEEDED]
    allowed = {
        **states.RUN_TRANSITIONS,
        RunStatus.SUCCEEDED: {**ended, e.Resumed: frozenset(RunStatus)},
    }
    with (
        sql("runs.epoch = b.epoch AND runs.owner IS NULL", "runs.owner IS NULL"),
        sql(f"AND ({DUE} OR ({TIMED} AND wake_at <= {{now}}))", ""),
        replaced(states, "RUN_TRANSITIONS", allowed),
    ):
        yield


@planted("P1", world=SQL)
def sweep_that_does_not_mark() -> Iterator[None]:
    """The sweep gives the same hints again and again, and never comes to the others."""
    where = "WHERE id IN (SELECT id FROM runs"
    with sql(f"SET published_at = {{now}} {where}", f"SET lane = lane {where}"):
        yield


@planted("P1", world=World.LOSSY)
def unanswered_claim_forgotten() -> Iterator[None]:
    """A run whose claim was committed and not answered stays with an owner who knows nothing."""
    with sql("runs.epoch <= b.epoch + b.unheard", "false"):
        yield


@planted("P1", world=World.LOSSY)
def claim_without_a_new_epoch() -> Iterator[None]:
    """A claim leaves the epoch as it is, so nobody can tell whether an unanswered one was done."""
    with sql("epoch = epoch + 1, claims = claims + 1", "epoch = epoch, claims = claims + 1"):
        yield


@planted("P2", world=SQL)
def second_run_for_a_key() -> Iterator[None]:
    """A submit that is repeated with the same key makes a second run."""

    async def accept(self: Accepting, tx: Any, runs: Sequence[NewRun]) -> list[Accepted]:
        keys = codec.dump_batch([(run.tenant, run.idempotency_key) for run in runs])
        held = {row[1] for row in await tx.rows(self._holders, batch=keys)}
        if held:
            strike()
        return await original(self, tx, [
            msgspec.structs.replace(run, idempotency_key=f"{run.idempotency_key} again")
            if run.idempotency_key in held else run
            for run in runs
        ])  # fmt: skip

    original = Accepting.accept_in
    with replaced(Accepting, "accept_in", accept):
        yield


# --- what is kept ---------------------------------------------------------------------------------


@planted("P6", world=SQL)
def way_back_forgotten() -> Iterator[None]:
    """Whoever takes over a run that is on its way back drives it forward again."""
    with sql("direction = b.direction", "direction = runs.direction"):
        yield


@planted("P6", world=SQL)
def place_in_the_order_not_stored() -> Iterator[None]:
    """Whoever takes a run over does not know in which order its steps were done."""
    with sql("sequence = excluded.sequence", "sequence = run_steps.sequence"):
        yield


@planted("P7", world=SQL)
def doubt_not_stored() -> Iterator[None]:
    """Whoever takes a run over does not know that its last attempt is in doubt."""
    with sql("doubt = excluded.doubt", "doubt = run_steps.doubt"):
        yield


@planted("P3", world=SQL)
def outputs_not_stored() -> Iterator[None]:
    """Whoever takes a run over does not know what its steps have answered."""
    with sql("outputs = COALESCE(excluded.outputs, run_steps.outputs)", "outputs = NULL"):
        yield


@planted("P1", world=SQL)
def publication_not_marked() -> Iterator[None]:
    """A run that is handed on is not marked as published, so no sweep looks for its hint."""
    with sql(
        "published_at = CASE WHEN b.hinted THEN {now}",
        "published_at = CASE WHEN b.hinted THEN NULL",
    ):
        yield


@planted("P3", world=SQL)
def link_row_dropped_in_a_batch() -> Iterator[None]:
    """Of the links that a batch of several runs has to record the last one is left out."""
    with _without_last(writes.LINKS):
        yield


@planted("P12", world=SQL)
def audit_row_dropped_in_a_batch() -> Iterator[None]:
    """Of the audit records of a batch of several runs the last one is left out."""
    with _without_last(writes.AUDIT):
        yield


@planted("P12", world=SQL)
def attempt_row_dropped_in_a_batch() -> Iterator[None]:
    """Of the attempts of a batch of several runs the last one is left out."""
    with _without_last(writes.ATTEMPTS):
        yield


@contextmanager
def _without_last(kind: writes.Insert) -> Iterator[None]:
    statements: list[Any] = []

    def made(self: writes.Insert, dialect: Any) -> Any:
        statement = bulk(self, dialect)
        if self is kind:
            statements.append(statement)
        return statement

    async def apply(self: FileTx, statement: Any, rows: Sequence[Any]) -> int:
        if len(rows) > 1 and any(statement is known for known in statements):
            strike()
            return await insert(self, statement, rows[:-1])
        return await insert(self, statement, rows)

    bulk, insert = writes.Insert.bulk, FileTx.apply
    with replaced(writes.Insert, "bulk", made), replaced(FileTx, "apply", apply):
        yield


@planted("P12", world=SQL)
def time_of_settling_not_stored() -> Iterator[None]:
    """Nobody can tell since when a run is settled."""
    with sql("THEN COALESCE(runs.settled_at, {now}) END", "THEN NULL END"):
        yield


@planted("P12", world=SQL)
def takeover_not_audited() -> Iterator[None]:
    """A run is taken from a dead worker, and its audit does not say so."""

    async def apply(self: FileTx, statement: Any, rows: Sequence[Any]) -> int:
        if RECOVERED not in statement.statement.text:
            return await insert(self, statement, rows)
        strike()
        return 0

    insert = FileTx.apply
    with (
        sql("epoch = epoch + 1, audit_seq = audit_seq + 1", "epoch = epoch + 1"),
        replaced(FileTx, "apply", apply),
    ):
        yield


@planted("P12", world=World.SQL_PEOPLE)
def notes_of_others_not_counted() -> Iterator[None]:
    """An owner numbers its audit records over those that others have written meanwhile."""
    with sql(
        "audit_shift = audit_shift + CASE WHEN owner IS NULL THEN 0 ELSE 1 END",
        "audit_shift = audit_shift",
    ):
        yield


@planted("P8", world=SQL)
def escalation_written_twice() -> Iterator[None]:
    """A run that stops opens two escalations."""

    async def details(self: Journal, tx: Any, taken: Sequence[Any], told: Sequence[Any]) -> None:
        await tx.change(text("DROP INDEX IF EXISTS escalations_one_open"))
        await original(self, tx, taken, told)

    def twice(write: Any) -> Iterator[Any]:
        for row in rows(write):
            strike()
            yield row
            yield (f"{row[0]}-2", *row[1:])

    original, rows = Journal.write_details, writes.escalation_rows
    with replaced(Journal, "write_details", details), replaced(writes, "escalation_rows", twice):
        yield
