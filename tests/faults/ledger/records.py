"""What the ledger writes down: each request, each effect, each answer, each limit exceeded.

The ledger is the judge's witness. Its file has one JSON object per line, in the order in which
things happened; each line is in the file before the answer that it is about leaves. Times are UNIX
seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request and all that became of it."""

    number: int  # order of arrival, 1-based
    at: float
    route: str  # "keyed", "plain", "read"
    run: str  # the run's name (workload.RunSeed.name)
    step: str  # "s1"
    direction: str  # "do" or "undo"
    question: bool  # asks whether it is done, changes nothing
    key: str | None  # idempotency key as sent
    digest: str  # SHA-256 of method, target and body, hex
    fault: str  # what the ledger did to it, see `faults.Fault`; "none"
    replayed: bool  # the first answer of its key again, and no effect
    applied: bool  # this very request had an effect
    status: int | None  # of the answer; None when there was none
    answered: bool  # the whole answer was handed to the connection
    answered_at: float | None
    secret: bool  # it carried the credential of the API (and no other)
    verdict: int | None = None  # the status that was due, whatever left; None: not worked on (yet)


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """One change of state. `number` counts effects, in the order in which they happened."""

    number: int
    at: float
    request: int  # Request.number
    run: str
    step: str
    direction: str  # "do" or "undo"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exceeded:
    """A limit that a request broke."""

    at: float
    request: int
    limit: str  # "100/1s" or "20 at once"
    found: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """Everything, each in its own order."""

    requests: tuple[Request, ...] = field(default=())
    effects: tuple[Effect, ...] = field(default=())
    exceeded: tuple[Exceeded, ...] = field(default=())
