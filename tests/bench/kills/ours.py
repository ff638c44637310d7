"""The orchestrator: workers with default settings, PostgreSQL and Valkey; both servers die."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from sqlalchemy import Engine as Database
from sqlalchemy import create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from orchestrator.embedded.workers import worker_specs
from orchestrator.service.submitting import Submission
from orchestrator.store import migrate, open_store
from orchestrator.store.tables import runs as runs_table
from orchestrator.wiring_services import Services, open_services
from tests.bench.engine.ours import registered
from tests.bench.kills.engine import Mortal, Stage
from tests.bench.kills.judging import Ending
from tests.bench.kills.work import FLOW
from tests.bench.peers.peer import up
from tests.faults.chaos.bystander import Bystander
from tests.faults.ledger.running import api_config
from tests.faults.workload import API, Kind, Shape

K, V, U = Kind.KEYED, Kind.VERIFIED, Kind.UNKEYED
SHAPE = Shape(name=FLOW, steps=((K, K), (V, K), (U, K), (K, K), (K, None)))
_ENDINGS = {
    "succeeded": Ending.SUCCEEDED, "compensated": Ending.UNDONE, "escalated": Ending.PERSON,
    "abandoned": Ending.FAILED,
}  # fmt: skip


class Ours:
    """The engine."""

    system = "ours"
    promise = (
        "a step with a key or a question is done once; one with neither is never repeated: a person"
        " is asked"
    )
    set_up = "default settings, PostgreSQL and Valkey; each server dies in its turn"

    def missing(self) -> str:
        """Nothing."""
        return ""

    def version(self) -> str:
        """Of the package."""
        return f"saga-orchestrator {version('saga-orchestrator')}"

    def prepare(self) -> None:
        """It is all here."""

    @asynccontextmanager
    async def crew(self, stage: Stage) -> AsyncIterator[_Crew]:
        """Workers that are registered."""
        place = stage.place
        assert place.postgres is not None
        config = api_config(stage.ledger.address, token=False)
        (place.folder / "config" / "apis" / f"{API}.yaml").write_text(config)
        await _prepare(place.settings.database)
        env = {
            **place.env, "ORCHESTRATOR_TASK_MODULES": "[]",
            "ORCHESTRATOR_BROKER_URL": place.broker.url,
        }  # fmt: skip
        specs = worker_specs(stage.workers, env=env)
        tables = Bystander(place.settings.database)
        with up(specs, place.folder / "logs") as workers:
            await registered(tables, {child.pid for child in workers})
            tables.close()
            async with open_services(place.settings) as services:
                yield _Crew(stage, services, [Mortal(child=child) for child in workers])


async def _prepare(database: str) -> None:
    await migrate(database)
    store = open_store(database, pool_size=1)
    try:
        await store.publish(SHAPE.plan, document=FLOW, by="bench")
    finally:
        await store.close()


class _Crew:
    def __init__(self, stage: Stage, services: Services, workers: Sequence[Mortal]) -> None:
        postgres, broker = stage.place.postgres, stage.place.broker
        assert postgres is not None
        self.workers = workers
        # Its sessions are in process groups of their own: told so by SIGQUIT, all are gone at once.
        self.servers = [
            Mortal(child=postgres.child, signal=signal.SIGQUIT), Mortal(child=broker.child),
        ]  # fmt: skip
        self._services, self._database = services, database(postgres.url)

    async def submit(self, run: str) -> None:
        wish = Submission(workflow=FLOW, inputs={"run": run}, idempotency_key=run, actor="bench")
        await self._services.submitter.submit([wish])

    async def endings(self, runs: Sequence[str]) -> Mapping[str, Ending]:
        found = await asyncio.to_thread(self._statuses)
        return {run: _ENDINGS.get(found[run], Ending.OPEN) for run in runs if run in found}

    def _statuses(self) -> dict[str, str]:
        with self._database.connect() as link:
            rows = link.execute(select(runs_table.c.idempotency_key, runs_table.c.status)).all()
        return {name: status for name, status in rows}  # noqa: C416 -- rows are no pairs to mypy


def database(url: str) -> Database:
    """Through a driver that blocks; a connection for each question, since the server dies."""
    return create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
