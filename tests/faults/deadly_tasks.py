"""Runs of functions, one of which kills its worker: played to their end, and their own ledger."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator import TaskContext, Workflow
from orchestrator.core.states import FINAL
from orchestrator.definitions.authoring import begun_by
from orchestrator.definitions.builder import plan_of
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.service.submitting import Submission
from orchestrator.settings import Settings, load_settings
from orchestrator.store import migrate, open_store
from orchestrator.store.store import SqlStore
from orchestrator.wiring_services import Services, open_services
from tests.servers import as_environment, other_servers

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
    with other_servers() as servers:
        settings = load_settings(state_dir=folder, task_modules=(module,), **servers)
        await migrate(settings.session_database)
        store = open_store(settings.session_database)
        for each in (*begun_by(workflow), workflow):
            await store.publish(plan_of(each), document=workflow.name, by="test")
        with Supervisor(options_of(settings, servers)) as supervisor:
            before = {child.pid for child in supervisor.workers}
            async with open_services(settings) as services:
                wanted = Submission(
                    workflow=workflow.name, inputs={"ledger": str(folder / "ledger")},
                    actor="test", idempotency_key=workflow.name,
                )  # fmt: skip
                run_id = (await services.submitter.submit([wanted]))[0].run_id
                await _until_final(supervisor, services, run_id)
                assert {child.pid for child in supervisor.workers} != before, "nobody was killed"
                yield services, store, run_id
        await store.close()


def options_of(settings: Settings, servers: Mapping[str, str], **more: object) -> UpOptions:
    """Two workers on these servers, and what else their settings say."""
    own = {
        "ORCHESTRATOR_STATE_DIR": str(settings.state_dir),
        "ORCHESTRATOR_TASK_MODULES": json.dumps(settings.task_modules),
        **as_environment({**servers, **{name: str(value) for name, value in more.items()}}),
    }
    return UpOptions(
        state_dir=settings.state_dir, workers=2, broker_url=settings.broker_url, flower=False,
        env=own,
    )  # fmt: skip


async def _until_final(supervisor: Supervisor, services: Services, run_id: str) -> None:
    end = time.monotonic() + END_SECONDS
    while (run := await services.runs.get(run_id)).status not in FINAL:
        assert time.monotonic() < end, f"it is still {run.status}: {run.cause}"
        supervisor.watch()
        await asyncio.sleep(0.1)
