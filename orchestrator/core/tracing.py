"""Ids of traces and spans, worked out from what is known of a run: nothing has to be kept of them.

Whoever makes a span of the same thing gives it the same id, in whatever process and however often,
so that a run which crosses the death of a worker is one trace, and what is sent twice is one span.

A run that somebody submitted within a trace of his own belongs to that one (W3C Trace Context). The
trace of all others has the run's id, which is 128 bits as well, so that it is found by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from orchestrator.core.states import Direction, RunStatus

# A newer version may say more at the end, after another dash.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_MOST_MEMBERS = 32
_LONGEST_STATE, _LONG_MEMBER = 512, 128  # characters: so much is passed on, and what goes first
_MEMBER = re.compile(
    r"(?P<key>[a-z0-9][a-z0-9_\-*/]{0,240}(@[a-z][a-z0-9_\-*/]{0,13})?"
    r"|[a-z][a-z0-9_\-*/]{0,255})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_UUID = re.compile(r"[0-9a-f]{32}")
_SAMPLED = 1
_RATIO_BYTES = 7
_ALL = 1 << 8 * _RATIO_BYTES


TraceHeaders = tuple[tuple[str, str], ...]
"""Names and values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceContext:
    """Which trace a run belongs to."""

    trace_id: str  # 32 hex digits
    parent_id: str | None = None  # the submitter's span, 16 hex digits
    sampled: bool | None = None  # whether the submitter keeps this trace; None: nobody has said
    state: str = ""  # what tracing systems have added (tracestate); passed on as it is

    def keeps(self, ratio: float) -> bool:
        """Whether it is kept whatever comes of the run: as the submitter has it, or by chance.

        The chance is taken from the trace's id, so that everybody comes to the same answer.
        """
        if self.sampled is not None:
            return self.sampled
        drawn = int.from_bytes(sha256(self.trace_id.encode()).digest()[:_RATIO_BYTES], "big")
        return drawn < int(ratio * _ALL)

    def traceparent(self, span_id: str, *, ratio: float) -> str:
        """The header `traceparent` of what this span calls."""
        return f"00-{self.trace_id}-{span_id}-{int(self.keeps(ratio)):02x}"

    def headers(self, span_id: str, *, ratio: float) -> TraceHeaders:
        """All headers of what this span calls."""
        parent = ("traceparent", self.traceparent(span_id, ratio=ratio))
        return (parent, ("tracestate", self.state)) if self.state else (parent,)


def known_traceparent(text: str | None) -> str | None:
    """The text if it is one that can be read (version 00, or a newer one that begins alike).

    Whatever else somebody sends in its place is no trace, as W3C Trace Context has it; it is no
    reason to refuse what he wants.
    """
    return None if text is None or _read(text) is None else text.strip()


def known_tracestate(text: str | None) -> str | None:
    """The members of a list that can be read, as one header; None: it is none, or empty.

    As W3C Trace Context (3.3) has it: one member that is none, a name twice or more than 32 make
    all of it worthless. Of a long one the longest members go first, then the oldest.
    """
    members = [part.strip(" \t") for part in (text or "").split(",")]
    members = [member for member in members if member]
    read = [_MEMBER.fullmatch(member) for member in members]
    names = {found["key"] for found in read if found is not None}
    if not members or len(names) < len(members) or len(members) > _MOST_MEMBERS:
        return None
    if len(",".join(members)) > _LONGEST_STATE:
        members = [member for member in members if len(member) <= _LONG_MEMBER]
    while len(",".join(members)) > _LONGEST_STATE:
        members.pop()  # whoever changed the state last stands first
    return ",".join(members) or None


def context_of(run_id: str, traceparent: str | None, tracestate: str | None = None) -> TraceContext:
    """The trace of a run; these are what it was submitted with."""
    found = None if traceparent is None else _read(traceparent)
    if found is None:
        return TraceContext(trace_id=_trace_id(run_id))
    sampled = bool(int(found["flags"], 16) & _SAMPLED)
    return TraceContext(
        trace_id=found["trace"], parent_id=found["span"], sampled=sampled, state=tracestate or ""
    )


def span_id(run_id: str, *what: object) -> str:
    """The id of a span of this run, 16 hex digits."""
    text = "\0".join([run_id, *(str(each) for each in what)])
    return sha256(text.encode()).hexdigest()[:16]


def attempt_span_id(run_id: str, step: int, direction: Direction, begun_at: datetime) -> str:
    """Of an attempt by the time of its intent, which the journal knows and the sender too."""
    return span_id(run_id, "attempt", step, direction, begun_at.isoformat())


def is_failure(status: RunStatus) -> bool:
    """Whether a settled run did not come to what was wanted of it; its trace is always kept."""
    return status is not RunStatus.SUCCEEDED


def _read(text: str) -> re.Match[str] | None:
    found = _TRACEPARENT.fullmatch(text.strip())
    return None if found is None or (found["version"] == "00" and found["more"]) else found


def _trace_id(run_id: str) -> str:
    plain = run_id.replace("-", "").lower()
    return plain if _UUID.fullmatch(plain) else sha256(run_id.encode()).hexdigest()[:32]
