"""Pushes a process's metrics to somebody, where others come and scrape them."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Event, Thread
from typing import Protocol

import structlog
from prometheus_client import Metric as Family

log = structlog.get_logger(__name__)


class Collects(Protocol):
    """Gives families of metrics, as they are now; a registry does."""

    def collect(self) -> Iterable[Family]:
        """All of them."""


class MetricSink(Protocol):
    """Whoever takes them."""

    def push(self, families: Iterable[Family]) -> bool:
        """Whether they were taken. Blocks for a bounded time."""

    def close(self) -> None:
        """Give up what is being sent."""


class Pushing:
    """Pushes what is collected at even intervals, from a thread of its own: so a worker whose loop
    is stuck still says so."""

    def __init__(self, source: Collects, sink: MetricSink, *, every_seconds: float) -> None:
        self._source, self._sink, self._every = source, sink, every_seconds
        self._end = Event()
        self._thread = Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Push a last time, if the time before went well, and end. Blocks until that is over."""
        self._end.set()
        self._thread.join()
        self._sink.close()

    def _run(self) -> None:
        well = True
        while not self._end.wait(self._every):
            well = self._push()
        if well:
            self._push()

    def _push(self) -> bool:
        try:
            return self._sink.push(self._source.collect())
        except Exception:
            # What cannot be read once must not end the metrics for good.
            log.exception("metrics.not_pushed")
            return False
