"""A worker with its broker and the services, for one configuration folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from orchestrator.core.states import SETTLED
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.ports import RunFilter, RunRecord
from orchestrator.service.submitting import Submission
from orchestrator.settings import Settings, load_settings
from orchestrator.wiring_services import Services, open_services

ROOT = Path(__file__).parents[3]
SETTLE_SECONDS = 60.0


@asynccontextmanager
async def stack(
    state_dir: Path, config_dir: Path, documents: Sequence[str], environment: Mapping[str, str]
) -> AsyncIterator[Services]:
    """Broker, one worker and services are up; the documents of `workflows/` are published."""
    with _up(state_dir, config_dir, environment) as settings:
        async with open_services(settings) as services:
            for document in documents:
                await services.workflows.publish(config_dir / "workflows" / document, by="test")
            yield services


@contextmanager
def _up(state_dir: Path, config_dir: Path, environment: Mapping[str, str]) -> Iterator[Settings]:
    own = {"state_dir": state_dir, "config_dir": config_dir}
    env = {f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in own.items()}
    options = UpOptions(
        state_dir=state_dir,
        workers=1,
        flower=False,
        env={**env, "PYTHONPATH": str(ROOT), **environment},
    )
    with Supervisor(options) as supervisor:
        yield load_settings(**own, broker_url=supervisor.broker_url)


async def settle(services: Services, submissions: Sequence[Submission]) -> dict[str, RunRecord]:
    """Submit, wait until all have settled; the runs by idempotency key."""
    accepted = await services.submitter.submit(submissions)
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        counts = await services.runs.count_by_status()
        if sum(counts.get(status, 0) for status in SETTLED) >= len(accepted):
            break
        await asyncio.sleep(0.1)
    runs = await services.runs.list(RunFilter(limit=len(accepted)))
    unsettled = [
        (run.idempotency_key, run.status, run.cause) for run in runs if run.status not in SETTLED
    ]
    assert not unsettled, unsettled
    return {run.idempotency_key: run for run in runs}
