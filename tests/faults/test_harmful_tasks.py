"""Functions that block their worker's loop, take its memory, or kill worker after worker."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.definitions.builder import plan_of
from orchestrator.embedded.supervise import Supervisor
from orchestrator.ports import RunRecord
from orchestrator.service.submitting import Submission
from orchestrator.settings import load_settings
from orchestrator.store import migrate, open_store
from orchestrator.wiring_services import Services, open_services
from orchestrator.worker.canary import EXIT_CODE
from tests.faults.deadly_tasks import options_of
from tests.faults.harmful_tasks import MODULE, workflows
from tests.servers import other_servers

END_SECONDS = 90.0
MAX_CLAIMS = 2
ROOM_BYTES = 8 << 30  # of addresses, for a worker process
OWN = {
    "stuck_loop_seconds": 1.0, "heartbeat_seconds": 0.5, "dead_after_seconds": 2.0,
    "max_claims": MAX_CLAIMS,
}  # fmt: skip


@dataclass
class Deployment:
    """Two workers that are started again when they end."""

    supervisor: Supervisor
    services: Services
    mark: str
    numbers: int = 0

    async def submit(self, workflow: str) -> str:
        self.numbers += 1
        wanted = Submission(
            workflow=workflow, inputs={"mark": self.mark}, actor="test",
            idempotency_key=f"{workflow}-{self.numbers}",
        )  # fmt: skip
        return (await self.services.submitter.submit([wanted]))[0].run_id

    async def ended(self, run_ids: Iterable[str]) -> list[RunRecord]:
        """As they settled; workers are started again meanwhile."""
        end = time.monotonic() + END_SECONDS
        found = []
        for run_id in run_ids:
            while not (run := await self.services.runs.get(run_id)).settled_at:
                assert time.monotonic() < end, f"{run.workflow} is still {run.status}"
                self.supervisor.watch()
                await asyncio.sleep(0.05)
            found.append(run)
        return found


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_no_function_takes_more_than_its_own_run_with_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = stack.enter_context(other_servers())
        settings = load_settings(state_dir=tmp_path, task_modules=(MODULE,), **OWN, **servers)
        await _publish(settings.session_database)
        options = options_of(settings, servers, **OWN)
        supervisor = stack.enter_context(Supervisor(options))
        async with open_services(settings) as services:
            deployment = Deployment(supervisor, services, str(tmp_path / "mark"))
            await _memory_that_is_not_there_fails_one_step(deployment)
            await _a_loop_that_stands_still_is_given_up(deployment)
            await _who_kills_worker_after_worker_is_stopped(deployment)


async def _publish(database: str) -> None:
    await migrate(database)
    store = open_store(database)
    try:
        for workflow in workflows():
            plan = plan_of(workflow)
            await store.publish(plan, document=plan.workflow, by="test")
    finally:
        await store.close()


async def _a_loop_that_stands_still_is_given_up(deployment: Deployment) -> None:
    runs = [await deployment.submit(name) for name in ("work", "stand_still", "work", "work")]
    codes: set[int | None] = set()
    settled = asyncio.create_task(deployment.ended(runs))
    while not settled.done() or EXIT_CODE not in codes:
        codes |= {child.exit_code for child in deployment.supervisor.workers}
        deployment.supervisor.watch()
        await asyncio.sleep(0.02)
    assert {run.status for run in settled.result()} == {RunStatus.SUCCEEDED}


async def _memory_that_is_not_there_fails_one_step(deployment: Deployment) -> None:
    for child in deployment.supervisor.workers:
        resource.prlimit(child.pid, resource.RLIMIT_AS, (ROOM_BYTES, ROOM_BYTES))
    pids = [child.pid for child in deployment.supervisor.workers]
    eater, other = await deployment.ended(
        [await deployment.submit("eat"), await deployment.submit("work")]
    )
    assert (eater.status, other.status) == (RunStatus.COMPENSATED, RunStatus.SUCCEEDED)
    assert pids == [child.pid for child in deployment.supervisor.workers]


async def _who_kills_worker_after_worker_is_stopped(deployment: Deployment) -> None:
    (killer,) = await deployment.ended([await deployment.submit("be_killed")])
    assert killer.status is RunStatus.ESCALATED
    audit = await deployment.services.runs.audit(killer.id)
    assert sum(record.kind == "run.recovered" for record in audit) == MAX_CLAIMS
    (other,) = await deployment.ended([await deployment.submit("work")])
    assert other.status is RunStatus.SUCCEEDED
