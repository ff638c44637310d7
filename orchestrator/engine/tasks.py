"""Calls the Python functions of a deployment.

`async def` runs on the event loop, `def` in a thread, and what is isolated in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
import types
from collections.abc import Coroutine, Generator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

import orjson

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.plan import Effects
from orchestrator.definitions.signatures import CONTEXT
from orchestrator.definitions.tasks import Isolation, Task, TaskContext, TaskRegistry
from orchestrator.engine.isolation.brokering import ApiDesk
from orchestrator.engine.isolation.crew import IsolatedTasks
from orchestrator.errors import HeldUp, InDoubt, NotLanded, StepError
from orchestrator.ports import AttemptContext

DEFAULT_TIMEOUT_SECONDS = 60.0
_HEADERS = {"content-type": "application/json"}


class TaskTransport:
    """Implements Transport for Python functions. One for each process, used by one event loop.

    A plain function that runs out of time goes on in its thread, unheard: threads cannot be ended.
    """

    def __init__(
        self, registry: TaskRegistry, *, threads: int = 1, isolated: IsolatedTasks | None = None,
        apis: ApiDesk | None = None, executor: Executor | None = None,
    ) -> None:  # fmt: skip
        """`isolated` is wanted where the registry has isolated tasks, `apis` where those call.

        `executor`: where plain functions run; None: in so many threads of its own.
        """
        self._registry, self._isolated, self._apis = registry, isolated, apis
        self._async_names = {task.name for task in registry if task.is_async}
        self._threads = executor or ThreadPoolExecutor(threads, thread_name_prefix="task")

    async def send(
        self,
        api: str,
        request: FrozenRequest,
        context: AttemptContext,
        *,
        timeout_seconds: float | None,
    ) -> Response:
        """The function's result as JSON with status 200. Raises NotLanded and InDoubt."""
        task = self._registry.get(request.target)
        if task is None:
            raise NotLanded(
                f"task {request.target} is not registered in this worker", retryable=True
            )
        arguments = _arguments(task, request, context)
        seconds = timeout_seconds or task.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
        begun = time.monotonic()
        if not context.may_leave():
            raise HeldUp(f"task {task.name}")
        if task.isolation is Isolation.PROCESS:
            result = await self._apart(task, arguments, seconds, request.key, context)
        else:
            way = self._in_loop if task.name in self._async_names else self._in_thread
            result = await way(task, arguments, seconds)
        return Response(
            status=200, headers=_HEADERS, body=_body(task, result),
            seconds=time.monotonic() - begun,
        )  # fmt: skip

    async def aclose(self) -> None:
        """Take no more calls; functions under way in threads are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._isolated is not None:
            await self._isolated.aclose()

    async def _apart(
        self, task: Task, arguments: dict[str, Any], seconds: float, key: str,
        context: AttemptContext,
    ) -> Any:  # fmt: skip
        if self._isolated is None:
            raise NotLanded(f"task {task.name} is isolated, and nothing here can do that")
        said: TaskContext | None = arguments.pop(CONTEXT, None) if task.takes_context else None
        shown = None if said is None else asdict(said)
        calls = None
        if task.calls and self._apis is not None:
            calls = self._apis.calls_of(task, key, context)
        try:
            return await self._isolated.call(task, arguments, shown, seconds=seconds, calls=calls)
        except NotLanded as error:
            if calls is None or task.effects is Effects.NONE:
                raise
            await calls.settled()
            raise _after_calls(task, error, calls.may_have_landed) from error

    async def _in_loop(self, task: Task, arguments: dict[str, Any], seconds: float) -> Any:
        call = task.function(**arguments)
        try:
            waits_for = call.send(None)
        except StopIteration as ended:  # it waited for nothing, so it needs no timer
            return ended.value
        except StepError:
            raise
        except (Exception, SystemExit) as error:
            raise _failed(task, f"{type(error).__name__}: {error}") from error
        try:
            async with asyncio.timeout(seconds) as limit:
                return await _rest(call, waits_for)
        except StepError:
            raise
        except (Exception, SystemExit) as error:
            if limit.expired():
                raise _failed(task, f"no result within {seconds:g} s") from error
            raise _failed(task, f"{type(error).__name__}: {error}") from error

    async def _in_thread(self, task: Task, arguments: dict[str, Any], seconds: float) -> Any:
        call = partial(contextvars.copy_context().run, task.function, **arguments)
        future: Future[Any] = self._threads.submit(call)
        try:
            async with asyncio.timeout(seconds) as limit:
                return await asyncio.shield(asyncio.wrap_future(future))
        except StepError:
            raise
        except (Exception, SystemExit) as error:
            if not limit.expired():
                raise _failed(task, f"{type(error).__name__}: {error}") from error
            if future.cancel():
                why = f"task {task.name}: no free thread within {seconds:g} s"
                raise NotLanded(why, retryable=True) from error
            raise _failed(task, f"no result within {seconds:g} s") from error


def _arguments(task: Task, request: FrozenRequest, context: AttemptContext) -> dict[str, Any]:
    """The function's keyword arguments. Raises NotLanded when it cannot be called with them."""
    try:
        arguments = orjson.loads(request.body or b"{}")
        if not isinstance(arguments, dict):
            raise TypeError("its arguments are not a JSON object")
        if task.takes_context:
            arguments[CONTEXT] = _context(request, context)
        task.signature.bind(arguments)
    except (TypeError, ValueError) as error:
        why = f"task {task.name} cannot be called: {error}"
        raise NotLanded(why, settles_doubt=False) from error
    return arguments


@types.coroutine
def _rest(call: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """What `await call` would go on to do, had it come to wait for this (PEP 380)."""
    while True:
        try:
            sent = yield waits_for
        except GeneratorExit:
            call.close()
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the function's to handle
            resume = partial(call.throw, error)
        else:
            resume = partial(call.send, sent)
        try:
            waits_for = resume()
        except StopIteration as ended:
            return ended.value


def _context(request: FrozenRequest, context: AttemptContext) -> TaskContext:
    return TaskContext(
        run_id=context.run_id, step_id=context.step_id, attempt=context.attempt,
        idempotency_key=request.key, direction=context.direction, tenant=context.tenant,
    )  # fmt: skip


def _body(task: Task, result: Any) -> bytes:
    """The result as JSON. A result that is none leaves the effect, if there is one, in doubt."""
    try:
        body = b"{}" if result is None else orjson.dumps(result)
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise _unreadable(task, f"returned what is not JSON: {error}") from error
    if not body.startswith(b"{"):
        raise _unreadable(task, f"returned {type(result).__name__}, not a JSON object")
    return body


def _failed(task: Task, why: str) -> StepError:
    reason = f"task {task.name}: {why}"
    if task.effects is Effects.NONE:
        return NotLanded(reason, retryable=True)
    return InDoubt(reason)


def _after_calls(task: Task, error: NotLanded, landed: str) -> StepError:
    """What a failure is worth of a function whose calls have effects.

    It says nothing about earlier attempts: what those had sent is not repeated where the function
    went another way.
    """
    if landed:
        reason = f"{error.reason} (after {landed}, which may have landed)"
        return InDoubt(reason, retry_after_seconds=error.retry_after_seconds)
    return NotLanded(
        error.reason, retryable=error.retryable, settles_doubt=False,
        retry_after_seconds=error.retry_after_seconds,
    )  # fmt: skip


def _unreadable(task: Task, why: str) -> StepError:
    """The next attempt would end the same way."""
    reason = f"task {task.name} {why}"
    return NotLanded(reason) if task.effects is Effects.NONE else InDoubt(reason)
