"""The way from any thread to Celery's main thread.

Celery's consumer, its request registry and its event dispatcher belong to the main thread. The
engine lives in a thread of its own and ends hops and shows steps from there; it leaves the work
here, and Celery's event loop picks it up.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from vine import promise

log = logging.getLogger(__name__)


class MainThread:
    """A queue of calls that Celery's event loop runs in order."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._hub: Any = None
        self._parked = False
        self._lock = threading.RLock()
        # One promise for all: the hub's ready set then holds at most one entry and one wake-up,
        # however many calls are waiting.
        self._run_pending = promise(self.run_pending)

    def attach(self, hub: Any) -> None:
        """Use this event loop from now on."""
        self._hub = hub

    def park(self) -> None:
        """Only keep calls, for `run_pending`: the event loop has ended.

        A cold shutdown begins in a signal handler, above whatever the main thread was doing, so
        other threads must not wait for a lock that it may hold.
        """
        self._parked = True

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Run `function(*args)` on the main thread soon. Thread-safe; returns at once.

        Without an event loop it runs here and now, one call at a time.
        """
        self._calls.append((function, args))
        if self._parked:
            return
        hub = self._hub
        if hub is not None:
            hub.call_soon(self._run_pending)
        else:
            self.run_pending()

    def run_pending(self) -> None:
        """Run what has been left so far. A call that fails is logged and hurts no other."""
        with self._lock:
            for _ in range(len(self._calls)):
                function, args = self._calls.popleft()
                try:
                    function(*args)
                except Exception:
                    log.exception("a call left for the main thread failed: %r", function)
