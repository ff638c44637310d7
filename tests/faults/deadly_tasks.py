"""Runs of functions, one of which kills its worker: played to their end, and their own ledger."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator import TaskContext, Workflow
from orchestrator.core.states import FINAL
from orchestrator.definitions.authoring import begun_by
from orchestrator.definitions.builder import plan_of
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.service.submitting import Submission
from orchestrator.settings import load_settings
from orchestrator.store import migrate, open_store
from orchestrator.store.store import SqlStore
from orchestrator.wiring_services import Services, open_services

END_SECONDS = 120.0


def write(ledger: str, name: str, context: TaskContext) -> bool:
    """Whether the line of this call is new: it is the same for all its attempts."""
    line = f"{name} {context.idempotency_key}\n"
    path = Path(ledger)
    if path.exists() and line in path.read_text():
        return False
    with path.open("a") as file:
        file.write(line)
    return True


def lines(folder: Path) -> list[list[str]]:
    """What was written, word by word, without the keys."""
    return [line.split()[:-1] for line in (folder / "ledger").read_text().splitlines()]


@asynccontextmanager
async def ended(
    folder: Path, module: str, workflow: Workflow
) -> AsyncIterator[tuple[Services, SqlStore, str]]:
    """A run of it that has ended with two workers, one of which was killed; its id.

    Its input `ledger` is a file of the folder. Fails where nobody was killed.
    """
    settings = load_settings(state_dir=folder, task_modules=(module,))
    await migrate(settings.database)
    store = open_store(settings.database)
    for each in (*begun_by(workflow), workflow):
        await store.publish(plan_of(each), document=workflow.name, by="test")
    env = {
        "ORCHESTRATOR_STATE_DIR": str(folder),
        "ORCHESTRATOR_TASK_MODULES": json.dumps([module]),
    }
    options = UpOptions(state_dir=folder, workers=2, flower=False, env=env)
    with Supervisor(options) as supervisor:
        before = {child.pid for child in supervisor.workers}
        async with open_services(settings) as services:
            inputs = {"ledger": str(folder / "ledger")}
            wanted = Submission(
                workflow=workflow.name, inputs=inputs, actor="test", idempotency_key=workflow.name
            )
            run_id = (await services.submitter.submit([wanted]))[0].run_id
            await _until_final(supervisor, services, run_id)
            assert {child.pid for child in supervisor.workers} != before, "nobody was killed"
            yield services, store, run_id
    await store.close()


async def _until_final(supervisor: Supervisor, services: Services, run_id: str) -> None:
    end = time.monotonic() + END_SECONDS
    while (run := await services.runs.get(run_id)).status not in FINAL:
        assert time.monotonic() < end, f"it is still {run.status}: {run.cause}"
        supervisor.watch()
        await asyncio.sleep(0.1)
