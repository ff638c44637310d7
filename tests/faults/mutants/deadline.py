"""An end for a hunt whose fault makes the engine spin: no virtual time passes then."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LONGEST_HUNT_SECONDS = 120.0


class TooLong(KeyboardInterrupt):
    """The time is up. A KeyboardInterrupt, since an event loop swallows everything else."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TooLong in the main thread when it takes longer."""

    def ring(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
