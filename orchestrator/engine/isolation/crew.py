"""Calls of isolated tasks: a bounded number at once, with guests that stand ready."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import orjson

from orchestrator.definitions.tasks import Task
from orchestrator.engine.isolation.brokering import ApiCalls
from orchestrator.engine.isolation.sandbox import Sandbox
from orchestrator.engine.isolation.talking import Guest, OnCall, Stopped
from orchestrator.errors import InDoubt, InvalidSetting, NotLanded, Problem, StepError

_ENVELOPE_BYTES = 4096  # around a result; what is told of a failure is cut to less
_REASON_CHARACTERS = 1000
_REHEARSAL_SECONDS = 20.0


class IsolatedTasks:
    """Calls functions in guests, each of which serves one call.

    A call waits in a thread, so the event loop is free. Guests are started by one thread that
    stays: the kernel ends a sandbox when the thread that made it does.
    """

    def __init__(
        self, sandbox: Sandbox, *, at_once: int, spares: int, most_answer_bytes: int
    ) -> None:
        self._sandbox, self._spares_wanted = sandbox, spares
        self._most = most_answer_bytes + _ENVELOPE_BYTES
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="isolated")
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="isolated-start")
        self._lock = threading.Lock()
        self._spares: deque[Guest] = deque()
        self._busy: set[Guest] = set()
        self._closed = False

    def rehearse(self) -> None:
        """Have one guest start and answer. Raises InvalidSetting saying what this machine lacks."""
        request: dict[str, Any] = {"module": "", "task": "", "arguments": {}, "context": None}
        until = time.monotonic() + _REHEARSAL_SECONDS
        try:
            self._ask(orjson.dumps(request), until)
        except (Stopped, OSError) as error:
            problem = Problem(
                place="setting isolation.mode (sandbox)", found=f"a process that {error}",
                wanted="a kernel and a container that allow user namespaces; `limits` does without,"
                " and does not hold up attackers",
            )  # fmt: skip
            raise InvalidSetting(
                "tasks with isolation=process cannot be isolated here", problems=[problem]
            ) from error

    async def call(
        self,
        task: Task,
        arguments: Mapping[str, Any],
        context: Mapping[str, Any] | None,
        *,
        seconds: float,
        calls: ApiCalls | None = None,
    ) -> Any:
        """The function's result. Raises StepError; when it is cancelled, the guest is killed.

        `calls` answers what the function asks of APIs; without it, nothing does.
        """
        request = orjson.dumps(
            {
                "module": task.module, "task": task.name,
                "arguments": arguments, "context": context,
            }
        )  # fmt: skip
        held = _Held()
        on_call = (
            None
            if calls is None
            else partial(self._on_call, asyncio.get_running_loop(), calls, held)
        )
        future: Future[Any] = self._threads.submit(
            self._call, task, request, time.monotonic() + seconds, held, on_call
        )
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            held.end()
            raise

    async def aclose(self) -> None:
        """Take no more calls, and kill all guests."""
        with self._lock:
            self._closed = True
            spares, busy = list(self._spares), list(self._busy)
            self._spares.clear()
        for guest in busy:
            guest.end()
        await asyncio.to_thread(self._end, spares)

    def _end(self, spares: list[Guest]) -> None:
        for guest in spares:
            guest.discard()
        self._starter.shutdown(cancel_futures=True)
        self._threads.shutdown(cancel_futures=True)

    # --- in a thread ------------------------------------------------------------------------------

    def _call(
        self, task: Task, request: bytes, until: float, held: _Held, on_call: OnCall | None
    ) -> Any:
        if time.monotonic() >= until:
            raise NotLanded(f"task {task.name}: no process was free in time", retryable=True)
        try:
            answer = self._ask(request, until, held, on_call)
        except Stopped as stopped:
            raise _unfinished(task, stopped.why, retryable=not stopped.deliberate) from stopped
        except OSError as error:  # no room for a process
            why = f"task {task.name}: no process can be started: {error.strerror}"
            raise NotLanded(why, retryable=True) from error
        return read_answer(task, answer)

    def _on_call(
        self, loop: asyncio.AbstractEventLoop, calls: ApiCalls, held: _Held,
        question: bytes, until: float,
    ) -> bytes:  # fmt: skip
        """In the loop; this thread waits. Cut off when the time is over or the call given up."""
        asked = asyncio.run_coroutine_threadsafe(calls.answer(question, until=until), loop)
        held.wait_for(asked)
        try:
            return asked.result(max(until - time.monotonic(), 0.0))
        except (TimeoutError, CancelledError) as error:
            asked.cancel()
            raise Stopped("no result in time") from error

    def _ask(
        self, request: bytes, until: float, held: _Held | None = None,
        on_call: OnCall | None = None,
    ) -> bytes:  # fmt: skip
        guest = self._take()
        try:
            if held is not None:
                held.hold(guest)
            return guest.ask(request, until=until, most=self._most, on_call=on_call)
        finally:
            with self._lock:
                self._busy.discard(guest)

    def _take(self) -> Guest:
        guest = self._spare() or self._starter.submit(self._sandbox.start).result()
        with self._lock:
            self._busy.add(guest)
            closed = self._closed
        if closed:
            guest.end()
        elif self._spares_wanted:
            self._starter.submit(self._refill)
        return guest

    def _spare(self) -> Guest | None:
        while True:
            with self._lock:
                if not self._spares:
                    return None
                guest = self._spares.popleft()
            if guest.ready:
                return guest
            guest.discard()

    def _refill(self) -> None:
        with self._lock:
            wanted = not self._closed and len(self._spares) < self._spares_wanted
        if not wanted:
            return
        guest = self._sandbox.start()
        with self._lock:
            if not self._closed:
                self._spares.append(guest)
                return
        guest.discard()


class _Held:
    """The guest of a call, for whoever gives the call up; before or after it has got one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guest: Guest | None = None
        self._asked: Future[bytes] | None = None
        self._over = False

    def hold(self, guest: Guest) -> None:
        with self._lock:
            self._guest = guest
            if self._over:
                guest.end()

    def wait_for(self, asked: Future[bytes]) -> None:
        """A call that the guest waits for, which ends with it."""
        with self._lock:
            self._asked = asked
            if self._over:
                asked.cancel()

    def end(self) -> None:
        with self._lock:
            self._over = True
            if self._asked is not None:
                self._asked.cancel()
            if self._guest is not None:
                self._guest.end()


# --- what a guest said, which may be anything -----------------------------------------------------


def read_answer(task: Task, text: bytes) -> Any:
    """The result in it. Raises StepError for any other outcome, and for what is no answer."""
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict) or len(answer) != 1:
        raise _unfinished(task, "answered what is not an answer", retryable=False)
    [(kind, said)] = answer.items()
    if kind == "result" and isinstance(said, dict):
        return said
    raise _failure(task, kind, said)


def _failure(task: Task, kind: str, said: Any) -> StepError:
    match kind, said:
        case "raised", str():
            return _unfinished(task, said, retryable=True)
        case "exhausted", "memory":
            return _unfinished(task, "used up its memory", retryable=False)
        case (("unreadable" | "missing"), str()):
            return _unfinished(task, said, retryable=False)
        case "not_landed", {"reason": str(reason)}:
            return NotLanded(
                _cut(reason),
                retryable=said.get("retryable") is True,
                retry_after_seconds=_wait(said),
            )
        case "in_doubt", {"reason": str(reason)}:
            return InDoubt(_cut(reason), retry_after_seconds=_wait(said))
        case _:
            return _unfinished(task, "answered what is not an answer", retryable=False)


def _unfinished(task: Task, why: str, *, retryable: bool) -> NotLanded:
    """It reaches nothing, so that nothing is in doubt whatever happened to it."""
    return NotLanded(_cut(f"task {task.name}: {why}"), retryable=retryable)


def _wait(said: Mapping[str, Any]) -> float | None:
    seconds = said.get("retry_after_seconds")
    return float(seconds) if isinstance(seconds, int | float) and seconds >= 0 else None


def _cut(text: str) -> str:
    return text if len(text) <= _REASON_CHARACTERS else f"{text[:_REASON_CHARACTERS]}…"
