"""How many requests an API was let have, written down before they leave.

A counter for each API, and for each part of it with rates of its own, goes up by one with every
start time. An *advance* says how far it may go; it is durable before the counter passes the one
before it. So whoever has lost all count finds an upper bound here: what lies between two advances
was let out before the later of them, and behind the last there is no more than it allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Advance(NamedTuple):
    """One API's, or one part's."""

    part: str  # "": of all the API's calls
    total: int  # where the counter stood
    upto: int  # how far it may go on


class WrittenAdvance(NamedTuple):
    """One as it was found."""

    age_seconds: float  # since it was written, by the database's clock
    total: int
    upto: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """What was let out before, as far as it may matter."""

    total: int = 0  # what the counter goes on from
    moments: tuple[tuple[float, int], ...] = ()
    """So many seconds ago at the latest, so many; the oldest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What a process knows of one counter's advances."""

    upto: int = 0  # of the latest that it wrote
    ago_seconds: float = 0.0  # since it began to write it
    past: Past | None = None  # if it was asked for


class Counted(NamedTuple):
    """Where a counter stands."""

    total: int | None  # None: nobody knows, the past is needed
    upto: int  # how far it may go now
    upto_wanted: int  # how far the next advance is to let it go; 0: none is needed yet


class AdvanceStore(Protocol):
    """The part of the database that keeps advances."""

    async def write_advances(
        self, api: str, advances: Sequence[Advance], *, keep_seconds: float
    ) -> None:
        """Durable when it returns. Those that were written longer ago may be forgotten, but for
        the newest of them. The same total again: the higher `upto` counts, from now on.
        """

    async def advances(
        self, api: str, parts: Sequence[str], *, seconds: float
    ) -> dict[str, list[WrittenAdvance]]:
        """Of each part those of the latest `seconds` and the one before, by total."""


def past_of(rows: Sequence[WrittenAdvance], window_seconds: float) -> Past:
    """What rows say of the last `window_seconds`: all of it as late as it can have been let out.

    No start time is taken from an advance that is older than `window_seconds`; so of the last one,
    what may have been let out after it was so within that time.
    """
    moments: list[tuple[float, int]] = []
    before = 0
    for number, row in enumerate(rows):
        # What came before the oldest one is too old to matter, unless it is the first of all.
        count = row.total - before if number or row.age_seconds <= 2 * window_seconds else 0
        moments.append((row.age_seconds, max(count, 0)))
        before = max(row.total, before)
    if not rows:
        return Past()
    upto = max(row.upto for row in rows)
    youngest = max(min(row.age_seconds for row in rows) - window_seconds, 0.0)
    moments.append((youngest, upto - before))
    return Past(total=upto, moments=tuple(moments))
