"""The workflows that are measured: steps that do nothing, and the same that are refused at the end.

Workers import this module (setting `task_modules`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator import NotLanded, Workflow, step, task

MODULE = "tests.bench.engine.steps"
NOOP, FAIL, RESTING = "bench-noop", "bench-fail", "bench-resting"
REST_SECONDS = 0.2


@task(effects="keyed")
async def work(number: int) -> None:
    """Nothing at all."""


@task(effects="keyed")
async def rest(number: int) -> None:
    """As long as an API takes for its answer."""
    await asyncio.sleep(REST_SECONDS)


@task(effects="keyed")
async def undo(number: int) -> None:
    """Nothing at all."""


@task(effects="keyed")
async def refuse(number: int) -> None:
    """Nothing, and says so: final, nothing to retry."""
    raise NotLanded("refused")


def noop(steps: int) -> Workflow:
    """So many steps, each with a compensation that is not needed."""
    return _all_of(work, NOOP, steps)


def resting(steps: int) -> Workflow:
    """The same whose steps take a while and nothing of the processor."""
    return _all_of(rest, RESTING, steps)


def fail(steps: int) -> Workflow:
    """The same whose last step is refused, so that all before it are undone."""
    made = Workflow(FAIL, inputs={"number": int})
    for place in range(1, steps):
        made = made.step(step(work, id=f"s{place}", compensate=undo))
    return made.step(step(refuse, id=f"s{steps}", no_compensation="never has an effect"))


def _all_of(function: Callable[[int], Awaitable[None]], name: str, steps: int) -> Workflow:
    made = Workflow(name, inputs={"number": int})
    for place in range(1, steps + 1):
        made = made.step(step(function, id=f"s{place}", compensate=undo))
    return made
