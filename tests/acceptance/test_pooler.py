"""Real workers behind PgBouncer in transaction mode, one of them killed in the middle."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from orchestrator.definitions.builder import plan_of
from orchestrator.embedded.process import stop_all
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.service.submitting import Submission
from orchestrator.settings import load_settings
from orchestrator.store import open_store
from orchestrator.store.engine import SET_SESSION
from orchestrator.wiring_services import Services, open_services
from tests.bench.engine import steps
from tests.pgbouncer import program, start_pgbouncer

pytestmark = [
    pytest.mark.long, pytest.mark.postgres, pytest.mark.broker, pytest.mark.timeout(300),
    pytest.mark.skipif(program() is None, reason="pgbouncer is not installed"),
]  # fmt: skip

RUNS = 600
SESSIONS = 6  # of PostgreSQL's, where two workers and this process would open 40
END_SECONDS = 120.0


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    yield made
    shutil.rmtree(made)


async def test_runs_end_through_it_although_a_worker_is_killed(
    folder: Path, migrated_postgres_dsn: str, valkey_url: str
) -> None:
    direct = migrated_postgres_dsn.replace("+psycopg", "")
    with ExitStack() as stack:
        child = start_pgbouncer(direct, folder, pool_size=SESSIONS, connect_query=SET_SESSION)
        stack.callback(stop_all, [child])
        own = {"database_url": child.spec.address, "database_session_url": direct,
               "broker_url": valkey_url, "state_dir": str(folder)}  # fmt: skip
        settings = load_settings(**own, task_modules=(steps.MODULE,))
        env = {f"ORCHESTRATOR_{name.upper()}": value for name, value in own.items()}
        env["ORCHESTRATOR_TASK_MODULES"] = json.dumps([steps.MODULE])
        options = UpOptions(
            state_dir=folder, workers=2, broker_url=valkey_url, flower=False, env=env
        )
        await _publish(settings.database)
        supervisor = stack.enter_context(Supervisor(options))
        async with open_services(settings) as services:
            ids = await _submit(services)
            supervisor.workers[0].signal(signal.SIGKILL)
            await _settled(services, supervisor, ids)
            checks = {check.name: check for check in await services.doctor.checks()}
        found = checks["database sessions"].found
        assert found == "lent by a pooler"
        assert "settings of sessions" not in checks
        with psycopg.connect(direct) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()"
            ).fetchone()
        assert row is not None
        assert row[0] <= SESSIONS + len(supervisor.workers), "the pooler's, and a lock for each"


async def _publish(url: str) -> None:
    store = open_store(url, shares_sessions=True)
    try:
        for workflow in (steps.noop(3), steps.fail(3)):
            plan = plan_of(workflow)
            await store.publish(plan, document=plan.workflow, by="test")
    finally:
        await store.close()


async def _submit(services: Services) -> list[str]:
    wanted = [
        Submission(
            workflow=steps.FAIL if number % 2 else steps.NOOP, inputs={"number": number},
            actor="test", idempotency_key=str(number),
        )
        for number in range(RUNS)
    ]  # fmt: skip
    return [answer.run_id for answer in await services.submitter.submit(wanted)]


async def _settled(services: Services, supervisor: Supervisor, ids: list[str]) -> None:
    """Half of them succeeded, and half were undone."""
    end = time.monotonic() + END_SECONDS
    for run_id in ids:
        while not (run := await services.runs.get(run_id)).settled_at:
            assert time.monotonic() < end, run.status
            supervisor.watch()
            await asyncio.sleep(0.1)
    found = Counter([(await services.runs.get(run_id)).status.value for run_id in ids])
    assert found == {"succeeded": len(ids) // 2, "compensated": len(ids) // 2}
