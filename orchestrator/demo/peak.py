"""How many of a set of intervals were open at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime


def peak_overlap(intervals: Iterable[tuple[datetime, datetime | None]]) -> int:
    """The largest number of half-open intervals [begin, end) that share a moment.

    An end of None never comes. An interval of no length overlaps nothing.
    """
    edges: list[tuple[datetime, int]] = []
    for begin, end in intervals:
        if begin == end:
            continue
        edges.append((begin, +1))
        if end is not None:
            edges.append((end, -1))
    peak = open_now = 0
    for _, change in sorted(edges):  # at the same moment an end (-1) comes before a begin
        open_now += change
        peak = max(peak, open_now)
    return peak
