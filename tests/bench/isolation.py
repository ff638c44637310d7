"""What isolated tasks cost, and what becomes of hostile ones while neighbours go on.

Starts: how long a call takes whose process has to be started, one whose process stands ready, and
the same function in a thread of the worker. Then each hostile task in turn, beside a neighbour that
is called all the time. `--json` prints one object; exit code 1 when a hostile task got through.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.definitions.tasks import TaskRegistry, task, task_of
from orchestrator.engine.isolation.crew import IsolatedTasks
from orchestrator.engine.isolation.sandbox import Bounds, Sandbox
from orchestrator.engine.tasks import TaskTransport
from orchestrator.errors import StepError
from orchestrator.ports import AttemptContext
from tests.integration.isolation import hostile

CALLS = 40
BOUNDS = Bounds(memory_bytes=512 << 20, cpu_seconds=2, file_bytes=8 << 20)
CONTEXT = AttemptContext(
    run_id="bench", step_id="s", attempt=1, direction=Direction.FORWARD, tenant="bench"
)


@task(effects="none")
def plain(a: int, b: int) -> dict[str, int]:
    return {"sum": a + b}


@task(effects="none")
async def neighbour() -> dict[str, int]:
    await asyncio.sleep(0)
    return {}


Got = Callable[[dict[str, Any]], bool]
"""Whether a result says that nothing was had."""
_HOSTILE: dict[str, tuple[Callable[..., Any], dict[str, Any], Got]] = {
    "reads secrets": (
        hostile.look_around, {"readable": ["/etc/shadow", str(Path.cwd())], "writable": ["/new"]},
        lambda got: not got["writable"] and "/etc/shadow" not in got["readable"],
    ),
    "opens sockets": (
        hostile.connect, {"addresses": [["127.0.0.1", 6379], ["192.0.2.1", 80]], "unix": []},
        lambda got: "done" not in got["said"],
    ),
    "forks": (hostile.fork_many, {}, lambda got: got["fork"] == 0),
    "asks the kernel": (hostile.ask_kernel, {}, lambda got: set(got.values()) == {-1}),
    "takes 4 GiB": (hostile.take_memory, {}, lambda _: False),
    "writes a huge file": (hostile.write_much, {}, lambda got: got["one"] <= BOUNDS.file_bytes),
    "loops for ever": (hostile.spin, {}, lambda _: False),
    "loops, deaf to signals": (hostile.loop, {}, lambda _: False),
    "floods its output": (hostile.flood, {"descriptor": 3}, lambda _: False),
    "crashes": (hostile.crash, {}, lambda _: False),
}  # fmt: skip
"""Task, arguments, and whether its result is harmless. Those that end in a failure have none."""


class Bench:
    """One transport as a worker has it."""

    def __init__(self, spares: int) -> None:
        sandbox = Sandbox(BOUNDS, readable=[Path(hostile.__file__)])
        crew = IsolatedTasks(sandbox, at_once=2, spares=spares, most_answer_bytes=100_000)
        began = time.perf_counter()
        crew.rehearse()
        self.first_seconds = time.perf_counter() - began
        found = [task_of(value) for value in (*vars(hostile).values(), plain, neighbour)]
        registry = TaskRegistry(item for item in found if item is not None)
        self.transport = TaskTransport(registry, threads=2, isolated=crew)

    async def call(self, function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
        """Its result."""
        made = task_of(function)
        assert made is not None
        request = FrozenRequest(
            method="TASK", target=made.name, body=json.dumps(arguments).encode(), key="k"
        )
        answer = await self.transport.send("tasks", request, CONTEXT, timeout_seconds=8)
        found: dict[str, Any] = json.loads(answer.body)
        return found


async def timed(bench: Bench, function: Callable[..., Any], calls: int, pause: float) -> Any:
    """Milliseconds of calls, one after the other, with time in between to make ready."""
    taken = []
    for number in range(calls):
        await asyncio.sleep(pause)
        began = time.perf_counter()
        await bench.call(function, a=number, b=1)
        taken.append((time.perf_counter() - began) * 1000)
    taken.sort()
    return {
        "p50_ms": round(statistics.median(taken), 2),
        "p95_ms": round(taken[int(len(taken) * 0.95)], 2),
    }


async def attacked(bench: Bench, name: str) -> dict[str, Any]:
    """What became of one hostile task, and how often its neighbour was called meanwhile."""
    function, arguments, harmless = _HOSTILE[name]
    began = time.perf_counter()
    attack = asyncio.create_task(bench.call(function, **arguments))
    calls = 0
    while not attack.done():
        await bench.call(neighbour)
        await asyncio.sleep(0.001)
        calls += 1
    seconds = round(time.perf_counter() - began, 3)
    try:
        got = await attack
    except StepError as error:
        return {"stopped": True, "how": error.reason, "seconds": seconds, "neighbour_calls": calls}
    said = "it got nothing" if harmless(got) else f"it got {got}"
    return {
        "stopped": harmless(got), "how": said, "seconds": seconds, "neighbour_calls": calls,
    }  # fmt: skip


async def measure(calls: int) -> dict[str, Any]:
    """All of it."""
    cold, warm = Bench(0), Bench(1)
    try:
        return {
            "rehearsal_ms": round(cold.first_seconds * 1000, 1),
            "started_for_the_call": await timed(cold, hostile.add, calls, 0),
            "stands_ready": await timed(warm, hostile.add, calls, 0.3),
            "thread_of_the_worker": await timed(cold, plain, calls, 0),
            "hostile": {name: await attacked(cold, name) for name in _HOSTILE},
        }
    finally:
        await cold.transport.aclose()
        await warm.transport.aclose()


def show(figures: dict[str, Any]) -> None:
    """For people."""
    console = Console(soft_wrap=True)
    for name in ("started_for_the_call", "stands_ready", "thread_of_the_worker"):
        times = figures[name]
        console.print(
            f"{name.replace('_', ' '):24} p50 {times['p50_ms']} ms, p95 {times['p95_ms']} ms"
        )
    for name, fate in figures["hostile"].items():
        mark = "stopped" if fate["stopped"] else "NOT STOPPED"
        console.print(
            f"{name:24} {mark} after {fate['seconds']} s ({fate['how']}); "
            f"the neighbour was called {fate['neighbour_calls']} times"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="orchestrator bench isolation", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--calls", type=int, default=CALLS, help="of each kind")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.calls))
    if options.json:
        print(json.dumps(figures))
    else:
        show(figures)
    sys.exit(not all(fate["stopped"] for fate in figures["hostile"].values()))


if __name__ == "__main__":
    main()
