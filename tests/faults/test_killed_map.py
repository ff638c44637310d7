"""A worker process is killed in the middle of a map: others go on, each item is done once, and all
of it undone in reverse."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from orchestrator.core.states import FINAL, RunStatus
from orchestrator.definitions.authoring import begun_by
from orchestrator.definitions.builder import plan_of
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.service.submitting import Submission
from orchestrator.settings import load_settings
from orchestrator.store import migrate, open_store
from orchestrator.wiring_services import Services, open_services
from tests.faults.mapped_tasks import ITEMS, MODULE, workflow

END_SECONDS = 120.0


@pytest.mark.broker
@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_worker_dies_in_a_map(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path, task_modules=(MODULE,))
    await migrate(settings.database)
    store = open_store(settings.database)
    for each in (*begun_by(workflow()), workflow()):
        await store.publish(plan_of(each), document="mapped", by="test")
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
            done, _ = await services.runs.maps(run_id)
    items = await store.map_items(done.id, limit=ITEMS)
    await store.close()
    assert (done.counts.succeeded, done.counts.failed) == (ITEMS, 0)
    lines = [line.split()[:2] for line in ledger.read_text().splitlines()]
    booked = [int(number) for what, number in lines if what == "book"]
    cancelled = [int(number) for what, number in lines if what == "cancel"]
    assert sorted(booked) == list(range(ITEMS))
    assert cancelled == [each.index for each in sorted(items, key=lambda item: -(item.place or 0))]


async def _ended(supervisor: Supervisor, services: Services, ledger: Path) -> str:
    wanted = Submission(
        workflow="mapped", inputs={"ledger": str(ledger)}, actor="test", idempotency_key="mapped"
    )
    run_id = (await services.submitter.submit([wanted]))[0].run_id
    end = time.monotonic() + END_SECONDS
    while (run := await services.runs.get(run_id)).status not in FINAL:
        assert time.monotonic() < end, f"it is still {run.status}: {run.cause}"
        supervisor.watch()
        await asyncio.sleep(0.1)
    return run_id
