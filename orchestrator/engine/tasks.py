"""Calls Python step functions: `async def` on the loop, plain `def` in a bounded pool of threads."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.plan import Effects
from orchestrator.definitions.tasks import Task, TaskContext, TaskRegistry
from orchestrator.errors import InDoubt, NotLanded, StepError
from orchestrator.ports import AttemptContext

LONGEST_REASON = 500


class TaskTransport:
    """Implements Transport for the functions of one deployment."""

    def __init__(
        self, registry: TaskRegistry, *, threads: int, default_timeout_seconds: float = 60.0
    ) -> None:
        self._registry = registry
        self._default_timeout = default_timeout_seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="step")

    async def send(
        self,
        api: str,
        request: FrozenRequest,
        context: AttemptContext,
        *,
        timeout_seconds: float | None,
    ) -> Response:
        """Call the function that the request names; its result is the answer's JSON body.

        An exception that is neither NotLanded nor InDoubt counts as in doubt, unless the task's
        effects are `none`. A plain function that outlives its timeout goes on in its thread, so
        that is in doubt too.
        """
        item = self._registry.get(request.target)
        if item is None:
            reason = f"{request.target} is not registered in this worker"
            raise NotLanded(reason, retryable=True)
        begun = time.monotonic()
        limit = timeout_seconds or item.timeout_seconds or self._default_timeout
        try:
            result = await asyncio.wait_for(self._call(item, request, context), limit)
            body = _json_object(result)
        except StepError:
            raise
        except TimeoutError:
            raise _failed(item, f"no result within {limit:g} s") from None
        except Exception as error:  # noqa: BLE001 - whatever a step function raises
            raise _failed(item, f"{type(error).__name__}: {error}"[:LONGEST_REASON]) from error
        return Response(
            status=200, headers={"content-type": "application/json"}, body=body,
            seconds=time.monotonic() - begun,
        )  # fmt: skip

    async def aclose(self) -> None:
        """Begin no more calls; those in threads end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, item: Task, request: FrozenRequest, context: AttemptContext) -> Any:
        arguments = json.loads(request.body or b"{}")
        if item.takes_context:
            arguments["context"] = TaskContext(
                run_id=context.run_id, step_id=context.step_id, attempt=context.attempt,
                idempotency_key=request.key, direction=context.direction, tenant=context.tenant,
            )  # fmt: skip
        if item.is_async:
            return await item.function(**arguments)
        # The copied context carries the bound log fields into the thread.
        run = copy_context().run
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: run(item.function, **arguments)
        )


def _json_object(result: Any) -> bytes:
    if result is None:
        return b"null"
    if not isinstance(result, dict):
        raise TypeError(f"found {type(result).__name__}; wanted a JSON object or None")
    return json.dumps(result, ensure_ascii=False, allow_nan=False).encode()


def _failed(item: Task, reason: str) -> StepError:
    if item.effects is Effects.NONE:
        return NotLanded(reason, retryable=True)
    return InDoubt(reason)
