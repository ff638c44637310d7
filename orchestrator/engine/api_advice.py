"""What an API's answer says about how it wants to be called, read from its headers.

Read are, in this order of trust:

* `Retry-After` of a 429 or 503: seconds, or an HTTP date (RFC 9110, 10.2.3);
* `RateLimit` in the IETF's structured form (`"default";r=0;t=30`; draft-ietf-httpapi-ratelimit-
  headers-08 and later; where `t` is missing, the window `w` of `RateLimit-Policy`), and in its
  older one (`limit=10, remaining=0, reset=30`);
* `RateLimit-Remaining` and `-Reset`, `X-RateLimit-…`, `X-Rate-Limit-…`, also with a suffix for
  each kind of limit (`x-ratelimit-remaining-requests`). A reset is seconds, an epoch in seconds or
  milliseconds, a date, or a duration such as `1m30s`.

What cannot be read is as if it were not there: other people's headers are no error of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import http_sf

from orchestrator.core.exchange import Response

TOO_MANY, UNAVAILABLE = 429, 503
_EPOCH = 1_000_000_000  # a larger reset is a moment, not a number of seconds
_EPOCH_MS = 1_000_000_000_000
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_KINDS = ("", "-requests", "-tokens")
_PAIRS = tuple(
    (f"{prefix}-remaining{kind}", f"{prefix}-reset{kind}")
    for prefix in ("ratelimit", "x-ratelimit", "x-rate-limit")
    for kind in _KINDS
)


_READ = frozenset({"ratelimit", *(remaining for remaining, _ in _PAIRS)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What follows from one answer."""

    pause_seconds: float = 0.0  # nobody should call for so long
    throttled: bool = False  # it was one call too many


NO_ADVICE = Advice()


def advice_of(response: Response, *, now: float) -> Advice:
    """Read an answer's headers. `now` is UNIX time, for answers that do not carry a date."""
    headers, status = response.headers, response.status
    if status < 400 and _READ.isdisjoint(headers):
        return NO_ADVICE  # by far the most
    pause = 0.0
    if status in (TOO_MANY, UNAVAILABLE) and "retry-after" in headers:
        pause = _seconds(headers["retry-after"], _sent_at(headers, now)) or 0.0
    if not pause:
        pause = max(_exhausted(headers, now), default=0.0)
    return Advice(pause_seconds=pause, throttled=status == TOO_MANY)


def _exhausted(headers: Mapping[str, str], now: float) -> Iterator[float]:
    """For each limit of which nothing is left: seconds until it is filled again."""
    if "ratelimit" in headers:
        yield from _structured(headers["ratelimit"], headers.get("ratelimit-policy", ""))
    for remaining, reset in _PAIRS:
        if remaining in headers and _number(headers[remaining]) == 0:
            seconds = _seconds(headers.get(reset, ""), _sent_at(headers, now))
            if seconds is not None:
                yield seconds


# --- the IETF's field -----------------------------------------------------------------------------


def _structured(field: str, policies: str) -> Iterator[float]:
    windows = {name: params.get("w") for name, params in _items(policies)}
    for name, params in _items(field):
        if params.get("r") == 0:
            seconds = params.get("t", windows.get(name))
            if isinstance(seconds, int):
                yield float(seconds)
    older = _dictionary(field)
    if older.get("remaining") == 0 and isinstance(older.get("reset"), int):
        yield float(older["reset"])


def _items(field: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The named items of a list with their parameters."""
    try:
        found: Any = http_sf.parse(field.encode("ascii"), tltype="list")
    except (ValueError, UnicodeEncodeError):
        return []
    return [(str(value), params) for value, params in found if not isinstance(value, list)]


def _dictionary(field: str) -> dict[str, Any]:
    try:
        found: Any = http_sf.parse(field.encode("ascii"), tltype="dictionary")
    except (ValueError, UnicodeEncodeError):
        return {}
    return {name: item[0] for name, item in found.items()}


# --- numbers and times ----------------------------------------------------------------------------


def _seconds(text: str, sent_at: float) -> float | None:
    """How long until then; None when it cannot be read."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        if number >= _EPOCH_MS:
            return max(number / 1000.0 - sent_at, 0.0)
        return max(number - sent_at, 0.0) if number >= _EPOCH else number
    if _DURATION.fullmatch(text):
        return sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))
    moment = _moment(text)
    return None if moment is None else max(moment - sent_at, 0.0)


def _number(text: str) -> float | None:
    text = text.strip()
    if not text.isascii() or not text.replace(".", "", 1).isdigit():
        return None
    return min(float(text), 1e15)


def _sent_at(headers: Mapping[str, str], now: float) -> float:
    """By the API's own clock, which its dates go by; ours if it does not say."""
    moment = _moment(headers.get("date", ""))
    return now if moment is None else moment


def _moment(text: str) -> float | None:
    """UNIX time of an HTTP date, or of an ISO 8601 one as some APIs have it."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            parsed = read(text)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
        aware = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
        return aware.timestamp()
    return None
