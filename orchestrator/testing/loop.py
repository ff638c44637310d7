"""An event loop of virtual time, on which simulated processes die and stand still.

Time passes only when nothing is left to do at the present moment, so an hour of a simulation costs
what happens in it. What happens at the same moment happens in the order in which it was asked for,
so a simulation repeats to the last step. One that can make no progress raises `Stuck`.

Everything that a simulated process starts (tasks, timers, callbacks) inherits its context, and the
loop looks there before it runs a callback: of a dead process nothing ever runs again, a frozen one
goes on with all that has come due when it is thawed. That is what SIGKILL and SIGSTOP do, at the
finest grain that a single thread has; it is also why no library for virtual time would do.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from enum import StrEnum
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Stuck(RuntimeError):
    """The simulation cannot go on: nothing left to happen, or no end in sight."""


class Life(StrEnum):
    """Of a simulated process."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


class Process:
    """All that runs in the context of one simulated process."""

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self._loop, self.name = loop, name
        self.life = Life.RUNNING
        self.held: list[asyncio.Handle] = []  # what came due while frozen
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def start(self, work: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """A task of this process."""
        return self._loop.create_task(work, name=name, context=self.context.copy())

    def call(self, callback: Callable[..., Any], *args: Any) -> None:
        """Run a callback in this process soon."""
        self._loop.call_soon(callback, *args, context=self.context)

    def kill(self) -> None:
        """End it without any cleanup. The code that is running now still comes to its next wait."""
        self.life = Life.DEAD
        self.held.clear()

    def freeze(self) -> None:
        """Let nothing of it run until `thaw`."""
        if self.life is Life.RUNNING:
            self.life = Life.FROZEN

    def thaw(self) -> None:
        """Go on with everything that came due meanwhile."""
        if self.life is Life.FROZEN:
            self.life = Life.RUNNING
            held, self.held = self.held, []
            self._loop.resume(held)


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs in one thread and never waits. Times in seconds; it begins at 0."""

    _ready: deque[asyncio.Handle]  # of BaseEventLoop, which does not say so
    _thread_id: int | None  # likewise: of the thread in which it runs

    def __init__(self, *, latest: float = 3600.0, most_steps: int = 50_000_000) -> None:
        super().__init__()
        self._now = 0.0
        self._latest, self._steps_left = latest, most_steps
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._asked = 0  # makes equal times stable
        self.nowhere = copy_context()  # of what no simulated process does
        self.complaints: list[dict[str, Any]] = []  # what nobody caught
        self.set_exception_handler(self._complain)

    def _complain(self, _: Any, context: dict[str, Any]) -> None:
        if "exception" in context:  # else something of a dead process was given up
            self.complaints.append(context)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def run_apart(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something that never waits, while the simulation stands still."""
        try:
            work.send(None)
        except StopIteration as end:
            value: T = end.value
            return value
        raise RuntimeError(f"{work} waits for something")

    def pass_over(self, until: float) -> None:
        """Let time pass at once; what was due meanwhile is late. Nothing when it has passed."""
        self._now = max(self._now, until)

    def resume(self, handles: list[asyncio.Handle]) -> None:
        """Run callbacks that were held back."""
        self._ready.extend(handles)

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """See asyncio."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._asked += 1
        heapq.heappush(self._timers, (when, self._asked, handle))
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Refused from a second thread, which would not repeat."""
        if threading.get_ident() != self._thread_id:
            raise RuntimeError("a simulation has one thread")
        return self.call_soon(callback, *args, context=context)

    def close(self) -> None:
        """Drop what is left, and what is called from now on."""
        self._timers.clear()
        super().close()

    def _run_once(self) -> None:
        """Everything that is due at this moment, once."""
        ready = self._ready
        if not ready:
            self._let_time_pass()
        timers, now = self._timers, self._now
        while timers and timers[0][0] <= now:
            ready.append(heapq.heappop(timers)[2])
        self._steps_left -= len(ready)
        if self._steps_left < 0:
            raise Stuck(f"at {now:.3f} s: busy without end")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            context: Context = handle._context  # type: ignore[attr-defined]  # typeshed leaves it out
            process = context.get(PROCESS)
            if process is None or process.life is Life.RUNNING:
                handle._run()
            elif process.life is Life.FROZEN:
                process.held.append(handle)

    def _let_time_pass(self) -> None:
        """On to the next moment at which anything is due."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise Stuck(f"at {self._now:.3f} s: nothing is left that could happen")
        self._now = max(self._now, timers[0][0])
        if self._now > self._latest:
            raise Stuck(f"at {self._now:.3f} s: it should have been over by {self._latest:.0f} s")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time has come."""
