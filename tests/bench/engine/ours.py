"""The orchestrator doing the work once, with real workers and default settings.

Nothing here looks at more rows than those of its own runs, so that what is finished already costs
the bench nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, create_engine, select
from sqlalchemy.engine import Connection, make_url

from orchestrator.core.plan import Plan
from orchestrator.definitions.builder import plan_of
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.service.submitting import Submission
from orchestrator.store import migrate, open_store
from orchestrator.store.tables import runs as runs_table
from orchestrator.wiring_services import Services, open_services
from tests.bench.engine import costs, steps
from tests.bench.engine.figures import Round, percentile
from tests.bench.engine.place import Place, Wish
from tests.faults.chaos.bystander import Bystander, moment
from tests.faults.workload import Kind, Shape

WARM_RUNS = 20
LOW_LOAD_RUNS = 20
PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.1
_ALONE_POLL_SECONDS = 0.0005
_SURE_SHARE = 0.8  # of the time that no run was quicker than, in which nobody looks
_IO = "bench-io"
_CALLS = ("io20", "io200", "inflight")
Beside: TypeAlias = "Callable[[Crew], AbstractContextManager[object]]"


def plan(wish: Wish) -> Plan:
    """What is run."""
    if wish.load in _CALLS:
        return Shape(name=_IO, steps=((Kind.KEYED, Kind.KEYED),) * wish.steps).plan
    return plan_of(steps.fail(wish.steps) if wish.load == "fail" else steps.noop(wish.steps))


async def prepare(place: Place) -> None:
    """The newest schema, and the workflow published."""
    await migrate(place.settings.session_database)
    store = open_store(place.settings.session_database, pool_size=1)
    try:
        await store.publish(plan(place.wish), document="bench", by="bench")
    finally:
        await store.close()


def undisturbed(_: Crew) -> AbstractContextManager[object]:
    """Nothing beside the work."""
    return nullcontext()


async def round_of(place: Place, *, flower: bool = False, beside: Beside = undisturbed) -> Round:
    """Start workers, warm them up, do the work, end them. Raises TimeoutError, RuntimeError.

    `beside` is entered when the work in bulk begins and left when it has ended.
    """
    place.empty_broker()
    if place.wish.load == "submit":
        return await _submit_only(place)
    async with workers(place, flower=flower) as crew:
        await crew.warm()
        if place.wish.load == "latency":
            return await _one_by_one(crew)
        with beside(crew):
            made = await in_bulk(crew)
        if place.wish.load == "io20":
            alone = await crew.alone(LOW_LOAD_RUNS)
            made = made.with_more({"low_load_p50_ms": 1e3 * percentile(alone, 0.5)})
        return made


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Runs that were accepted together, and nothing else has ids between theirs."""

    ids: Sequence[str]

    @property
    def rows(self) -> ColumnElement[bool]:
        """Theirs, found by the primary key."""
        return (runs_table.c.id >= min(self.ids)) & (runs_table.c.id <= max(self.ids))


@dataclass(frozen=True, kw_only=True)
class Client:
    """Who submits runs."""

    place: Place
    services: Services

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

    async def submit(self, count: int) -> Sent:
        """Accept so many, in the batches that were wished for."""
        return await self.accept(self.submissions(count, f"bench-{time.monotonic_ns()}"))

    async def accept(self, wanted: Sequence[Submission]) -> Sent:
        """Accept these."""
        size, ids = self.place.wish.batch or len(wanted), list[str]()
        for start in range(0, len(wanted), size):
            accepted = await self.services.submitter.submit(wanted[start : start + size])
            ids += [one.run_id for one in accepted]
        return Sent(ids=ids)


@dataclass(frozen=True, kw_only=True)
class Crew(Client):
    """Workers that are up, and who feeds them."""

    tables: Bystander
    supervisor: Supervisor

    @property
    def parts(self) -> Mapping[str, Sequence[int]]:
        """Process ids by part."""
        return {"workers": [child.pid for child in self.supervisor.workers], **self.place.servers}

    async def warm(self) -> None:
        """A few runs that do not count. Raises TimeoutError, RuntimeError.

        Then PostgreSQL knows of them what autovacuum would tell it within a minute: that hardly
        any run is owned. Plans that only a server without statistics makes flatter nobody here.
        """
        await self.settle(await self.submit(WARM_RUNS))
        if self.place.wish.load == "history":
            return  # told when it was filled; with millions it takes a second, which would count
        with kept_open(self.place) as link:
            if link.dialect.name == "postgresql":
                link.exec_driver_sql("ANALYZE")

    async def settle(self, sent: Sent) -> list[tuple[float, float]]:
        """Wait for all; when each was accepted and ended (UNIX seconds); they must end well.

        Raises TimeoutError, RuntimeError.
        """
        with kept_open(self.place) as link:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await asyncio.to_thread(_some_unsettled, link, sent):  # noqa: ASYNC110 -- nobody tells
                    await asyncio.sleep(_POLL_SECONDS)
            rows = await asyncio.to_thread(_times, link, sent)
        wanted = "compensated" if self.place.wish.load == "fail" else "succeeded"
        wrong = [status for status, _, _ in rows if status != wanted]
        if wrong or len(rows) != len(set(sent.ids)):
            raise RuntimeError(f"{len(rows)} of {len(sent.ids)} runs; not {wanted}: {wrong[:5]}")
        return [(begun, ended) for _, begun, ended in rows]

    async def alone(self, count: int) -> list[float]:
        """One run at a time; seconds of each as its client sees it, from before its submission
        until it reads that it has ended. Raises TimeoutError."""
        taken: list[float] = []
        with kept_open(self.place) as link:
            ended = _looking(link)
            for wanted in self.submissions(count, "bench-alone"):
                start = time.perf_counter()
                (accepted,) = await self.services.submitter.submit([wanted])
                _wait_for(ended, accepted.run_id, not_before=start + _surely(taken))
                taken.append(time.perf_counter() - start)
        return taken


@asynccontextmanager
async def workers(place: Place, *, flower: bool = False) -> AsyncIterator[Crew]:
    """All of them up; ended on leaving. Raises Unavailable, TimeoutError."""
    up = UpOptions(
        state_dir=place.folder, workers=place.wish.workers, broker_url=place.broker.url,
        flower=flower, env=place.env,
    )  # fmt: skip
    supervisor, tables = Supervisor(up), Bystander(place.settings.session_database)
    supervisor.start()
    try:
        pids = {child.pid for child in supervisor.workers}
        await registered(tables, pids)
        async with open_services(place.settings) as services:
            yield Crew(place=place, services=services, tables=tables, supervisor=supervisor)
    finally:
        supervisor.stop()
        tables.close()


async def registered(tables: Bystander, pids: Collection[int]) -> None:
    """Until each of them says that it works. Raises TimeoutError."""
    async with asyncio.timeout(60):
        while not set(pids) <= set(await asyncio.to_thread(tables.living)):  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(_POLL_SECONDS)


async def in_bulk(crew: Crew) -> Round:
    """All of them at once. Raises TimeoutError, RuntimeError."""
    wish = crew.place.wish
    before, began = costs.cpu_seconds(crew.parts), crew.tables.now()
    times = await crew.settle(await crew.submit(wish.runs))
    spent = costs.difference(before, costs.cpu_seconds(crew.parts))
    return Round(
        runs=wish.runs,
        steps=steps_of(wish),
        seconds=max(ended for _, ended in times) - began,
        latencies_seconds=[ended - begun for begun, ended in times],
        cpu_seconds=spent,
        peak_bytes=costs.peak_bytes(crew.parts["workers"]),
    )


def steps_of(wish: Wish) -> int:
    """Links that are done for one run."""
    return 2 * wish.steps - 1 if wish.load == "fail" else wish.steps


async def _one_by_one(crew: Crew) -> Round:
    wish = crew.place.wish
    before, began = costs.cpu_seconds(crew.parts), time.perf_counter()
    latencies = await crew.alone(wish.runs)
    return Round(
        runs=wish.runs, steps=wish.steps, seconds=time.perf_counter() - began,
        latencies_seconds=latencies,
        cpu_seconds=costs.difference(before, costs.cpu_seconds(crew.parts)),
        peak_bytes=costs.peak_bytes(crew.parts["workers"]),
    )  # fmt: skip


async def _submit_only(place: Place) -> Round:
    """Nobody takes them up: accepted, committed and published, by this process alone."""
    wish = place.wish
    async with open_services(place.settings) as services:
        client = Client(place=place, services=services)
        await client.submit(WARM_RUNS)
        wanted = client.submissions(wish.runs, "bench")
        before, began = costs.cpu_seconds(place.servers), time.perf_counter()
        busy = time.process_time()
        await client.accept(wanted)
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
    spent = costs.difference(before, costs.cpu_seconds(place.servers))
    return Round(
        runs=wish.runs, steps=wish.steps, seconds=seconds, cpu_seconds=spent,
        more={"submitter_cpu_microseconds": 1e6 * busy / wish.runs},
    )  # fmt: skip


# --- reading the table ----------------------------------------------------------------------------


@contextmanager
def kept_open(place: Place) -> Iterator[Connection]:
    """One connection that sees what is committed."""
    parsed = make_url(place.settings.session_database)
    sqlite = parsed.get_backend_name() == "sqlite"
    driver = "sqlite" if sqlite else "postgresql+psycopg"
    engine = create_engine(
        parsed.set(drivername=driver), isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False} if sqlite else {},
    )  # fmt: skip
    with engine.connect() as link:
        backend = None if sqlite else link.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        yield link
    engine.dispose()
    if backend is not None:
        costs.until_gone(backend)


def _surely(taken: Sequence[float]) -> float:
    """Seconds in which a run has hardly ended: looking costs what the run could use. A run that
    is quicker yet is only seen too late, never too early."""
    return _SURE_SHARE * min(taken[-WARM_RUNS:], default=0.0)


def _looking(link: Connection) -> Callable[[str], bool]:
    """Whether a run has ended, asked of the driver itself: it takes a third of the CPU.

    PostgreSQL plans it once, for the few runs that there are when it is asked first, and reads the
    whole table each time unless told not to.
    """
    cursor: Any = link.connection.cursor()
    if link.dialect.name == "postgresql":
        cursor.execute("SET enable_seqscan = off")
    mark, more = ("?", {}) if link.dialect.name == "sqlite" else ("%s", {"prepare": True})
    statement = f"SELECT 1 FROM runs WHERE id = {mark} AND settled_at IS NOT NULL"
    return lambda run_id: cursor.execute(statement, (run_id,), **more).fetchone() is not None


def _wait_for(ended: Callable[[str], bool], run_id: str, *, not_before: float) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    time.sleep(max(0.0, not_before - time.perf_counter()))
    while not ended(run_id):
        if time.monotonic() > end:
            raise TimeoutError(f"run {run_id} has not settled")
        time.sleep(_ALONE_POLL_SECONDS)


def _some_unsettled(link: Connection, sent: Sent) -> bool:
    open_one = select(runs_table.c.id).where(sent.rows, runs_table.c.settled_at.is_(None)).limit(1)
    return link.execute(open_one).first() is not None


def _times(link: Connection, sent: Sent) -> list[tuple[str, float, float]]:
    """Status, begin and end of each run."""
    columns = (runs_table.c.status, runs_table.c.created_at, runs_table.c.settled_at)
    rows: Sequence[Any] = link.execute(select(*columns).where(sent.rows)).all()
    return [(status, moment(begun), moment(ended)) for status, begun, ended in rows]
