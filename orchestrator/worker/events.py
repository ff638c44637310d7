"""Task events of steps that continue inline, so that Flower shows them as tasks of the chain."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from orchestrator.ports import Hint
from orchestrator.worker.envelope import args_repr
from orchestrator.worker.main_thread import MainThread

log = logging.getLogger(__name__)

# received, started, and one of succeeded or failed
_EVENTS_PER_STEP = 3
# A step whose end never comes (its run was handed back) must not be remembered for ever.
_MOST_REMEMBERED = 50_000


class Budget:
    """So many tokens per second, saved up for at most one second. One thread only."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = self._tokens = float(per_second)
        self._clock, self._at = clock, clock()

    def take(self, tokens: int) -> bool:
        """Whether there were enough; if so they are gone."""
        now = self._clock()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True


class StepEventStream:
    """Port `StepEvents` on the worker's event dispatcher.

    Called by the engine's thread; the dispatcher is used on Celery's main thread alone. Steps
    beyond the budget are left out whole. Compensations and failures always go out.
    """

    def __init__(self, main_thread: MainThread, *, budget_per_second: int) -> None:
        self._main_thread = main_thread
        self._budget = Budget(budget_per_second)
        self._shown: OrderedDict[str, None] = OrderedDict()
        self._consumer: Any = None
        self.dropped = 0
        """Steps left out so far."""

    def attach(self, consumer: Any) -> None:
        """Use this consumer's dispatcher from now on (it makes a new one at each reconnect)."""
        self._consumer = consumer

    def step_started(self, hint: Hint) -> None:
        """Show the step as received and started."""
        if self._budget.take(_EVENTS_PER_STEP) or _is_compensation(hint):
            self._remember(hint.hop_id)
            self._main_thread.call(self._send_started, hint, time.time())

    def step_finished(self, hint: Hint, *, ok: bool, seconds: float, detail: str = "") -> None:
        """Show its end; of a step left out only when it failed."""
        now = time.time()
        if not self._forget(hint.hop_id):
            if ok and not _is_compensation(hint):
                self.dropped += 1
                return
            self._main_thread.call(self._send_started, hint, now - seconds)
        self._main_thread.call(self._send_finished, hint, ok, seconds, detail, now)

    def flush(self) -> None:
        """Send what the dispatcher still buffers. Main thread only."""
        dispatcher = self._dispatcher()
        if dispatcher is not None:
            try:
                dispatcher.flush()
            except Exception as error:  # noqa: BLE001 - only watchers miss something
                log.warning("events were not sent: %r", error)

    def _remember(self, hop_id: str) -> None:
        self._shown[hop_id] = None
        if len(self._shown) > _MOST_REMEMBERED:
            self._shown.popitem(last=False)

    def _forget(self, hop_id: str) -> bool:
        try:
            del self._shown[hop_id]
        except KeyError:
            return False
        return True

    def _dispatcher(self) -> Any:
        dispatcher = getattr(self._consumer, "event_dispatcher", None)
        return dispatcher if dispatcher is not None and dispatcher.enabled else None

    def _send_started(self, hint: Hint, at: float) -> None:
        dispatcher = self._dispatcher()
        if dispatcher is None:
            return
        dispatcher.send(
            "task-received",
            uuid=hint.hop_id,
            name=hint.label,
            args=args_repr((hint.run_id, hint.epoch)),
            kwargs="{}",
            root_id=hint.run_id,
            parent_id=hint.parent_hop_id,
            retries=0,
            eta=None,
            expires=None,
            timestamp=at,
        )
        dispatcher.send("task-started", uuid=hint.hop_id, timestamp=at)

    def _send_finished(self, hint: Hint, ok: bool, seconds: float, detail: str, at: float) -> None:
        dispatcher = self._dispatcher()
        if dispatcher is None:
            return
        if ok:
            dispatcher.send(
                "task-succeeded", uuid=hint.hop_id, result=None, runtime=seconds, timestamp=at
            )
        else:
            dispatcher.send(
                "task-failed", uuid=hint.hop_id, exception=detail, traceback="", timestamp=at
            )


def _is_compensation(hint: Hint) -> bool:
    return hint.queue.endswith(".compensation")
