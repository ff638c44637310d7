"""Lengths of time as people type them: 90d, 12w, 36h, 30m, 45s."""

from __future__ import annotations

import re
from datetime import timedelta

from orchestrator.errors import InvalidInput, Problem

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNITS = {
    "s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1),
    "d": timedelta(days=1), "w": timedelta(weeks=1),
}  # fmt: skip


def span_of(
    given: str, *, place: str, units: str = "smhdw", such_as: str = "45s, 30m, 36h or 7d"
) -> timedelta:
    """A time in one of these units. Raises InvalidInput."""
    match = _SPAN.fullmatch(given)
    try:
        if match is not None and match[2] in units:
            return float(match[1]) * _UNITS[match[2]]
    except OverflowError:
        pass  # as wrong as what is no time at all
    problem = Problem(place=place, found=repr(given), wanted=f"a time such as {such_as}")
    raise InvalidInput("it is not known how long", problems=[problem])
