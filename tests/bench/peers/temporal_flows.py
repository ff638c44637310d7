"""The workflows and activities of Temporal's workers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from tests.bench.peers import names, steps

_LONGEST = timedelta(seconds=30)
Activity = Callable[[int], Coroutine[Any, Any, None]]


@activity.defn
async def work(number: int) -> None:
    """Nothing at all."""


@activity.defn
async def undo(number: int) -> None:
    """Nothing at all."""


@activity.defn
async def call(number: int) -> None:
    """One POST to the stub."""
    await steps.call(number)


@activity.defn
async def refuse(number: int) -> None:
    """As the last step: final, nothing to retry."""
    raise ApplicationError(names.REFUSED, non_retryable=True)


async def _do(step: Activity, number: int) -> None:
    await workflow.execute_activity(step, number, start_to_close_timeout=_LONGEST)


@workflow.defn(name="noop")
class Noop:
    """Steps that do nothing."""

    @workflow.run
    async def run(self, number: int, count: int) -> None:
        """One run."""
        for _ in range(count):
            await _do(work, number)


@workflow.defn(name="calls")
class Calls:
    """Calls."""

    @workflow.run
    async def run(self, number: int, count: int) -> None:
        """One run."""
        for _ in range(count):
            await _do(call, number)


@workflow.defn(name="refused")
class RefusedSaga:
    """A saga as its samples write it: a list of undos, run in reverse on an error."""

    @workflow.run
    async def run(self, number: int, count: int) -> None:
        """One run."""
        undos: list[Activity] = []
        try:
            for _ in range(count - 1):
                undos.append(undo)
                await _do(work, number)
            await _do(refuse, number)
        except ActivityError as error:
            for undo_one in reversed(undos):
                await _do(undo_one, number)
            raise ApplicationError(names.refused(len(undos)), non_retryable=True) from error
