"""The orchestrator doing the work once, with real workers and default settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import create_engine, select
from sqlalchemy.engine import Engine, make_url

from orchestrator.core.plan import Plan
from orchestrator.definitions.builder import plan_of
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.service.submitting import Submission
from orchestrator.store import migrate, open_store
from orchestrator.store.tables import runs as runs_table
from orchestrator.wiring import Services, open_services
from tests.bench.engine import costs, steps
from tests.bench.engine.figures import Round
from tests.bench.engine.place import Place, Wish
from tests.faults.chaos.bystander import Bystander, moment
from tests.faults.workload import Kind, Shape

WARM_RUNS = 20
PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.1
_ALONE_POLL_SECONDS = 0.0005
_IO = "bench-io"


def plan(wish: Wish) -> Plan:
    """What is run."""
    if wish.load in ("io20", "inflight"):
        return Shape(name=_IO, steps=((Kind.KEYED, Kind.KEYED),) * wish.steps).plan
    return plan_of(steps.fail(wish.steps) if wish.load == "fail" else steps.noop(wish.steps))


async def prepare(place: Place) -> None:
    """The newest schema, and the workflow published."""
    await migrate(place.settings.database)
    store = open_store(place.settings.database, pool_size=1)
    try:
        await store.publish(plan(place.wish), document="bench", by="bench")
    finally:
        await store.close()


async def round_of(place: Place) -> Round:
    """Start workers, warm them up, do the work, end them. Raises TimeoutError, RuntimeError."""
    place.empty_broker()
    if place.wish.load == "submit":
        return await _submit_only(place)
    async with workers(place) as crew:
        await crew.settle(await crew.submit(WARM_RUNS), WARM_RUNS)
        if place.wish.load == "latency":
            return await _one_by_one(crew)
        return await _in_bulk(crew)


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Workers that are up, and the services that feed them."""

    place: Place
    services: Services
    tables: Bystander
    parts: Mapping[str, Sequence[int]]

    def submissions(self, count: int, actor: str) -> list[Submission]:
        """Runs of the workflow."""
        name = plan(self.place.wish).workflow
        key = "run" if name == _IO else "number"
        return [
            Submission(
                workflow=name, inputs={key: f"{actor}-{n}" if name == _IO else n}, actor=actor
            )
            for n in range(count)
        ]

    async def submit(self, count: int) -> str:
        """Accept so many at once; the actor that they can be told by."""
        actor = f"bench-{time.monotonic_ns()}"
        await self.services.submitter.submit(self.submissions(count, actor))
        return actor

    async def settle(self, actor: str, count: int) -> list[float]:
        """Wait for all of them; seconds from acceptance to the end of each, and they must end well.

        Raises TimeoutError, RuntimeError.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await asyncio.to_thread(self.tables.unsettled):  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(_POLL_SECONDS)
        rows = await asyncio.to_thread(_times, self.place, actor)
        wanted = "compensated" if self.place.wish.load == "fail" else "succeeded"
        wrong = [status for status, _, _ in rows if status != wanted]
        if wrong or len(rows) != count:
            raise RuntimeError(f"{len(rows)} of {count} runs; not {wanted}: {wrong[:5]}")
        return [ended - begun for _, begun, ended in rows]


@asynccontextmanager
async def workers(place: Place) -> AsyncIterator[Crew]:
    """All of them up; ended on leaving. Raises Unavailable, TimeoutError."""
    up = UpOptions(
        state_dir=place.folder, workers=place.wish.workers, broker_url=place.broker.url,
        flower=False, env=place.env,
    )  # fmt: skip
    supervisor, tables = Supervisor(up), Bystander(place.settings.database)
    supervisor.start()
    try:
        await _registered(tables, place.wish.workers)
        parts = {"workers": [child.pid for child in supervisor.workers], **place.servers}
        async with open_services(place.settings) as services:
            yield Crew(place=place, services=services, tables=tables, parts=parts)
    finally:
        supervisor.stop()
        tables.close()


async def _registered(tables: Bystander, wanted: int) -> None:
    async with asyncio.timeout(60):
        while len(await asyncio.to_thread(tables.living)) < wanted:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(_POLL_SECONDS)


async def _in_bulk(crew: Crew) -> Round:
    wish = crew.place.wish
    before, began = costs.cpu_seconds(crew.parts), crew.tables.now()
    actor = await crew.submit(wish.runs)
    latencies = await crew.settle(actor, wish.runs)
    ended = crew.tables.settled_by() or 0.0
    return Round(
        runs=wish.runs,
        steps=steps_of(wish),
        seconds=ended - began,
        latencies_seconds=latencies,
        cpu_seconds=costs.difference(before, costs.cpu_seconds(crew.parts)),
        peak_bytes=costs.peak_bytes(crew.parts["workers"]),
    )


def steps_of(wish: Wish) -> int:
    """Links that are done for one run."""
    return 2 * wish.steps - 1 if wish.load == "fail" else wish.steps


async def _one_by_one(crew: Crew) -> Round:
    """Each as its client sees it: from before the submission until it reads that it has ended."""
    wish, engine = crew.place.wish, _kept_open(crew.place)
    before, began, latencies = costs.cpu_seconds(crew.parts), time.perf_counter(), []
    for wanted in crew.submissions(wish.runs, "bench-latency"):
        start = time.perf_counter()
        (accepted,) = await crew.services.submitter.submit([wanted])
        _wait_for(engine, accepted.run_id)
        latencies.append(time.perf_counter() - start)
    seconds = time.perf_counter() - began
    engine.dispose()
    return Round(
        runs=wish.runs, steps=wish.steps, seconds=seconds, latencies_seconds=latencies,
        cpu_seconds=costs.difference(before, costs.cpu_seconds(crew.parts)),
        peak_bytes=costs.peak_bytes(crew.parts["workers"]),
    )  # fmt: skip


async def _submit_only(place: Place) -> Round:
    """Nobody takes them up: accepted, committed and published, by this process alone."""
    wish, tables = place.wish, Bystander(place.settings.database)
    async with open_services(place.settings) as services:
        crew = Crew(place=place, services=services, tables=tables, parts=place.servers)
        await crew.submit(WARM_RUNS)
        wanted = crew.submissions(wish.runs, "bench")
        before, began = costs.cpu_seconds(crew.parts), time.perf_counter()
        await services.submitter.submit(wanted)
        seconds = time.perf_counter() - began
    spent = costs.difference(before, costs.cpu_seconds(place.servers))
    tables.close()
    return Round(runs=wish.runs, steps=wish.steps, seconds=seconds, cpu_seconds=spent)


# --- reading the table ----------------------------------------------------------------------------


def _kept_open(place: Place) -> Engine:
    parsed = make_url(place.settings.database)
    sqlite = parsed.get_backend_name() == "sqlite"
    driver = "sqlite" if sqlite else "postgresql+psycopg"
    return create_engine(parsed.set(drivername=driver), isolation_level="AUTOCOMMIT")


def _wait_for(engine: Engine, run_id: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    statement = select(runs_table.c.settled_at).where(runs_table.c.id == run_id)
    with engine.connect() as connection:
        while connection.execute(statement).scalar() is None:
            if time.monotonic() > end:
                raise TimeoutError(f"run {run_id} has not settled")
            time.sleep(_ALONE_POLL_SECONDS)


def _times(place: Place, actor: str) -> list[tuple[str, float, float]]:
    """Status, begin and end of each run of this actor."""
    columns = (runs_table.c.status, runs_table.c.created_at, runs_table.c.settled_at)
    engine = _kept_open(place)
    with engine.connect() as connection:
        rows: Sequence[Any] = connection.execute(
            select(*columns).where(runs_table.c.actor == actor)
        ).all()
    engine.dispose()
    return [(status, moment(begun), moment(ended)) for status, begun, ended in rows]
