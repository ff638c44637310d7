"""What one RunWrite means as SQL: shared by the journal (guarded by the owner) and by operators.

Everything is built once for each dialect; a batch travels as one JSON parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from msgspec.structs import replace

from orchestrator.core import chain
from orchestrator.core.saga import current
from orchestrator.core.states import ASLEEP, SETTLED, Direction
from orchestrator.ports import AuditRecord, LinkWrite, RunWrite, hop_ids_at
from orchestrator.store import codec, rows
from orchestrator.store.codec import storable
from orchestrator.store.dialect import Bulk, Dialect

RUN_COLUMNS = {
    "run_id": "text",
    "owner": "text",
    "epoch": "int",
    "write_number": "int",
    "status": "text",
    "direction": "text",
    "wake_at": "time",
    "cancel": "text",
    "cause": "text",
    "deadline_at": "time",
    "step": "int",
    "progressed": "bool",
    "releases": "bool",
    "sleeps": "bool",
    "refuses_cancel": "bool",
    "hop_id": "text",
    "parent_hop_id": "text",
    "hinted": "bool",
    "outputs": "text",
    "settled": "bool",
    "last_seq": "int",
    "path": "text",
    "entries": "text",
}
GUARD = ("run_id", "owner", "epoch", "write_number")
"""The first of RUN_COLUMNS: whoever writes must be the owner at this epoch, and not come late."""
LINK_COLUMNS = {
    "run_id": "text",
    "step": "int",
    "direction": "text",
    "status": "text",
    "attempts": "int",
    "doubt": "bool",
    "first_started_at": "time",
    "sequence": "int",
    "request": "text",
    "outputs": "text",
    "error": "text",
    "started_at": "time",
    "finished_at": "time",
}
ATTEMPT_COLUMNS = {
    "run_id": "text",
    "id": "text",
    "step": "int",
    "direction": "text",
    "number": "int",
    "kind": "text",
    "outcome": "text",
    "reason": "text",
    "status_code": "int",
    "started_at": "time",
    "finished_at": "time",
    "worker": "text",
}
_RECORD = {
    "run_id": "text",
    "seq": "int",
    "at": "time",
    "kind": "text",
    "actor": "text",
    "data": "text",
}
AUDIT_COLUMNS = {**_RECORD, "closes": "bool"}
"""`closes`: the last of its write, which keeps the link."""
ESCALATION_COLUMNS = {
    "id": "text",
    "run_id": "text",
    "reason": "text",
    "detail": "text",
    "step": "int",
    "step_id": "text",
    "direction": "text",
    "context": "text",
    "api": "text",
    "severity": "text",
    "due_seconds": "real",
}

_STAYS = "(b.sleeps AND runs.cancel_wish IS NOT NULL AND b.cancel IS NULL AND NOT b.refuses_cancel)"
"""A run that would sleep, while the wish to cancel it is unanswered, stays with its owner."""

SET_RUN = (
    "status = b.status, direction = b.direction, wake_at = b.wake_at, cancel = b.cancel,"
    " cause = b.cause, deadline_at = b.deadline_at,"
    " step = CASE WHEN b.hop_id IS NULL THEN runs.step ELSE b.step END,"
    " claims = CASE WHEN b.progressed THEN 0 ELSE runs.claims END,"
    f" owner = CASE WHEN b.releases AND NOT {_STAYS} THEN NULL ELSE runs.owner END,"
    " hop_id = COALESCE(b.hop_id, runs.hop_id),"
    " parent_hop_id = CASE WHEN b.hop_id IS NULL THEN runs.parent_hop_id ELSE b.parent_hop_id END,"
    " published_at = CASE WHEN b.hinted THEN {now}"
    f" WHEN b.sleeps AND NOT {_STAYS} THEN NULL ELSE runs.published_at END,"
    " cancel_wish = CASE WHEN b.refuses_cancel THEN NULL ELSE runs.cancel_wish END,"
    " outputs = COALESCE(b.outputs, runs.outputs), path = COALESCE(b.path, runs.path)"
)
"""A run's row from its batch row `b`; epoch, settled_at and audit_seq are the caller's."""


def next_head(dialect: Dialect, unless: str = "") -> str:
    """For `SET audit_head`: what it is after batch row `b`; `unless` a condition holds."""
    after = dialect.link_after("runs.audit_head", "runs.id", "b.entries")
    silent = f"b.entries = ''{unless and f' OR {unless}'}"
    return f"CASE WHEN {silent} THEN runs.audit_head ELSE {after} END"


_UPSERT_LINK = ", ".join(
    [f"{n} = excluded.{n}" for n in ("status", "attempts", "doubt", "first_started_at", "sequence")]
    + [
        f"{n} = COALESCE(excluded.{n}, run_steps.{n})"
        for n in ("request", "outputs", "error", "started_at", "finished_at")
    ]
)
_IF_NEW = "ON CONFLICT DO NOTHING"


@dataclass(frozen=True, kw_only=True, slots=True)
class Insert:
    """How rows of one kind go in: `head` is INSERT … SELECT from a batch `b`; `tail` follows."""

    columns: Mapping[str, str]
    head: str
    tail: str = ""  # what to do with rows that are there already; empty: there are none

    def bulk(self, dialect: Dialect) -> Bulk:
        """As a statement for many rows."""
        return dialect.bulk(self.columns, self.head, tail=self.tail)


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """How rows change by a batch `b`."""

    columns: Mapping[str, str]
    head: str
    where: str

    def bulk(self, dialect: Dialect) -> Bulk:
        """As a statement for many rows."""
        return dialect.bulk(self.columns, self.head, where=self.where)


def _into(table: str, columns: Mapping[str, str], **computed: str) -> str:
    names = ", ".join([*columns, *computed])
    values = ", ".join([*(f"b.{name}" for name in columns), *computed.values()])
    return f"INSERT INTO {table} ({names}) SELECT {values}"


LINKS = Insert(
    columns=LINK_COLUMNS,
    head=_into("run_steps", LINK_COLUMNS),
    tail=f"ON CONFLICT (run_id, step, direction) DO UPDATE SET {_UPSERT_LINK}",
)
"""Links as they are now; a payload or time that is NULL stays as it was."""
ATTEMPTS = Insert(columns=ATTEMPT_COLUMNS, head=_into("attempts", ATTEMPT_COLUMNS))
HEAD = "(SELECT runs.audit_head FROM runs WHERE runs.id = b.run_id)"
AUDIT = Insert(
    columns=AUDIT_COLUMNS,
    head=_into("audit", _RECORD, chain=f"CASE WHEN b.closes THEN {HEAD} ELSE {{no_bytes}} END"),
)
"""Records of runs whose heads have been moved on already."""
ESCALATIONS = Insert(
    columns=ESCALATION_COLUMNS,
    head=_into("escalations", ESCALATION_COLUMNS, opened_at="{now}"),
    tail=_IF_NEW,
)
"""A run with an open escalation gets no second one."""
TRACES = Insert(
    columns={"run_id": "text"},
    head=(
        "INSERT INTO traces (run_id, due_at, told, attempts, error)"
        " SELECT b.run_id, {now}, 0, 0, ''"
    ),
    tail="ON CONFLICT (run_id) DO UPDATE SET due_at = excluded.due_at, attempts = 0",
)
"""Of runs that wait, or have settled, with this write."""
WITHDRAWAL = Update(
    columns={"run_id": "text"},
    head="UPDATE waits SET closed_at = {now}, outcome = CASE WHEN asks = 'sleep'"
    " AND expires_at <= {now} THEN 'expired' ELSE 'withdrawn' END",
    where="waits.run_id = b.run_id AND waits.closed_at IS NULL AND waits.asks <> 'undo'",
)
"""What a run waited for, once it turns back or ends; on its way back it waits for undos alone.
A sleep whose time is over has come to its end."""


# --- rows of a batch ------------------------------------------------------------------------------


def run_row(write: RunWrite, dialect: Dialect, entries: str) -> tuple[Any, ...]:
    """In order of RUN_COLUMNS; `entries` are those of its audit, in hex."""
    saga, time = write.saga, dialect.time
    at = current(saga)
    settled = saga.status in SETTLED
    return (
        write.run_id, write.owner, write.epoch, write.number, saga.status, saga.direction,
        time(saga.wake_at), saga.cancel, storable(saga.cause), time(saga.deadline_at),
        None if at is None else saga.path.steps[at[0]] if saga.plan.steps else at[0],
        write.progressed, write.release or settled, write.release and saga.status in ASLEEP,
        write.refuses_cancel, *_hop_ids(write, at), write.hinted,
        codec.dump_payload_optional(write.outputs), settled,
        write.audit[-1].seq if write.audit else None,
        None if saga.path.is_straight else rows.path_text(saga.path), entries,
    )  # fmt: skip


def _hop_ids(write: RunWrite, at: tuple[int, Direction] | None) -> tuple[str | None, str | None]:
    """Nothing for a saga without a plan: whoever could not read it gives the run back as it was."""
    return hop_ids_at(write.run_id, write.saga, at) if write.saga.plan.steps else (None, None)


def link_rows(write: RunWrite, dialect: Dialect) -> Iterator[tuple[Any, ...]]:
    """In order of LINK_COLUMNS."""
    return link_rows_of(write.run_id, write.links, dialect)


def link_rows_of(
    run_id: str, links: Sequence[LinkWrite], dialect: Dialect
) -> Iterator[tuple[Any, ...]]:
    """The same of any links of a run."""
    time = dialect.time
    for change in _distinct(links):
        link, request = change.link, change.request
        yield (
            run_id, change.step, change.direction, link.status, link.attempts, link.doubt,
            time(link.first_started_at), link.sequence,
            None if request is None else codec.dump_payload(request.to_json()),
            codec.dump_payload_optional(change.outputs), change.error and storable(change.error),
            time(change.started_at),
            time(change.finished_at),
        )  # fmt: skip


def attempt_rows(write: RunWrite, dialect: Dialect) -> Iterator[tuple[Any, ...]]:
    """In order of ATTEMPT_COLUMNS."""
    for made in write.attempts:
        yield (
            write.run_id, made.id, made.step, made.direction, made.number, made.kind, made.outcome,
            storable(made.reason), made.status_code, dialect.time(made.started_at),
            dialect.time(made.finished_at), made.worker,
        )  # fmt: skip


class Told(NamedTuple):
    """The audit of one write: rows in order of AUDIT_COLUMNS, and their entries in hex."""

    rows: list[tuple[Any, ...]]
    entries: str


_TELLS_NOTHING = Told([], "")


def told(write: RunWrite, dialect: Dialect) -> Told:
    """Its audit as it is stored, and as it goes into the run's chain."""
    records = write.audit
    if not records:
        return _TELLS_NOTHING
    if len(records) > 1 and _of_one(records):
        row, entry = _together(write.run_id, records, dialect)
        return Told([row], entry.hex())
    found = [
        _alone(write.run_id, record, dialect, closes=record is records[-1]) for record in records
    ]
    return Told([row for row, _ in found], b"".join([entry for _, entry in found]).hex())


def _of_one(records: Sequence[AuditRecord]) -> bool:
    """Whether they have one author."""
    actor = records[0].actor
    for record in records:  # noqa: SIM110 - `all` makes a generator, for each commit of each run
        if record.actor != actor:
            return False
    return True


def _alone(
    run_id: str, record: AuditRecord, dialect: Dialect, *, closes: bool
) -> tuple[tuple[Any, ...], bytes]:
    """A record as a row of its own, and its entry."""
    kind, actor, data = record.kind, storable(record.actor), codec.dump_bytes(record.data)
    row = (run_id, record.seq, dialect.time(record.at), kind, actor, data.decode(), closes)
    return row, chain.entry_of((codec.micros(record.at),), kind, actor, data)


def _together(
    run_id: str, records: Sequence[AuditRecord], dialect: Dialect
) -> tuple[tuple[Any, ...], bytes]:
    """Records of one author as one row, and its entry: see core/chain."""
    last, micros = records[-1], codec.micros
    ats = [micros(record.at) for record in records]
    at, actor = ats[-1], storable(last.actor)
    kind = chain.AND.join([record.kind for record in records])
    before = [at - each for each in ats]
    before.pop()
    data = codec.dump_together([record.data for record in records], before)
    row = (run_id, last.seq, dialect.time(last.at), kind, actor, data.decode(), True)
    return row, chain.entry_of(ats, kind, actor, data)


def escalation_rows(write: RunWrite) -> Iterator[tuple[Any, ...]]:
    """In order of ESCALATION_COLUMNS; one at most."""
    opened = write.escalation
    if opened is not None:
        step_id = None if opened.step is None else write.saga.plan_step(opened.step).id
        yield (
            opened.id, write.run_id, opened.reason, storable(opened.detail), opened.step, step_id,
            opened.direction, codec.dump_payload(opened.context), opened.api,
            opened.severity, opened.due_seconds,
        )  # fmt: skip


def trace_rows(write: RunWrite) -> Iterator[tuple[Any, ...]]:
    """One for a write that is traced."""
    if write.traced:
        yield (write.run_id,)


def _distinct(links: Sequence[LinkWrite]) -> Iterable[LinkWrite]:
    """One write for each link: a statement cannot change a row twice."""
    if len(links) < 2:
        return links
    merged: dict[tuple[int, Direction], LinkWrite] = {}
    for change in links:
        at = (change.step, change.direction)
        merged[at] = change if at not in merged else _merged(merged[at], change)
    return merged.values()


def _merged(before: LinkWrite, after: LinkWrite) -> LinkWrite:
    kept = ("request", "outputs", "error", "started_at", "finished_at")
    missing = [name for name in kept if getattr(after, name) is None]
    return replace(after, **{name: getattr(before, name) for name in missing})
