"""The database's clock, readable without asking the database each time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """Database time carried forward by the monotonic clock; corrected at every heartbeat.

    A jump of this machine's wall clock does not move it. Until the first `correct` it raises.
    `monotonic` gives seconds from wherever.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._base: datetime | None = None
        self._at = 0.0

    def correct(self, database_now: datetime) -> None:
        """Take over what the database just said."""
        self._base, self._at = database_now.astimezone(UTC), self.monotonic()

    def now(self) -> datetime:
        """Aware, UTC."""
        if self._base is None:
            raise RuntimeError("the database's clock has not been read yet")
        return self._base + timedelta(seconds=self.monotonic() - self._at)
