"""What a run costs in the memory store: `python -m tests.faults.memory.measure [runs]`.

One run: accept, claim, ten writes (begin and outcome of five steps, each with its audit record and
every second one with an attempt), the last of which releases. Prints microseconds of CPU for each
run; what is written is made beforehand.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from orchestrator.core.saga import Saga, StepState
from orchestrator.core.states import RunStatus
from orchestrator.ports import ClaimedRun, NewRun, RunWrite
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.store.making import attempt, audit, begun, landed, plan, worker

STEPS, BATCH = 5, 100


class Ticking:
    """A clock that moves a little whenever somebody looks at it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=10)
        return self.now


def writes_of(run: ClaimedRun, fresh: Saga) -> list[RunWrite]:
    """Ten writes of five steps."""
    made: list[RunWrite] = []
    states = list(fresh.steps)
    for step in range(STEPS):
        for link in (begun(step), landed(step, sequence=step + 1)):
            states[step] = StepState(forward=link.link)
            last = len(made) == 2 * STEPS - 1
            status = RunStatus.SUCCEEDED if last else RunStatus.RUNNING
            saga = replace(fresh, steps=tuple(states), status=status)
            ended = link.finished_at is not None
            made.append(
                RunWrite(
                    run_id=run.run.id, owner="w", epoch=1, saga=saga, links=(link,),
                    attempts=(attempt(step),) if ended else (), progressed=ended, release=last,
                    audit=(audit(len(made) + 2, step=step, attempt=1, events=[{"kind": "e"}]),),
                )
            )  # fmt: skip
    return made


async def measure(runs: int) -> dict[str, float]:
    """Microseconds of CPU for each run, by part."""
    store = MemoryStore(MemoryDatabase(Ticking()))
    version, _ = await store.publish(plan(steps=STEPS), document="", by="m")
    await store.register(worker("w"))
    given = [
        NewRun(
            id=f"{n:08x}-0000-7000-8000-000000000000", workflow_id=version.id, workflow="order",
            version=1, inputs={"item": n}, inputs_digest="d", idempotency_key=str(n),
        )
        for n in range(runs)
    ]  # fmt: skip
    spent = {"accept": 0.0, "claim": 0.0, "record": 0.0}
    fresh = Saga.new(version.plan)
    for begin in range(0, runs, BATCH):
        some = given[begin : begin + BATCH]
        with timed(spent, "accept"):
            await store.accept(some)
        claimed: list[ClaimedRun] = []
        with timed(spent, "claim"):
            for each in some:
                claimed += await store.claim([(each.id, 0)], owner="w")
        writes = [write for run in claimed for write in writes_of(run, fresh)]
        with timed(spent, "record"):
            for write in writes:
                await store.record([write])
    assert store.database.unsettled == 0
    return {part: seconds / runs * 1e6 for part, seconds in spent.items()}


@contextmanager
def timed(spent: dict[str, float], part: str) -> Iterator[None]:
    """Add the CPU time of what is inside."""
    since = time.process_time()
    yield
    spent[part] += time.process_time() - since


if __name__ == "__main__":
    found = asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
    for name, micros in found.items():
        print(f"{name:8}{micros:8.1f} µs")
    print(f"{'sum':8}{sum(found.values()):8.1f} µs")
