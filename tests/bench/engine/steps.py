"""The workflows that are measured: steps that do nothing, and the same that are refused at the end.

Workers import this module (setting `task_modules`).
"""

from __future__ import annotations

from orchestrator import NotLanded, Workflow, step, task

MODULE = "tests.bench.engine.steps"
NOOP, FAIL = "bench-noop", "bench-fail"


@task(effects="keyed")
async def work(number: int) -> None:
    """Nothing at all."""


@task(effects="keyed")
async def undo(number: int) -> None:
    """Nothing at all."""


@task(effects="keyed")
async def refuse(number: int) -> None:
    """Nothing, and says so: final, nothing to retry."""
    raise NotLanded("refused")


def noop(steps: int) -> Workflow:
    """So many steps, each with a compensation that is not needed."""
    made = Workflow(NOOP, inputs={"number": int})
    for place in range(1, steps + 1):
        made = made.step(step(work, id=f"s{place}", compensate=undo))
    return made


def fail(steps: int) -> Workflow:
    """The same whose last step is refused, so that all before it are undone."""
    made = Workflow(FAIL, inputs={"number": int})
    for place in range(1, steps):
        made = made.step(step(work, id=f"s{place}", compensate=undo))
    return made.step(step(refuse, id=f"s{steps}", no_compensation="never has an effect"))
