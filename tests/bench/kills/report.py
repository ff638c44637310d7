"""What was found, as a table: one column for each engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

_Found = Mapping[str, Any]


def table(found: Sequence[_Found]) -> Table:
    """For people."""
    made = Table("", *(str(one["system"]) for one in found))
    for name, told in _ROWS:
        made.add_row(name, *(told(one) if "endings" in one else "–" for one in found))
    why = [str(one.get("missing") or one.get("error") or "") for one in found]
    if any(why):
        made.add_row("not measured", *why)
    return made


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counted.items())) or "0"


def _recovery(one: _Found, part: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = one["recovery_seconds"][part]
    return found


def _in_flight(one: _Found, part: str) -> str:
    found = _recovery(one, part)
    return f"{found['in_flight']} in {found['kills']} kills"


def _seconds(one: _Found, part: str) -> str:
    found = _recovery(one, part)
    return "–" if found["p50"] is None else f"{found['p50']} · {found['max']}"


def _quiet(one: _Found) -> str:
    parts = [_recovery(one, part) for part in ("worker", "server")]
    return " · ".join(str(sum(part[name] for part in parts)) for name in ("never", "to_person"))


_ROWS: tuple[tuple[str, Callable[[_Found], str]], ...] = (
    ("runs", lambda one: str(one["runs"])),
    ("they ended", lambda one: _counts(one["endings"])),
    ("worker killed: in flight", lambda one: _in_flight(one, "worker")),
    ("… until their next request, p50 · max s", lambda one: _seconds(one, "worker")),
    ("server killed: in flight", lambda one: _in_flight(one, "server")),
    ("… until their next request, p50 · max s", lambda one: _seconds(one, "server")),
    ("never went on · left to a person", _quiet),
    ("asked for again", lambda one: _counts(one["sent_again"])),
    ("effects doubled", lambda one: _counts(one["doubled"])),
    ("effects left, nobody told", lambda one: str(one["left"])),
    ("effects left, a person told", lambda one: str(one["left_to_person"])),
    ("effects missing from successes", lambda one: str(one["missing"])),
    ("ended otherwise than it must", lambda one: str(len(one["wrong"]))),
    ("until all had ended, s", lambda one: str(one["drain_seconds"])),
)
