"""The Celery pool whose slots are active runs, not threads or processes.

A hop goes to the engine's loop, which runs in a thread of its own; accepting it costs the main
thread a call. A hop is accepted, and its message acknowledged, as soon as there is a slot; it is
over when the engine has let go of its runs. Celery's own books (started, succeeded, failed,
counts) are kept on the way, so Flower and `celery inspect` see hops as ordinary tasks.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool
from celery.worker import state as worker_state

from orchestrator import crashpoints
from orchestrator.crashpoints import Reached
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import Hop, Runtime
from orchestrator.worker.request import HopRequest

log = logging.getLogger(__name__)

_NO_GRACE = 0.0


class _Slot:
    """One hop on its way through the pool. Main thread only, but for `__call__`."""

    __slots__ = ("_done", "_pool", "_request", "_started")

    def __init__(self, pool: HopPool, request: HopRequest) -> None:
        self._pool, self._request = pool, request
        self._started, self._done = 0.0, False

    @property
    def hop(self) -> Hop:
        """The hop in it."""
        return self._request.hop

    def accept(self) -> None:
        """Acknowledge the message and show the task as started."""
        self._started = time.monotonic()
        self._request.on_accepted(self._pool.pid, self._started)

    def __call__(self, error: BaseException | None = None) -> None:
        """The hop is over (`ports.Done`): from any thread, counts once."""
        if not self._done:
            self._done = True
            self._pool.main_thread.call(self._pool.release, self, error)

    def report(self, error: BaseException | None) -> None:
        """Close Celery's books on this task."""
        runtime = time.monotonic() - self._started
        self._request.on_success(
            (int(error is not None), _einfo(error) if error else None, runtime)
        )


class HopPool(BasePool):
    """Hands hops to the app's engine runtime (setting `worker_pool`)."""

    body_can_be_buffer = True
    # Stopping waits for the engine; the consumer must have left its loop before.
    signal_safe = False
    task_join_will_block = False

    def __init__(self, *args: Any, initargs: tuple[Any, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._nodename = str(initargs[1]) if len(initargs) > 1 else "worker"
        self.main_thread = self.app.main_thread
        self.pid = os.getpid()
        self._taken = 0
        self._held: deque[_Slot] = deque()
        self._runtime: Runtime | None = None

    @property
    def reserved(self) -> int:
        """Hops that wait for a slot; their messages are not acknowledged yet."""
        return len(self._held)

    @property
    def has_room(self) -> bool:
        """Whether a slot is free. Any thread may ask."""
        return self._taken < int(self.limit)

    def on_start(self) -> None:
        """Start the engine. A worker that cannot reach its database ends here, saying so."""
        self._runtime = self.app.start_runtime(self, name=self._nodename)

    def register_with_event_loop(self, hub: Any) -> None:
        """Celery's loop is there: ended hops wake it."""
        self.main_thread.attach(hub)

    def take(self, request: HopRequest) -> None:
        """Take a hop up, or hold it while all slots are taken.

        In place of Celery's `apply_async`, which is given a function to call: the engine does the
        work.
        """
        slot = _Slot(self, request)
        if self._taken < self.limit:
            self._deliver(slot)
        else:
            self._held.append(slot)

    def _deliver(self, slot: _Slot) -> None:
        assert self._runtime is not None, "Celery starts the pool before its consumer"
        self._taken += 1
        try:
            _reach("before_ack", slot.hop)
            slot.accept()
            _reach("after_ack", slot.hop)
            self._runtime.deliver(slot.hop, slot)
        except Exception as error:
            log.exception("hop %s could not be delivered", slot.hop.hop_id)
            slot(error)

    def release(self, slot: _Slot, error: BaseException | None) -> None:
        """A hop is over: close its books and give its slot to the next. Main thread only."""
        self._taken -= 1
        try:
            slot.report(error)
        finally:
            if self._held and self._state == self.RUN:
                self._deliver(self._held.popleft())

    def on_stop(self) -> None:
        """Warm shutdown. Hops still held were never accepted: kombu puts their messages back."""
        # Celery stops the pool in a cold shutdown too, before it terminates it.
        cold = worker_state.should_terminate
        self._drain(_NO_GRACE if cold else self.app.shutdown_grace_seconds)

    def on_terminate(self) -> None:
        """Cold shutdown: hand back what can be, wait for nothing."""
        self._drain(_NO_GRACE)

    def _drain(self, grace_seconds: float) -> None:
        runtime, self._runtime = self._runtime, None
        if runtime is None:
            return
        self.main_thread.park()
        try:
            runtime.drain(grace_seconds=grace_seconds)
        except Exception:  # the table recovers what could not be handed back
            log.exception("the engine did not hand back all its runs")
        self.main_thread.run_pending()
        self.app.step_events.flush()

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Nothing: all hops share this process, and a run is cancelled in the table."""

    def _get_info(self) -> dict[str, Any]:
        active = self._runtime.active() if self._runtime else ()
        return {
            **super()._get_info(),
            "hops": self._taken,
            "held-hops": len(self._held),
            "active-runs": len(active),
            "dropped-messages": self.app.drops.counts(),
            "dropped-step-events": self.app.step_events.dropped,
            "watched": self.app.audience.present,
        }


def _reach(point: str, hop: Hop) -> None:
    """Come to a crash point; whatever it is, it happens in the main thread."""
    if crashpoints.hook is not None:
        for run_id, _ in hop.runs:
            crashpoints.hook(Reached(point=point, run_id=run_id, hop_id=hop.hop_id))


def _einfo(error: BaseException) -> ExceptionInfo:
    """Celery's form of an exception. The engine's traceback stays out: it may show values."""
    try:
        raise error.with_traceback(None)
    except BaseException:  # noqa: BLE001 - billiard wants one that is being handled
        info = ExceptionInfo()
        info.exception = error  # billiard's wrapper would hide it from the event
        return info


def missing_runtime() -> InvalidSetting:
    """The error of a worker that nobody wired."""
    return InvalidSetting(
        "this worker has no engine",
        problems=[
            Problem(
                place="app.runtime_factory",
                found="nothing",
                wanted="a function that makes the Runtime; `celery -A orchestrator worker` sets it",
            )
        ],
    )
