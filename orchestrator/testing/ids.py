"""Ids that look like UUIDv7 and are the same in every repetition of a simulation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2031, 1, 1, tzinfo=UTC)
"""Where virtual time begins."""
_EPOCH_MS = int(EPOCH.timestamp() * 1000)


def moment(seconds: float) -> datetime:
    """Virtual seconds as a time."""
    return EPOCH + timedelta(seconds=seconds)


class Ids:
    """Makes them in ascending order. `time` is the loop's."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time, self._made = time, 0

    def __call__(self) -> str:
        """The next one."""
        self._made += 1
        n = self._made
        at = f"{_EPOCH_MS + int(self._time() * 1000):012x}"
        return f"{at[:8]}-{at[8:]}-7{n >> 32 & 0xFFF:03x}-8{n >> 20 & 0xFFF:03x}-{n & 0xFFFFF:012x}"
