"""The database's clock, readable without asking the database each time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

PROMPT_SECONDS = 0.05
"""By so much a reading may be wrong: the database answered within twice that."""
TRUSTED_SECONDS = 60.0
"""After that any reading is better than what is known."""
_NO_FLOOR = datetime.min.replace(tzinfo=UTC)


class DatabaseClock:
    """Database time carried forward by the monotonic clock; corrected at every heartbeat.

    A jump of this machine's wall clock does not move it. A better reading does not turn it back: it
    stands still until what it has told is true. Until the first `correct` it raises.
    `monotonic` gives seconds from wherever.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._base: datetime | None = None
        self._at = 0.0
        self._error = 0.0  # seconds by which `_base` may be wrong
        self._told = _NO_FLOOR  # by the last `now`
        self._floor = _NO_FLOOR

    def correct(self, database_now: datetime, *, asked_at: float) -> bool:
        """Take over what the database said that was asked at this time (of `monotonic`).

        It read its clock at any moment since. False: the answer took so long that what is known
        already is better (or, the first time, that it should be asked again).
        """
        heard_at = self.monotonic()
        error = (heard_at - asked_at) / 2
        known = self._base is not None and heard_at - self._at < TRUSTED_SECONDS
        if known and error > max(self._error, PROMPT_SECONDS):
            return False
        explained = timedelta(seconds=self._error + error + PROMPT_SECONDS)
        self._base, self._at = database_now.astimezone(UTC), heard_at - error
        self._error = error
        ahead = self._told - self._base
        # More than explains itself is a clock that was set back, which is followed.
        self._floor = self._told if ahead <= explained + timedelta(seconds=error) else _NO_FLOOR
        return error <= PROMPT_SECONDS

    def now(self) -> datetime:
        """Aware, UTC."""
        if self._base is None:
            raise RuntimeError("the database's clock has not been read yet")
        # By place: half as long as `seconds=`, and this is asked five times for each step.
        now = self._base + timedelta(0, self.monotonic() - self._at)
        self._told = told = max(self._floor, now)
        return told
