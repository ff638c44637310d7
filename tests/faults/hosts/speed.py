"""How many runs a second so many worker hosts do, and what CPU they take for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.definitions.builder import plan_of
from orchestrator.service.submitting import Submission
from orchestrator.store import open_store
from orchestrator.wiring_services import open_services
from tests.bench.engine import steps
from tests.faults.hosts.site import Site

STEPS = 5
WARM_RUNS = 200
PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one number of workers."""

    workers: int
    runs: int
    seconds: float
    cpu_seconds: float  # of all workers

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "workers": self.workers, "runs_per_second": round(self.runs / self.seconds, 1),
            "worker_cpu_ms_per_run": round(1000 * self.cpu_seconds / self.runs, 3),
            "cores_of_workers": round(self.cpu_seconds / self.seconds, 2),
        }  # fmt: skip


def measure(
    site: Site, workers: Sequence[int], *, runs: int, rounds: int, say: Callable[[str], None]
) -> list[Speed]:
    """Each number of workers in turn, with as many runs; steps that call nothing.

    In so many rounds, since what a machine does beside changes; of each number the middle one.
    """
    asyncio.run(_publish(site))
    found = [_of(site, number, runs, say) for _ in range(rounds) for number in workers]
    return [_middle([each for each in found if each.workers == number]) for number in workers]


def _middle(speeds: Sequence[Speed]) -> Speed:
    return sorted(speeds, key=lambda each: each.seconds)[len(speeds) // 2]


async def _publish(site: Site) -> None:
    store = open_store(site.settings.database, pool_size=1)
    try:
        await store.publish(plan_of(steps.noop(STEPS)), document="bench", by="bench")
    finally:
        await store.close()


def _of(site: Site, number: int, runs: int, say: Callable[[str], None]) -> Speed:
    hosts = site.hosts(number)
    for host in hosts:
        site.network.mend(host.name)
        site.crew.start(host)
    site.wait_for(*hosts)
    _do(site, WARM_RUNS)
    before, began = site.crew.cpu_seconds(), time.monotonic()
    _do(site, runs)
    seconds, used = time.monotonic() - began, site.crew.cpu_seconds() - before
    for host in hosts:
        site.crew.end_warm(host)
    speed = Speed(workers=number, runs=runs, seconds=seconds, cpu_seconds=used)
    say(f"{number} worker(s): {speed.to_json()}")
    return speed


def _do(site: Site, runs: int) -> None:
    """Submit them at once, and wait until all have settled. Raises TimeoutError."""
    asyncio.run(_submit(site, runs))
    end = time.monotonic() + PATIENCE_SECONDS
    while site.tables.unsettled():
        if time.monotonic() > end:
            raise TimeoutError(f"{runs} runs: not settled within {PATIENCE_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


async def _submit(site: Site, runs: int) -> None:
    wanted = [
        Submission(workflow=steps.NOOP, inputs={"number": number}, actor="bench")
        for number in range(runs)
    ]
    async with open_services(site.settings) as services:
        await services.submitter.submit(wanted)
