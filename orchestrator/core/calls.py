"""Which calls a run has made, read from its audit alone: the records of intents and of outcomes.

An intent (`step.begun`, `undo.begun`) is followed by its withdrawal, by an outcome with what the
call brought, or by neither, when its worker died with the request on its way. What the last kind
has done nobody knows, so its `sent` is None: no request, or one (see `evidence` for the shapes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from orchestrator.core.states import Direction, LinkStatus


class Record(Protocol):
    """One record of the audit."""

    @property
    def seq(self) -> int:
        """Its number, from 1."""

    @property
    def at(self) -> datetime:
        """When (aware)."""

    @property
    def kind(self) -> str:
        """What happened."""

    @property
    def actor(self) -> str:
        """Who did it."""

    @property
    def data(self) -> Mapping[str, Any]:
        """The details."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallMade:
    """One attempt at a step, an undo or a verification. What is not known is None or ''."""

    seq: int  # of the record that tells how it ended; of the intent where none does
    at: datetime  # of that record
    step: str
    direction: Direction
    attempt: int
    verify: bool  # it asks whether an earlier attempt has had its effect
    method: str  # "TASK" for a Python function
    url: str  # where it went, without credentials; for a Python function its name
    key: str  # of idempotency
    sent: int | None  # requests that may have left: several after a 401; None: 0 or 1
    status: int | None = None
    outcome: str = ""  # what became of the link; "" while nobody knows
    reason: str = ""
    in_doubt: bool = False  # what came of it did not tell whether it had its effect
    seconds: float | None = None  # from sending to the end of the answer
    waited: float = 0.0  # seconds before the API's gate
    credential: str = ""
    asked: str = ""  # SHA-256 of the request's body, in hex
    answered: str = ""  # of the answer's

    @property
    def is_outside(self) -> bool:
        """Whether it went over a network."""
        return self.method not in ("TASK", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Intent:
    record: Record
    attempt: int
    request: Mapping[str, Any]


_OUTCOMES = frozenset(LinkStatus)
_At = tuple[str, Direction]


def link_at(record: Record) -> tuple[_At, str] | None:
    """Which link a record is about, and what it says of it; None: about none, or it was erased."""
    if "erased" in record.data:
        return None
    way, _, what = record.kind.partition(".")
    match way:
        case "step":
            return (str(record.data["step"]), Direction.FORWARD), what
        case "undo":
            return (str(record.data["step"]), Direction.BACKWARD), what
        case _:
            return None


def calls_of(records: Iterable[Record]) -> Iterator[CallMade]:
    """All of them, in the order in which they ended; what never did comes where that shows."""
    reader = _Reader()
    for record in records:
        found = link_at(record)
        if found is not None:
            yield from reader.read(record, *found)
    yield from reader.rest()


class _Reader:
    """What has begun, and not ended yet."""

    def __init__(self) -> None:
        self._open: dict[_At, _Intent] = {}
        self._requests: dict[_At, Mapping[str, Any]] = {}  # the latest that was told of

    def read(self, record: Record, at: _At, what: str) -> Iterator[CallMade]:
        if what == "begun":
            yield from self._lose(at)
            data = record.data
            request = self._requests[at] = data.get("request", self._requests.get(at, {}))
            self._open[at] = _Intent(record=record, attempt=data["attempt"], request=request)
        elif what == "withdrawn":
            self._open.pop(at, None)
        elif what in _OUTCOMES:
            yield from self._end(record, at, record.data.get("call"))

    def _end(self, record: Record, at: _At, told: Mapping[str, Any] | None) -> Iterator[CallMade]:
        intent = self._open.get(at)
        if told is None:
            # Decided without a call: nothing to undo, or too late. A release that told of no
            # requests told of no calls either.
            if intent is not None and not intent.request:
                yield replace(_lost(at, self._open.pop(at)), **_ending(record))
        elif told.get("verify"):
            yield from self._lose(at)
            asked = _Intent(record=record, attempt=0, request=told["request"])
            yield _made(at, record, told, asked, verify=True)
        elif intent is not None:
            yield _made(at, record, told, self._open.pop(at))

    def _lose(self, at: _At) -> Iterator[CallMade]:
        if at in self._open:
            yield _lost(at, self._open.pop(at))

    def rest(self) -> Iterator[CallMade]:
        for at in list(self._open):
            yield from self._lose(at)


def _made(
    at: _At, record: Record, told: Mapping[str, Any], intent: _Intent, *, verify: bool = False
) -> CallMade:
    request = intent.request
    return CallMade(
        seq=record.seq, at=record.at, step=at[0], direction=at[1], attempt=intent.attempt,
        verify=verify, method=request.get("method", ""),
        url=told.get("base", "").rstrip("/") + request.get("target", ""),
        key=request.get("key", ""), sent=told.get("sent", 0), status=told.get("status"),
        outcome=_what(record), reason=record.data.get("reason", ""), in_doubt=_doubts(record),
        seconds=told["seconds"],
        waited=told.get("waited", 0.0), credential=told.get("credential", ""),
        asked=request.get("body", ""), answered=told.get("body", ""),
    )  # fmt: skip


def _ending(record: Record) -> dict[str, Any]:
    return {
        "seq": record.seq, "at": record.at, "outcome": _what(record),
        "reason": record.data.get("reason", ""),
    }  # fmt: skip


def _doubts(record: Record) -> bool:
    return any(event["event"] == "InDoubt" for event in record.data.get("events", ()))


def _what(record: Record) -> str:
    return record.kind.partition(".")[2]


def _lost(at: _At, intent: _Intent) -> CallMade:
    record, request = intent.record, intent.request
    return CallMade(
        seq=record.seq, at=record.at, step=at[0], direction=at[1], attempt=intent.attempt,
        verify=False, method=request.get("method", ""), url=request.get("target", ""),
        key=request.get("key", ""), sent=None, asked=request.get("body", ""),
    )  # fmt: skip
