"""Messages that were dropped, counted by reason."""

from __future__ import annotations

import logging
import threading
from collections import Counter

log = logging.getLogger(__name__)

# A flood of garbage must not become a flood of log lines: each reason is logged in full for its
# first messages, then once per this many.
_LOGGED_IN_FULL = 20
_THEN_ONE_IN = 1_000


class Drops:
    """Counts dropped messages. Losing a message costs time, never correctness, so it goes on."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def drop(self, reason: str, detail: str = "") -> None:
        """Count one message. `detail` is shortened; it must carry no payload."""
        with self._lock:
            self._counts[reason] += 1
            count = self._counts[reason]
        if count <= _LOGGED_IN_FULL or count % _THEN_ONE_IN == 0:
            log.warning("message dropped: %s (number %d): %s", reason, count, detail[:300])

    def counts(self) -> dict[str, int]:
        """Dropped messages by reason since the process began."""
        with self._lock:
            return dict(self._counts)
