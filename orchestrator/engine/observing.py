"""What this process sees of APIs, added up in memory and written down every few seconds.

A worker's record of a stretch of time is written whole, in place of the one before, so a write may
be repeated. A process that is killed loses what it saw since its last write.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

from orchestrator.core.exchange import Outcome, Response
from orchestrator.core.plan import Call
from orchestrator.core.shapes import add_shape
from orchestrator.core.windows import HOUR_SECONDS, WINDOW_SECONDS, Window
from orchestrator.definitions.media_types import is_json
from orchestrator.errors import Unavailable
from orchestrator.ports.api_windows import ApiWindow, ApiWindowStore

log = structlog.get_logger(__name__)

WRITE_SECONDS = 10.0
MERGE_SECONDS = 1800.0
MERGED_AFTER_SECONDS = 2.0 * HOUR_SECONDS
KEPT_SECONDS = 35 * 86_400.0
LAST_WRITE_SECONDS = 2.0
SHAPED = 20
"""Answers of each status, the first ones of a window, whose fields are noted."""
LARGEST_SHAPED = 64 * 1024
MOST_OPERATIONS = 2_000
"""Of one process in one window. What comes beyond is not counted, but said."""

_At = tuple[str, str, str]


class Observer:
    """Implements ports.metering.ApiObserver. Not thread-safe: belongs to the engine's loop."""

    def __init__(
        self, store: ApiWindowStore, *, worker: str, now: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self._store, self._worker, self._now, self._jitter = store, worker, now, jitter
        self._windows: dict[_At, Window] = {}
        self._written: dict[_At, int] = {}  # calls, when last written
        self._closed: list[ApiWindow] = []  # of the windows before, not written yet
        self._began: datetime | None = None  # of what is counted now; None: nothing yet
        self._missed = 0

    def called(
        self, call: Call, outcome: Outcome, response: Response | None, seconds: float,
        waited: float,
    ) -> None:  # fmt: skip
        """A call of an API has ended."""
        template = call.template
        if template.get("kind") != "http":
            return
        at = (call.api, template["method"], template["path"])
        window = self._windows.get(at)
        if window is None:
            if len(self._windows) >= MOST_OPERATIONS:
                self._missed += 1
                return
            if self._began is None:
                self._began = self._window_now()
            window = self._windows[at] = Window()
        status = None if response is None else response.status
        window.add(status=status, outcome=outcome, seconds=seconds, waited=waited)
        if response is not None and window.statuses[response.status] <= SHAPED:
            _add_shape(window, response)

    async def run_passes(self) -> None:
        """Write, and merge what is old, until cancelled; then write once more."""
        merge_in = MERGE_SECONDS * self._jitter()
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS * (0.75 + self._jitter() / 2))
                await self._safely(self.write())
                merge_in -= WRITE_SECONDS
                if merge_in <= 0:
                    merge_in = MERGE_SECONDS
                    await self._safely(self._merge())
        finally:
            await self._safely(asyncio.wait_for(self.write(), LAST_WRITE_SECONDS))

    async def write(self) -> None:
        """What has changed since the last time. Raises Unavailable; nothing is lost then.

        A new window begins with the first write in it.
        """
        if self._began is None:
            return
        began = self._window_now()
        changed = {
            at: window.calls
            for at, window in self._windows.items() if window.calls != self._written.get(at)
        }  # fmt: skip
        records = [*self._closed, *(self._record(at, self._began) for at in changed)]
        if began != self._began:
            self._closed, self._windows, self._written = records, {}, {}
            self._began, changed = began, {}
            if self._missed:
                log.warning("api_windows.missed", calls=self._missed, most=MOST_OPERATIONS)
                self._missed = 0
        if not records:
            return
        await self._store.write_api_windows(records)
        self._closed = []
        self._written |= changed

    async def _merge(self) -> None:
        await self._store.merge_api_windows(
            older_than_seconds=MERGED_AFTER_SECONDS, keep_seconds=KEPT_SECONDS
        )

    async def _safely(self, act: Coroutine[Any, Any, None]) -> None:
        try:
            await act
        except (Unavailable, TimeoutError) as error:
            log.warning("api_windows.postponed", why=str(error) or "no time left")
        except Exception:
            # A pass is repeatable, and the next one must come.
            log.exception("api_windows.failed")

    def _record(self, at: _At, began: datetime) -> ApiWindow:
        api, method, path = at
        return ApiWindow(
            api=api, operation=f"{method} {path}", began=began, worker=self._worker,
            window=self._windows[at],
        )  # fmt: skip

    def _window_now(self) -> datetime:
        seconds = int(self._now().timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS
        return datetime.fromtimestamp(seconds, UTC)


def _add_shape(window: Window, response: Response) -> None:
    """Which fields an answer of JSON has; of another one nothing."""
    if not 0 < len(response.body) <= LARGEST_SHAPED:
        return
    if not is_json(response.headers.get("content-type", "").partition(";")[0].strip()):
        return
    try:
        value = orjson.loads(response.body)
    except orjson.JSONDecodeError:  # said to be JSON, which is the business of who reads it
        return
    add_shape(window.shapes.setdefault(response.status, {}), value)
