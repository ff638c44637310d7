"""A worker process is killed in the middle of a block: others go on, and all is undone once."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from orchestrator.core.states import FINAL, RunStatus
from orchestrator.definitions.builder import plan_of
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.ports import RunFilter
from orchestrator.service.submitting import Submission
from orchestrator.settings import load_settings
from orchestrator.store import migrate, open_store
from orchestrator.wiring_services import Services, open_services
from tests.faults.forked_tasks import MODULE, workflow

END_SECONDS = 120.0


@pytest.mark.broker
@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_worker_dies_in_a_block(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path, task_modules=(MODULE,))
    await migrate(settings.database)
    store = open_store(settings.database)
    await store.publish(plan_of(workflow()), document="forked", by="test")
    await store.close()
    env = {
        "ORCHESTRATOR_STATE_DIR": str(tmp_path),
        "ORCHESTRATOR_TASK_MODULES": json.dumps([MODULE]),
    }
    ledger = tmp_path / "ledger"
    options = UpOptions(state_dir=tmp_path, workers=2, flower=False, env=env)
    with Supervisor(options) as supervisor:
        before = {child.pid for child in supervisor.workers}
        async with open_services(settings) as services:
            run_id = await _ended(supervisor, services, ledger)
            assert {child.pid for child in supervisor.workers} != before, "nobody was killed"
            run = await services.runs.get(run_id)
            assert (run.status, run.cause) == (RunStatus.COMPENSATED, "nobody wants it")
            store = open_store(settings.database)
            parts = await store.runs(RunFilter(parent=run_id, limit=None))
            await store.close()
    assert {part.branch: part.status for part in parts} == {
        "fan/left": RunStatus.SUCCEEDED, "fan/right": RunStatus.SUCCEEDED,
        "fan": RunStatus.COMPENSATED,
    }  # fmt: skip
    done = [line.split()[0] for line in ledger.read_text().splitlines()]
    assert (done[0], sorted(done[1:3])) == ("begin", ["left", "right"])
    # The killed attempt was recorded by whoever took the branch over, after all of the other one.
    assert done[3:] == ["left.undo", "right.undo", "begin.undo"]


async def _ended(supervisor: Supervisor, services: Services, ledger: Path) -> str:
    wanted = Submission(
        workflow="forked", inputs={"ledger": str(ledger)}, actor="test", idempotency_key="forked"
    )
    run_id = (await services.submitter.submit([wanted]))[0].run_id
    end = time.monotonic() + END_SECONDS
    while (run := await services.runs.get(run_id)).status not in FINAL:
        assert time.monotonic() < end, f"it is still {run.status}: {run.cause}"
        supervisor.watch()
        await asyncio.sleep(0.1)
    return run_id
