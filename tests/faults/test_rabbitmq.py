"""RabbitMQ, with quorum queues, as the broker: there and back, purged, killed and started again.

Where it is not installed (`apt-get install rabbitmq-server`) this is left out.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kombu import Connection

from orchestrator.definitions.builder import plan_of
from orchestrator.embedded.process import stop_all
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.embedded.valkey import start_valkey
from orchestrator.service.submitting import Submission
from orchestrator.settings import Settings, load_settings
from orchestrator.store import migrate, open_store
from orchestrator.wiring_services import Services, open_services
from orchestrator.worker.options import task_queue_names
from tests.bench.engine import steps
from tests.faults.chaos.stage import new_folder, remove
from tests.faults.rabbitmq import RabbitMq, is_there

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not is_there(), reason="rabbitmq-server is not installed"),
]

RUNS = 20
END_SECONDS = 90.0


@pytest.fixture
def folder() -> Iterator[Path]:
    made = new_folder()
    yield made
    remove(made)


async def test_runs_go_there_and_back_through_it_whatever_it_loses(folder: Path) -> None:
    with ExitStack() as stack:
        broker = RabbitMq(folder, log_path=folder / "rabbitmq.log")
        stack.callback(broker.stop)
        broker.start()
        gate = start_valkey(folder, log_path=folder / "valkey.log")
        stack.callback(stop_all, [gate])
        # Every step is a message.
        own = {"broker_url": broker.child.spec.address, "gate_url": gate.spec.address,
               "state_dir": str(folder), "max_inline_steps": 0}  # fmt: skip
        settings = load_settings(**own, task_modules=(steps.MODULE,))
        await _publish(settings)
        env = {f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in own.items()}
        env["ORCHESTRATOR_TASK_MODULES"] = json.dumps([steps.MODULE])
        options = UpOptions(
            state_dir=folder, workers=2, broker_url=settings.broker_url, flower=False, env=env
        )
        supervisor = stack.enter_context(Supervisor(options))
        async with open_services(settings) as services:
            ids = await _submit(services, "whole")
            await _settled(services, supervisor, ids)
            ids = await _submit(services, "purged")
            _purge(settings.broker_url)
            await _settled(services, supervisor, ids)
            ids = await _submit(services, "killed")
            broker.kill()
            broker.start()
            await _settled(services, supervisor, [*ids, *await _submit(services, "after")])
            checks = {check.name: check for check in await services.doctor.checks()}
            assert checks["broker"].found.startswith("RabbitMQ ")
            assert checks["broker"].do == ""


async def _publish(settings: Settings) -> None:
    await migrate(settings.database)
    store = open_store(settings.database)
    try:
        for workflow in (steps.noop(3), steps.fail(3)):
            plan = plan_of(workflow)
            await store.publish(plan, document=plan.workflow, by="test")
    finally:
        await store.close()


async def _submit(services: Services, label: str) -> list[str]:
    wanted = [
        Submission(
            workflow=steps.FAIL if number % 2 else steps.NOOP, inputs={"number": number},
            actor="test", idempotency_key=f"{label}-{number}",
        )
        for number in range(RUNS)
    ]  # fmt: skip
    return [answer.run_id for answer in await services.submitter.submit(wanted)]


async def _settled(services: Services, supervisor: Supervisor, ids: list[str]) -> None:
    """Half of them succeeded, and half were undone."""
    end = time.monotonic() + END_SECONDS
    while True:
        runs = [await services.runs.get(run_id) for run_id in ids]
        if all(run.settled_at for run in runs):
            break
        assert time.monotonic() < end, Counter(run.status for run in runs)
        supervisor.watch()
        await asyncio.sleep(0.2)
    found = Counter(run.status.value for run in runs)
    assert found == {"succeeded": len(ids) // 2, "compensated": len(ids) // 2}


def _purge(url: str) -> None:
    """As `celery purge`."""
    with Connection(url) as connection, connection.channel() as channel:
        for queue in task_queue_names(["default"]):
            channel.queue_purge(queue=queue)
