"""What the database says of all runs, as plain values and in the ledger's words.

Steps are named `s1`, `s2` … as the workload names them, links go `do` or `undo` as the API knows
them, times are UNIX seconds. Nothing is filtered: a run that should not be there is seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, create_engine, make_url, text

from orchestrator.ports import (
    AttemptRecord,
    AuditRecord,
    EscalationRecord,
    EscalationStore,
    RunRecord,
    RunStore,
    StepRecord,
)

T = TypeVar("T")

WAYS = {"forward": "do", "backward": "undo"}
"""Directions of the tables in the ledger's words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """A run as its row has it."""

    id: str
    name: str  # its idempotency key, by which the API knows it
    workflow: str
    status: str
    direction: str  # "do" or "undo"
    owner: str | None
    epoch: int
    claims: int
    cause: str
    audit_seq: int
    created_at: float
    settled_at: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkRow:
    """A step's forward action or its undo."""

    step: str
    direction: str  # "do" or "undo"
    status: str
    attempts: int
    doubt: bool
    sequence: int | None
    key: str | None = None  # of the request that was frozen with the intent


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRow:
    """One finished attempt or question."""

    id: str
    step: str
    direction: str  # "do" or "undo"
    number: int
    kind: str  # "call" or "verify"
    outcome: str  # "landed", "not_landed", "unknown"
    status_code: int | None
    started_at: float
    finished_at: float
    worker: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """One thing that happened."""

    seq: int
    at: float
    kind: str
    actor: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class EscalationRow:
    """One dead letter."""

    id: str
    reason: str
    detail: str
    step: str | None
    direction: str  # "do" or "undo"
    context: Mapping[str, Any]
    opened_at: float
    closed_at: float | None
    resolution: str | None


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Everything, by run id. `texts` is all text of all rows, where it was asked for."""

    runs: tuple[RunRow, ...] = ()
    links: Mapping[str, Sequence[LinkRow]] = field(default_factory=dict)
    attempts: Mapping[str, Sequence[AttemptRow]] = field(default_factory=dict)
    audit: Mapping[str, Sequence[AuditRow]] = field(default_factory=dict)  # by seq
    escalations: Mapping[str, Sequence[EscalationRow]] = field(default_factory=dict)
    texts: tuple[str, ...] = field(default=(), repr=False)


# --- by SQL ---------------------------------------------------------------------------------------

_COLUMNS = {
    "runs": "id, idempotency_key, workflow, status, direction, owner, epoch, claims, cause,"
    " audit_seq, created_at, settled_at, inputs, outputs, cancel_reason, actor",
    "run_steps": "run_id, step, direction, status, attempts, doubt, sequence, request, outputs,"
    " error",
    "attempts": "run_id, id, step, direction, number, kind, outcome, status_code, started_at,"
    " finished_at, worker, reason",
    "audit": "run_id, seq, at, kind, actor, data",
    "escalations": "id, run_id, reason, detail, step, direction, context, opened_at, closed_at,"
    " resolution, closed_by, closing_reason",
    "workflows": "name, plan, document",
    "workers": "name, version",
}
_READING = {  # driver, isolation level at which all is read as of one moment
    "postgresql": ("postgresql+psycopg", "REPEATABLE READ"),
    "sqlite": ("sqlite", "SERIALIZABLE"),
}
_ORDER = {"attempts": "run_id, started_at, id", "audit": "run_id, seq", "escalations": "id"}


def read_tables(url: str) -> Tables:
    """All rows of a deployment, as of one moment. `url` is the deployment's own."""
    place = make_url(url.replace("postgres://", "postgresql://", 1))
    driver, level = _READING[place.get_backend_name()]
    engine = create_engine(place.set(drivername=driver), isolation_level=level)
    try:
        with engine.connect() as connection:
            found = {name: _rows(connection, name) for name in _COLUMNS}
    finally:
        engine.dispose()
    return Tables(
        runs=tuple(map(_run, found["runs"])),
        links=_by_run((row[0], _link(row)) for row in found["run_steps"]),
        attempts=_by_run((row[0], _attempt(row)) for row in found["attempts"]),
        audit=_by_run((row[0], told) for row in found["audit"] for told in _audit(row)),
        escalations=_by_run((row[1], _escalation(row)) for row in found["escalations"]),
        texts=tuple(
            value for rows in found.values() for row in rows for value in row
            if isinstance(value, str)
        ),
    )  # fmt: skip


def _rows(connection: Connection, table: str) -> Sequence[Sequence[Any]]:
    order = f" ORDER BY {_ORDER[table]}" if table in _ORDER else ""
    return connection.execute(text(f"SELECT {_COLUMNS[table]} FROM {table}{order}")).fetchall()


def _by_run(found: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    grouped: dict[str, list[T]] = {}
    for run_id, row in found:
        grouped.setdefault(run_id, []).append(row)
    return grouped


def _run(row: Sequence[Any]) -> RunRow:
    return RunRow(
        id=row[0], name=row[1], workflow=row[2], status=row[3], direction=WAYS[row[4]],
        owner=row[5], epoch=row[6], claims=row[7], cause=row[8], audit_seq=row[9],
        created_at=_seconds(row[10]), settled_at=_seconds_or_none(row[11]),
    )  # fmt: skip


def _link(row: Sequence[Any]) -> LinkRow:
    return LinkRow(
        step=_step(row[1]), direction=WAYS[row[2]], status=row[3], attempts=row[4],
        doubt=bool(row[5]), sequence=row[6],
        key=None if row[7] is None else _payload(row[7]).get("key"),
    )  # fmt: skip


def _attempt(row: Sequence[Any]) -> AttemptRow:
    return AttemptRow(
        id=row[1], step=_step(row[2]), direction=WAYS[row[3]], number=row[4], kind=row[5],
        outcome=row[6], status_code=row[7], started_at=_seconds(row[8]),
        finished_at=_seconds(row[9]), worker=row[10], reason=row[11],
    )  # fmt: skip


def _audit(row: Sequence[Any]) -> list[AuditRow]:
    """One row holds all that one author told with one write, the last at the row's own time."""
    _, seq, at, kind, actor, data = row
    envelope, kinds = _envelope(data), kind.split(" ")
    if len(kinds) == 1:
        return [AuditRow(seq=seq, at=_seconds(at), kind=kind, actor=actor, data=envelope["data"])]
    moments = [*(_earlier(at, by) for by in envelope["before"]), at]
    return [
        AuditRow(seq=number, at=_seconds(moment), kind=kind, actor=actor, data=said)
        for number, moment, kind, said in zip(
            range(seq - len(kinds) + 1, seq + 1), moments, kinds, envelope["data"], strict=True
        )
    ]


def _escalation(row: Sequence[Any]) -> EscalationRow:
    return EscalationRow(
        id=row[0], reason=row[2], detail=row[3], step=None if row[4] is None else _step(row[4]),
        direction=WAYS[row[5]], context=_payload(row[6]), opened_at=_seconds(row[7]),
        closed_at=_seconds_or_none(row[8]), resolution=row[9],
    )  # fmt: skip


def _step(index: int) -> str:
    return f"s{index + 1}"


def _seconds(stored: datetime | int) -> float:
    return stored / 1e6 if isinstance(stored, int) else stored.timestamp()


def _earlier(stored: datetime | int, micros: int) -> datetime | int:
    return stored - micros if isinstance(stored, int) else stored - timedelta(microseconds=micros)


def _seconds_or_none(stored: datetime | int | None) -> float | None:
    return None if stored is None else _seconds(stored)


def _payload(stored: str) -> Any:
    """What is in the envelope `{"v": …, "data": …}`."""
    return _envelope(stored)["data"]


def _envelope(stored: str) -> Any:
    try:
        return msgspec.json.decode(stored)
    except msgspec.DecodeError:  # a lone surrogate
        return json.loads(stored)


# --- through the ports ----------------------------------------------------------------------------


async def tables_of(store: Any, run_ids: Iterable[str], *, with_texts: bool = False) -> Tables:
    """The same of these runs from any store behind the ports (RunStore and EscalationStore)."""
    runs: RunStore = store
    letters: EscalationStore = store
    made: list[RunRow] = []
    links: dict[str, list[LinkRow]] = {}
    attempts: dict[str, list[AttemptRow]] = {}
    audit: dict[str, list[AuditRow]] = {}
    escalations: dict[str, list[EscalationRow]] = {}
    texts: list[str] = []
    for run_id in run_ids:
        run, steps = await runs.run(run_id), await runs.steps(run_id)
        tried, told = await runs.attempts(run_id), await runs.audit(run_id)
        opened = await letters.escalations_of(run_id)
        made.append(_run_of(run))
        links[run.id] = _links_of(steps)
        attempts[run.id] = sorted(map(_attempt_of, tried), key=lambda a: (a.started_at, a.id))
        audit[run.id] = [_audit_of(record) for record in told]
        escalations[run.id] = [_escalation_of(record) for record in opened]
        if with_texts:
            texts += [repr(part) for part in (run, *steps, *tried, *told, *opened)]
    return Tables(
        runs=tuple(made), links=links, attempts=attempts, audit=audit, escalations=escalations,
        texts=tuple(texts),
    )  # fmt: skip


def _run_of(run: RunRecord) -> RunRow:
    return RunRow(
        id=run.id, name=run.idempotency_key, workflow=run.workflow, status=run.status.value,
        direction=WAYS[run.direction], owner=run.owner, epoch=run.epoch, claims=run.claims,
        cause=run.cause, audit_seq=run.audit_seq, created_at=run.created_at.timestamp(),
        settled_at=None if run.settled_at is None else run.settled_at.timestamp(),
    )  # fmt: skip


def _links_of(steps: Sequence[StepRecord]) -> list[LinkRow]:
    return [
        LinkRow(
            step=step.step_id, direction=way, status=record.link.status.value,
            attempts=record.link.attempts, doubt=record.link.doubt, sequence=record.link.sequence,
            key=None if record.request is None else record.request.key,
        )
        for step in steps
        for way, record in (("do", step.forward), ("undo", step.undo))
    ]  # fmt: skip


def _attempt_of(record: AttemptRecord) -> AttemptRow:
    return AttemptRow(
        id=record.id, step=_step(record.step), direction=WAYS[record.direction],
        number=record.number, kind=record.kind, outcome=record.outcome.value,
        status_code=record.status_code, started_at=record.started_at.timestamp(),
        finished_at=record.finished_at.timestamp(), worker=record.worker, reason=record.reason,
    )  # fmt: skip


def _audit_of(record: AuditRecord) -> AuditRow:
    return AuditRow(
        seq=record.seq, at=record.at.timestamp(), kind=record.kind, actor=record.actor,
        data=record.data,
    )  # fmt: skip


def _escalation_of(record: EscalationRecord) -> EscalationRow:
    return EscalationRow(
        id=record.id, reason=record.reason.value, detail=record.detail,
        step=None if record.step is None else _step(record.step),
        direction=WAYS[record.direction], context=record.context,
        opened_at=record.opened_at.timestamp(),
        closed_at=None if record.closed_at is None else record.closed_at.timestamp(),
        resolution=record.resolution,
    )  # fmt: skip
