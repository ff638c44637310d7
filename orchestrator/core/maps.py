"""Maps over data: how many items may begin, and how a map ends.

A map begins one run for each of many items, at most so many at a time. Which have begun, go on and
have ended stands in one row (`Counts`); the rows of the items themselves are never all looked at.
A map that undoes another one is a map, too: its items are those that have succeeded there, latest
completion first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

EACH_METHOD = "EACH"
"""Of a request, in place of an HTTP method: what a map asks for."""


class ItemOutcome(StrEnum):
    """What became of an item, as its map was told."""

    RUNNING = "running"  # it has begun, and its end was not told yet
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # it ended otherwise: undone by itself, cancelled, or left by a person
    UNDONE = "undone"  # it had succeeded, and was undone with its map


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How far a map has come. Every item is counted once: as to come, running or ended."""

    total: int
    next: int = 0  # so many have begun: the index of the next one
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    parallel: int = 1  # most that run at once
    most_failures: int = 0  # with more of them it stops
    stopped: str = ""  # why no further item begins; empty while they do

    @property
    def room(self) -> int:
        """How many items may begin now."""
        if self.stopped:
            return 0
        return max(min(self.parallel - self.running, self.total - self.next), 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way, and nothing further begins."""
        return self.running == 0 and (self.next == self.total or bool(self.stopped))

    @property
    def is_accepted(self) -> bool:
        """Of one that is over: every item has had its turn, and no more have failed than may."""
        return self.next == self.total and self.failed <= self.most_failures

    def in_words(self, *, undoes: bool = False) -> str:
        """How far it has come, for people; `undoes`: what succeeds is that items are undone."""
        numbers = {
            "running": self.running, "undone" if undoes else "succeeded": self.succeeded,
            "failed": self.failed,
            "not begun": self.total - self.next,
        }  # fmt: skip
        parts = [f"{number:,} {what}" for what, number in numbers.items() if number]
        why = f"; stopped: {self.stopped}" if self.stopped else ""
        return ", ".join([f"{self.total:,} in all", *parts]) + why

    def begun(self, items: int) -> Counts:
        """After so many further items have begun; no more than there is `room` for."""
        assert 0 <= items <= self.room, f"{items} more, with room for {self.room}"
        return replace(self, next=self.next + items, running=self.running + items)

    def ended(self, *, succeeded: int, failed: int) -> Counts:
        """After so many ends were told. Too many failures stop it."""
        assert succeeded + failed <= self.running, "only what runs can end"
        after = replace(
            self, running=self.running - succeeded - failed, succeeded=self.succeeded + succeeded,
            failed=self.failed + failed,
        )  # fmt: skip
        if after.stopped or after.failed <= after.most_failures:
            return after
        most = f"at most {after.most_failures} may"
        return after.with_stop(f"{after.failed} of {after.total} items failed, {most}")

    def with_stop(self, reason: str) -> Counts:
        """After it was stopped; empty: as it is. The first reason counts."""
        return replace(self, stopped=self.stopped or reason)


def most_failures(said: int | str, total: int) -> int:
    """How many of so many items may fail: a number, or a share as in `2.5%`, rounded down."""
    if isinstance(said, int):
        return said
    # In whole ten-thousandths of a percent: a tenth has no exact value as a float.
    parts = round(float(said.removesuffix("%")) * 10_000)
    return math.floor(total * parts / 1_000_000)
