"""What the journal of a run tells of times: when each link, attempt and wait began and ended.

A run is cut into *segments*: the first from its acceptance on, each further one from what a person
decided about an escalation. A segment ends when the run settles. What is over in one that has not
ended stays as it is: a run comes back to no link that it has left. Nothing here knows of traces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from orchestrator.core import journal
from orchestrator.core.states import SETTLED, Direction, RunStatus
from orchestrator.ports import AuditRecord

At = tuple[int, Direction]
"""A position in the chain, and which of its links."""

SETTLING = {f"run.{status}": status for status in SETTLED}
"""With what a run settles, by the kind of the record that says so."""
OUTCOMES = frozenset({"Landed", "NotLanded", "InDoubt", "NotNeeded"})
GATE, ANSWER, PAUSE, RETRY = "gate", "answer", "pause", "retry"
_WAITS = {"Parked": GATE, "Awaited": ANSWER, "PauseRequested": PAUSE}


class Try(msgspec.Struct, kw_only=True):
    """From an intent to what came of it. Without an outcome the worker was lost meanwhile."""

    number: int
    begun_at: datetime
    worker: str
    ended_at: datetime | None = None
    outcome: str = ""  # name of the event
    reason: str = ""
    withdrawn: bool = False  # its request never left
    waited_seconds: float = 0.0  # before the gate
    base: str = ""  # URL below which the request went
    lost_before: datetime | None = None  # begin of the attempt that was lost before this one


class Visit(msgspec.Struct, kw_only=True):
    """One link in one segment, from its first intent to its last outcome."""

    at: At
    begun_at: datetime
    ended_at: datetime
    outcome: str = ""
    reason: str = ""
    tries: list[Try] = []
    left_seq: int | None = None  # record of the audit with which the run went on; None: not yet


class Pause(msgspec.Struct, kw_only=True):
    """A time in which the run waited."""

    why: str  # GATE, ANSWER, PAUSE or RETRY
    at: At | None
    begun_at: datetime
    ended_at: datetime


class Happening(msgspec.Struct, kw_only=True):
    """A record that is no step's: a takeover, a cancel, an act of a person."""

    at: datetime
    kind: str
    actor: str


class Segment(msgspec.Struct, kw_only=True):
    """From an acceptance or a decision to the next settling."""

    number: int  # from 0
    begun_at: datetime
    ended_at: datetime  # so far
    status: RunStatus  # with which it ended
    last_seq: int | None  # of its audit; None: it has not ended
    first_worker_at: datetime | None = None  # when a worker had the run in hand
    first_worker_seq: int = 0  # of the audit, which says so
    visits: list[Visit] = []
    pauses: list[Pause] = []
    happenings: list[Happening] = []


def segments_of(accepted_at: datetime, audit: Sequence[AuditRecord]) -> list[Segment]:
    """Oldest first; the last may not have ended. `audit` is the whole of it."""
    return list(_Reader(accepted_at).read(audit))


class _Reader:
    def __init__(self, accepted_at: datetime) -> None:
        self._accepted_at = accepted_at
        self._at: At | None = None  # the link that was commanded last
        self._visits: dict[At, Visit] = {}
        self._try: Try | None = None  # under way
        self._pause: Pause | None = None  # under way
        self._lost: dict[At, datetime] = {}
        self._segment: Segment | None = None
        self._number = 0

    def read(self, audit: Sequence[AuditRecord]) -> Iterator[Segment]:
        for record in audit:
            if self._segment is None and (not self._number or record.data.get("events")):
                self._begin(record.at if self._number else self._accepted_at)
            if self._segment is None:
                continue  # a person looks at the escalation, and has not decided yet
            self._take(self._segment, record)
            status = SETTLING.get(record.kind)
            if status is not None:
                yield self._end(self._segment, record, status)
        if self._segment is not None:
            self._segment.visits = list(self._visits.values())
            yield self._segment

    def _begin(self, at: datetime) -> None:
        self._segment = Segment(
            number=self._number, begun_at=at, ended_at=at, status=RunStatus.PENDING, last_seq=None,
            visits=[], pauses=[], happenings=[],
        )  # fmt: skip
        self._number += 1
        self._visits = {}

    def _end(self, segment: Segment, record: AuditRecord, status: RunStatus) -> Segment:
        self._lose_try(record.at)
        self._end_pause(segment, record.at)
        segment.ended_at = max(segment.ended_at, record.at)
        segment.status, segment.last_seq = status, record.seq
        segment.visits = list(self._visits.values())
        for visit in segment.visits:
            visit.left_seq = visit.left_seq or record.seq
        self._segment = None
        return segment

    def _take(self, segment: Segment, record: AuditRecord) -> None:
        for entry in journal.of_record(record.at, record.data):
            at = datetime.fromisoformat(entry["at"])
            self._event(segment, record, entry, at)
            segment.ended_at = max(segment.ended_at, at)
        segment.ended_at = max(segment.ended_at, record.at)
        if not record.kind.startswith(("step.", "undo.")):
            happening = Happening(at=record.at, kind=record.kind, actor=record.actor)
            segment.happenings.append(happening)

    def _event(
        self, segment: Segment, record: AuditRecord, entry: Mapping[str, Any], at: datetime
    ) -> None:
        name = entry["event"]
        self._end_pause(segment, at)
        if name == "Resumed":
            if segment.first_worker_at is None:
                segment.first_worker_at, segment.first_worker_seq = at, record.seq
            self._lose_try(at)
        elif name == "Began":
            self._begin_try(record, at)
        elif name in ("Withdrawn", "Awaited"):  # an answer that is waited for is no attempt
            self._withdraw(at)
        elif name in OUTCOMES:
            self._outcome(record, name, str(entry.get("reason", "")), at)
        then = str(entry.get("then", ""))
        self._follow(then, record.seq)
        if name in _WAITS or then.startswith("wait "):
            why = _WAITS.get(name, RETRY)
            self._pause = Pause(why=why, at=self._at, begun_at=at, ended_at=at)

    def _follow(self, then: str, seq: int) -> None:
        verb, *place = then.split(" ")
        if verb in ("perform", "verify"):
            before, self._at = self._at, (int(place[0]), Direction(place[1]))
            left = None if before in (None, self._at) else self._visits.get(before)
            if left is not None:
                left.left_seq = seq

    def _visit(self, at: datetime) -> Visit | None:
        if self._at is None:
            return None
        return self._visits.setdefault(
            self._at, Visit(at=self._at, begun_at=at, ended_at=at, tries=[])
        )

    def _begin_try(self, record: AuditRecord, at: datetime) -> None:
        visit = self._visit(at)
        if visit is None or self._at is None:
            return
        number = record.data.get("attempt") or len(visit.tries) + 1
        self._try = Try(
            number=number,
            begun_at=at,
            worker=record.actor,
            lost_before=self._lost.pop(self._at, None),
        )
        visit.tries.append(self._try)

    def _withdraw(self, at: datetime) -> None:
        if self._try is not None:
            self._try.withdrawn, self._try.ended_at = True, at
            self._try = None

    def _outcome(self, record: AuditRecord, name: str, reason: str, at: datetime) -> None:
        visit = self._visit(at)
        if visit is None:
            return
        visit.ended_at, visit.outcome, visit.reason = at, name, reason
        if self._try is not None:
            self._try.ended_at, self._try.outcome, self._try.reason = at, name, reason
            call = record.data.get("call") or {}  # none in audits of older releases
            self._try.waited_seconds = float(call.get("waited", 0.0))
            self._try.base = str(call.get("base", ""))
            self._try = None

    def _lose_try(self, at: datetime) -> None:
        """Somebody takes the run up, and nobody has said what became of the attempt."""
        if self._try is None or self._at is None:
            return
        self._try.ended_at = at
        self._lost[self._at] = self._try.begun_at
        visit = self._visits.get(self._at)
        if visit is not None:
            visit.ended_at = max(visit.ended_at, at)
        self._try = None

    def _end_pause(self, segment: Segment, at: datetime) -> None:
        if self._pause is not None:
            self._pause.ended_at = at
            segment.pauses.append(self._pause)
            self._pause = None
