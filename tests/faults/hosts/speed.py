"""How many runs a second so many worker hosts do, and what CPU they take for each.

`BUSY`: steps that call nothing, so that processors are what there is too little of; all hosts of
one machine, with database and broker, share its cores. `RESTING`: steps that take as long as an
API's answer, in workers that hold few runs at once, so that places are, as on hosts that have
processors enough. Each worker is given as many runs then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import Workflow
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
IDLE_SECONDS = 8.0  # in which workers have nothing to do but what is done each second


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is measured."""

    workflow: Workflow
    places: int | None = None  # runs that a worker holds at once; None: the site's
    of_each: bool = False  # runs are those of one worker, not of all


BUSY = Load(workflow=steps.noop(STEPS))
RESTING = Load(workflow=steps.resting(STEPS), places=50, of_each=True)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one number of workers."""

    load: str  # its workflow
    workers: int
    runs: int
    seconds: float
    cpu_seconds: float  # of all workers
    idle_cores: float  # of all workers, that have nothing to do

    @property
    def cpu_of_a_run(self) -> float:
        """Seconds, without what workers use whether there are runs or not: that is the same for few
        runs as for many.
        """
        return (self.cpu_seconds - self.idle_cores * self.seconds) / self.runs

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "load": self.load, "workers": self.workers,
            "runs_per_second": round(self.runs / self.seconds, 1),
            "worker_cpu_ms_per_run": round(1000 * self.cpu_of_a_run, 3),
            "with_that_of_idle_workers": round(1000 * self.cpu_seconds / self.runs, 3),
            "cores_of_workers": round(self.cpu_seconds / self.seconds, 2),
            "cores_of_idle_workers": round(self.idle_cores, 3),
        }  # fmt: skip


def measure(
    site: Site, load: Load, workers: Sequence[int], *, runs: int, rounds: int,
    say: Callable[[str], None],
) -> list[Speed]:  # fmt: skip
    """Each number of workers in turn.

    In so many rounds, since what a machine does beside changes; of each number the middle one.
    """
    asyncio.run(_publish(site, load))
    found = [_of(site, load, number, runs, say) for _ in range(rounds) for number in workers]
    return [_middle([each for each in found if each.workers == number]) for number in workers]


def _middle(speeds: Sequence[Speed]) -> Speed:
    return sorted(speeds, key=lambda each: each.seconds)[len(speeds) // 2]


async def _publish(site: Site, load: Load) -> None:
    store = open_store(site.settings.database, pool_size=1)
    try:
        await store.publish(plan_of(load.workflow), document="bench", by="bench")
    finally:
        await store.close()


def _of(site: Site, load: Load, number: int, runs: int, say: Callable[[str], None]) -> Speed:
    hosts, total = site.hosts(number), runs * number if load.of_each else runs
    for host in hosts:
        site.network.mend(host.name)
        site.crew.start(host, places=load.places)
    site.wait_for(*hosts)
    _do(site, load, WARM_RUNS)
    idle = _idle_cores(site)
    before, began = site.crew.cpu_seconds(), time.monotonic()
    _do(site, load, total)
    seconds, used = time.monotonic() - began, site.crew.cpu_seconds() - before
    for host in hosts:
        site.crew.end_warm(host)
    speed = Speed(
        load=load.workflow.name, workers=number, runs=total, seconds=seconds, cpu_seconds=used,
        idle_cores=idle,
    )  # fmt: skip
    say(f"{number} worker(s): {speed.to_json()}")
    return speed


def _idle_cores(site: Site) -> float:
    before = site.crew.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    return (site.crew.cpu_seconds() - before) / IDLE_SECONDS


def _do(site: Site, load: Load, runs: int) -> None:
    """Submit them at once, and wait until all have settled. Raises TimeoutError."""
    asyncio.run(_submit(site, load, runs))
    end = time.monotonic() + PATIENCE_SECONDS
    while site.tables.unsettled():
        if time.monotonic() > end:
            raise TimeoutError(f"{runs} runs: not settled within {PATIENCE_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


async def _submit(site: Site, load: Load, runs: int) -> None:
    wanted = [
        Submission(workflow=load.workflow.name, inputs={"number": number}, actor="bench")
        for number in range(runs)
    ]
    async with open_services(site.settings) as services:
        await services.submitter.submit(wanted)
