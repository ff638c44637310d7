"""How fast a process uses an API's start times, and so how many it wants in hand.

Where the API is far from its limits some are in hand before anybody asks: without them each call
would wait for a round trip, in a line where nobody has to wait. Where they are scarce none are
kept in stock, for what one process keeps another one waits for; nor are more asked for at once than
this process is likely to use before they are too old.
"""

from __future__ import annotations

import math

SHORTEST_SECONDS = 0.02  # of a use that is counted
LONGEST_SECONDS = 1.0  # what is older says nothing of what comes
NEWS = 0.5  # weight of the latest use in the average
FEW = 16  # so many may be asked for however few were used of late
GROWTH = 2.0  # and else so many times as many as were used of late


class Use:
    """Of one API's start times by one process. Times are `time.monotonic()`."""

    def __init__(self) -> None:
        self._used = 0
        self._since = -math.inf
        self._per_second = 0.0
        self._scarce = True

    def note(self) -> None:
        """A start time was used."""
        self._used += 1

    def learn(self, first_at: float | None, *, soon: float) -> None:
        """The first start time that was answered; until `soon` they are as good as come."""
        self._scarce = first_at is None or first_at > soon

    def stock(self, seconds: float, now: float) -> int:
        """How many are likely to be used within so many seconds, if they are not scarce."""
        return 0 if self._scarce else int(self._rate(now) * seconds)

    def most(self, ahead_seconds: float, good_seconds: float, now: float) -> int:
        """How many at most, if things go well. Scarce ones reach so far ahead; others have all come
        when they are answered, and are good for so long.
        """
        seconds = ahead_seconds if self._scarce else good_seconds
        return max(FEW, math.ceil(GROWTH * self._rate(now) * seconds))

    def _rate(self, now: float) -> float:
        seconds = now - self._since
        if seconds >= SHORTEST_SECONDS:
            known = self._per_second if seconds <= LONGEST_SECONDS else 0.0
            self._per_second = known + NEWS * (self._used / seconds - known)
            self._used, self._since = 0, now
        return self._per_second
