"""Task events of steps, so that Flower shows each as a task of its run's chain.

Of a step that a message brought, Celery shows that it was received and started; its end, and all
of a step that continues inline, come from here. A hop may run on long after its first step.

An event costs its watcher (Flower) more than the step cost us, so there is a budget for each
worker; what it leaves out is a sample's worth of steps that came and went well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from orchestrator.ports import JOB_TASK, Hint, Hop, StepEnd
from orchestrator.worker.audience import Audience
from orchestrator.worker.envelope import args_repr
from orchestrator.worker.main_thread import MainThread

log = logging.getLogger(__name__)

# received, started, and one of succeeded or failed
_EVENTS_PER_STEP = 3
_FOR_MESSAGES = 0.5
"""Share of the budget that steps which continue inline leave to those that a message brings."""
# A step whose end never comes (its run was handed back) must not be remembered for ever.
_MOST_REMEMBERED = 50_000
_ABSENT = object()

T = TypeVar("T")


class Budget:
    """So many tokens per second, saved up for at most one second. One thread only."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = self._tokens = float(per_second)
        self._clock, self._at = clock, clock()

    def take(self, tokens: int, *, share_left: float = 0.0) -> bool:
        """Whether there were enough, and this share of a second's is left; if so they are gone."""
        now = self._clock()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < tokens + share_left * self._rate:
            return False
        self._tokens -= tokens
        return True


class StepEventStream:
    """Port `StepEvents` on the worker's event dispatcher.

    Called by the engine's thread; the dispatcher is used on Celery's main thread alone. Steps
    beyond the budget are left out whole, unless they fail or last: what is still going when there
    is budget again is shown then, so that runs that stand still are all to be seen. Compensations
    and failures always go out. Half of the budget is for steps that a message brought; with
    `every_message` these are all shown.
    """

    def __init__(
        self,
        main_thread: MainThread,
        audience: Audience,
        *,
        budget_per_second: int,
        every_message: bool = False,
    ) -> None:
        self._main_thread, self._audience = main_thread, audience
        self._budget, self._every_message = Budget(budget_per_second), every_message
        self._unshown: OrderedDict[str, None] = OrderedDict()  # messages whose step begins soon
        self._shown: OrderedDict[str, None] = OrderedDict()
        self._left_out: OrderedDict[str, tuple[Hint, float]] = OrderedDict()
        self._lock = threading.Lock()  # between the engine's thread and `catch_up`
        self._consumer: Any = None
        self.dropped = 0
        """Steps left out so far."""

    @property
    def watched(self) -> bool:
        """Whether anybody listens; when not, nothing need be told."""
        return self._audience.present

    def attach(self, consumer: Any) -> None:
        """Use this consumer's dispatcher from now on (it makes a new one at each reconnect)."""
        self._consumer = consumer

    def message_taken(self, hop: Hop) -> bool:
        """Whether Celery should show the task that a message has brought."""
        if not self.watched:
            return False
        with self._lock:
            if self._every_message or _is_rare(hop) or self._budget.take(_EVENTS_PER_STEP):
                return True
            _remember(self._unshown, hop.hop_id, None)
            return False

    def step_started(self, hint: Hint, *, by_message: bool = False) -> None:
        """Show the step as received and started; a message's Celery has shown itself."""
        if not self.watched:
            return
        with self._lock:
            if by_message and self._unshown.pop(hint.hop_id, _ABSENT) is _ABSENT:
                _remember(self._shown, hint.hop_id, None)
            elif by_message:
                _remember(self._left_out, hint.hop_id, (hint, time.time()))
            elif _is_rare(hint) or self._budget.take(_EVENTS_PER_STEP, share_left=_FOR_MESSAGES):
                _remember(self._shown, hint.hop_id, None)
                self._main_thread.call(self._send_started, hint, time.time())
            else:
                _remember(self._left_out, hint.hop_id, (hint, time.time()))

    def step_revived(self, hint: Hint) -> None:
        """Watchers take a step that failed for good as over; a retry opens it again."""
        if not self.watched:
            return
        self._main_thread.call(self._send_revived, hint, time.time())

    def step_ended(self, hint: Hint, end: StepEnd, *, seconds: float, detail: str = "") -> None:
        """Show its end; of a step left out only when it failed."""
        if not self.watched:
            return
        now = time.time()
        with self._lock:
            shown = self._shown.pop(hint.hop_id, _ABSENT) is not _ABSENT
            self._left_out.pop(hint.hop_id, None)
        if not shown:
            if end is not StepEnd.FAILED and not _is_rare(hint):
                self.dropped += 1
                return
            self._main_thread.call(self._send_started, hint, now - seconds)
        self._main_thread.call(self._send_ended, hint, end, seconds, detail, now)

    def step_left(self, hint: Hint) -> None:
        """Forget it."""
        with self._lock:
            self._shown.pop(hint.hop_id, None)
            self._left_out.pop(hint.hop_id, None)

    def catch_up(self) -> None:
        """Show steps left out that still go on, oldest first, as far as the budget reaches.

        When nobody listens any more, all is forgotten: of no step will the end be told.
        """
        if not self.watched:
            self._forget_all()
            return
        with self._lock:
            while self._left_out and self._budget.take(_EVENTS_PER_STEP):
                hop_id, (hint, since) = self._left_out.popitem(last=False)
                _remember(self._shown, hop_id, None)
                self._main_thread.call(self._send_started, hint, since)

    def _forget_all(self) -> None:
        with self._lock:
            self._shown.clear()
            self._left_out.clear()
            self._unshown.clear()

    def flush(self) -> None:
        """Send what the dispatcher still buffers. Main thread only."""
        dispatcher = self._dispatcher()
        if dispatcher is not None:
            try:
                dispatcher.flush()
            except Exception as error:  # noqa: BLE001 - only watchers miss something
                log.warning("events were not sent: %r", error)

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

    def _send_revived(self, hint: Hint, at: float) -> None:
        dispatcher = self._dispatcher()
        if dispatcher is not None:
            dispatcher.send("task-retried", uuid=hint.hop_id, exception="", timestamp=at)
            dispatcher.send("task-started", uuid=hint.hop_id, timestamp=at)

    def _send_ended(self, hint: Hint, end: StepEnd, seconds: float, detail: str, at: float) -> None:
        dispatcher = self._dispatcher()
        if dispatcher is not None:
            fields = _fields_of(end, seconds, detail)
            dispatcher.send(f"task-{end}", uuid=hint.hop_id, timestamp=at, **fields)


def _fields_of(end: StepEnd, seconds: float, detail: str) -> dict[str, Any]:
    """What Celery's own event of this kind carries, and how long it took if that is not in it."""
    match end:
        case StepEnd.SUCCEEDED:
            return {"result": detail or None, "runtime": seconds}
        case StepEnd.REVOKED:
            return {"terminated": False, "signum": None, "expired": False, "result": detail}
        case StepEnd.FAILED | StepEnd.RETRIED:
            return {"exception": detail, "traceback": "", "runtime": seconds}


def _remember(kept: OrderedDict[str, T], hop_id: str, value: T) -> None:
    kept[hop_id] = value
    if len(kept) > _MOST_REMEMBERED:
        kept.popitem(last=False)


def _is_rare(hint: Hint | Hop) -> bool:
    """A compensation, or a batch of a job: what is always shown."""
    return hint.queue.endswith(".compensation") or hint.task == JOB_TASK
