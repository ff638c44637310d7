"""How a deployment stands, in numbers: read from database and broker, for its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from orchestrator.errors import InvalidSetting, Unavailable
from orchestrator.ports import BrokerFacts, BrokerInspector, DatabaseRoom, WorkerRecord, WorkerStore
from orchestrator.ports.code_waits import CodeWaitStore
from orchestrator.ports.counting import CountingStore, EscalationCount, RunCount
from orchestrator.ports.looking import Looking
from orchestrator.service.queues import Queues, QueueView
from orchestrator.service.scaling import LaneWants, Scaling
from orchestrator.service.slos import Slos, SloView
from orchestrator.service.urgency import Urgency

log = structlog.get_logger(__name__)

AGES = (0.0, 900.0, 3600.0, 28_800.0, 86_400.0)
"""Seconds: by these the ages of open escalations are told apart."""
KEPT_SECONDS = 5.0
"""Two scrapers, or one that asks too often, cost the database no more than one."""
COSTS_PART = 0.02
"""Of the database's time, that counting may take."""


class MeasuredStore(CountingStore, CodeWaitStore, WorkerStore, Protocol):
    """What is counted, and who works."""

    async def now(self) -> datetime:
        """The database's clock."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseReading:
    """The database and what stands in it."""

    round_trip_seconds: float
    silence_seconds: float  # of the worker that was heard of longest ago; 0 without workers
    runs: Sequence[RunCount]
    escalations: Sequence[EscalationCount]
    workers: Sequence[WorkerRecord]
    room: DatabaseRoom | None  # None: no server
    without_code: int = 0  # runs that wait for a worker with the function of their next step


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """All of it. What does not answer is None."""

    database: DatabaseReading | None
    broker: BrokerFacts | None
    queues: Sequence[QueueView] | None  # wants both
    slos: Sequence[SloView] | None = None  # None: also while config/slos.yaml is not valid
    wants: Sequence[LaneWants] | None = None  # workers, by lane
    replica_lag_seconds: float | None = None  # infinite: out of reach; None: there is no replica


class Measuring:
    """Reads anew at most every KEPT_SECONDS, and seldomer where that takes long."""

    def __init__(
        self,
        store: MeasuredStore,
        broker: BrokerInspector,
        queues: Queues,
        urgency: Urgency,
        slos: Slos,
        scaling: Scaling,
        looking: Looking,
        *,
        lanes: Sequence[str],
        now: Callable[[], float],
    ) -> None:
        self._store, self._broker, self._queues = store, broker, queues
        self._urgency, self._slos, self._now = urgency, slos, now
        self._scaling, self._looking, self._lanes = scaling, looking, tuple(lanes)
        self._kept: Reading | None = None
        self._good_until = 0.0
        self._lock = asyncio.Lock()

    async def read(self) -> Reading:
        """How it stands; never raises for what is away."""
        async with self._lock:
            if self._kept is None or self._now() >= self._good_until:
                begun_at = self._now()
                self._kept = await self._read()
                took = self._now() - begun_at
                self._good_until = self._now() + max(KEPT_SECONDS, took / COSTS_PART)
            return self._kept

    async def _read(self) -> Reading:
        database = await self._of_database()
        try:
            broker = await self._broker.facts()
        except Unavailable:  # which is what broker_up says
            broker = None
        queues = None
        if database is not None and broker is not None:
            try:
                queues = await self._queues.overview()
            except Unavailable:  # it went away meanwhile; the next reading says so
                queues = None
        return Reading(
            database=database, broker=broker, queues=queues,
            slos=None if database is None else await self._of_objectives(),
            wants=None if database is None else await self._of_lanes(),
            replica_lag_seconds=await self._looking.lag_seconds(),
        )  # fmt: skip

    async def _of_lanes(self) -> Sequence[LaneWants] | None:
        try:
            return await self._scaling.wanted(self._lanes)
        except Unavailable:  # it went away meanwhile; the next reading says so
            return None

    async def _of_objectives(self) -> Sequence[SloView] | None:
        try:
            return (await self._slos.report()).views
        except Unavailable:  # it went away meanwhile; the next reading says so
            return None
        except InvalidSetting as error:
            log.warning("slos.not_measured", why=str(error))
            return None

    async def _of_database(self) -> DatabaseReading | None:
        try:
            begun_at = self._now()
            now = await self._store.now()
            round_trip = self._now() - begun_at
            workers = await self._store.workers()
            return DatabaseReading(
                round_trip_seconds=round_trip, workers=workers,
                silence_seconds=max(
                    ((now - each.heartbeat_at).total_seconds() for each in workers), default=0.0
                ),
                runs=await self._store.count_unfinished(),
                escalations=await self._store.count_open_escalations(
                    ages=AGES, due_seconds=self._urgency.due_seconds
                ),
                room=await self._store.room(),
                without_code=sum(each.runs for each in await self._store.code_waits()),
            )  # fmt: skip
        except Unavailable:  # which is what database_up says
            return None
