"""How fast permits follow one another, averaged."""

from __future__ import annotations

import time

USUAL_FACTOR = 8.0  # what is longer than so many average intervals, and than
USUAL_SECONDS = 0.1  # this, counts as if it were not


class Cadence:
    """The time between two permits while somebody waits."""

    def __init__(self) -> None:
        self._interval = 0.0
        self._granted_at = 0.0

    @property
    def seconds(self) -> float:
        """Between two permits of late; 0 when none were given lately."""
        recently = time.monotonic() - self._granted_at < 10 * max(self._interval, 0.1)
        return self._interval if recently else 0.0

    def note(self, *, waiting: int) -> None:
        """A permit was given; `waiting`: how many waited, its holder included."""
        now = time.monotonic()
        if waiting > 1 and self._granted_at:
            # One stall is not how it goes on, and an estimate parks whoever comes next.
            most = max(USUAL_FACTOR * self._interval, USUAL_SECONDS)
            sample = min(now - self._granted_at, most)
            self._interval += 0.05 * (sample - self._interval)
        self._granted_at = now

    def forget(self) -> None:
        """Limits have changed: what was says little of what comes."""
        self._interval = 0.0
