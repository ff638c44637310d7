"""A whole deployment on one loop of virtual time: database, broker, API, workers, and who submits.

The house is also the supervisor: a worker process that has died is started again after a while.
What befalls whom is decided elsewhere (`disasters.py`, the cells); here is what can be done to it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator import crashpoints
from orchestrator.core.plan import Plan
from orchestrator.crashpoints import Crash, Reached
from orchestrator.definitions.programs import Programs
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.deps import Limits as EngineLimits
from orchestrator.ports import Rate, Store
from orchestrator.testing.ids import EPOCH, Ids
from orchestrator.testing.loop import PROCESS, Life, Process, VirtualLoop
from orchestrator.testing.memory.health import HealthServer
from orchestrator.testing.memory.limits import LimitServer
from orchestrator.testing.process import LIMITS
from tests.faults.ledger.desk import Desk
from tests.faults.ledger.desk import Settings as DeskSettings
from tests.faults.ledger.faults import FaultPlan
from tests.faults.ledger.limits import Limit, Limits
from tests.faults.ledger.writing import MemoryWriter
from tests.faults.simulation.answering import Answering
from tests.faults.simulation.api import TOKEN
from tests.faults.simulation.backing import Backing
from tests.faults.simulation.broker import Broker
from tests.faults.simulation.client import Client
from tests.faults.simulation.weather import Weather
from tests.faults.simulation.worker import Worker
from tests.faults.workload import API, EVERY, RunSeed, Shape

REDIS_BEGAN = 1e6
"""Seconds: its clock is nobody else's."""
API_LATENCY = (0.0, 0.08)
RESTARTED_AFTER = (0.2, 4.0)
FROZEN_FOR = (0.5, 12.0)  # death by heartbeat comes after 6 s
_WITH_A_PERMIT = {"before_send", "after_send", "before_effect", "after_effect"}
"""Points at which no engine could keep an API's limits: it stands still between its last look at
the clock and its request, or gives a request up that the API is still busy with."""
Line = tuple[float, tuple[str, ...]]


@dataclass(kw_only=True)
class Options:
    """What a house is like."""

    workers: int = 3
    inline: EngineLimits = LIMITS
    trace: bool = False
    latency: tuple[float, float] = API_LATENCY
    shapes: Sequence[Shape] = EVERY
    answered: bool = True  # somebody answers the runs that wait for it
    rate_per_second: int | None = None  # of the API
    at_once: int | None = None

    @property
    def limited(self) -> bool:
        """Whether requests to the API have to wait for each other."""
        return self.rate_per_second is not None or self.at_once is not None


@dataclass
class Tale:
    """What has happened in this house, when it is told (`Options.trace`)."""

    lines: list[Line] = field(default_factory=list)

    def about(self, *words: str) -> list[Line]:
        """Lines that name one of these, or concern the whole house."""
        wanted = set(words)
        return [
            (at, told)
            for at, told in self.lines
            if not wanted.isdisjoint(told) or told[0] in _OF_THE_HOUSE
        ]


_OF_THE_HOUSE = {"killed", "frozen", "thawed", "joined", "left", "declared dead", "disaster"}


class House:
    """One deployment. Make it inside a `VirtualLoop`'s context; `close` it in the end."""

    def __init__(self, loop: VirtualLoop, seed: int, backing: Backing, options: Options) -> None:
        self.loop, self.options, self.backing = loop, options, backing
        self.chance = random.Random(f"house {seed}")
        self.weather = Weather(self.chance)
        self.new_id = Ids(loop.time)
        self.tale = Tale() if options.trace else None
        self.broker = Broker(loop)
        self.writer = MemoryWriter()
        self.desk = Desk(
            self.writer, lambda: EPOCH.timestamp() + loop.time(), faults=FaultPlan(seed=seed),
            settings=DeskSettings(token=TOKEN, latency_seconds=options.latency, seed=seed),
        )  # fmt: skip
        self.limits = LimitServer(lambda: REDIS_BEGAN + loop.time())
        self.health = HealthServer(lambda: REDIS_BEGAN + loop.time())
        self.apis = {API: _config(options)}
        self.desk.limits = Limits(list(_judged(options)))
        self.workers: list[Worker] = []  # the living and the frozen
        self.acknowledged: set[str] = set()
        self.run_ids: dict[str, str] = {}  # by name
        self.deaths = self.freezes = self.crashes = 0
        self.happens_at_point: Callable[[Reached, Process], Awaitable[None] | None] | None = None
        self.on_acknowledged: list[Callable[[RunSeed, str], None]] = []
        self.answering = Answering(self) if options.answered else None
        self._numbers = iter(range(1, 1_000_000))
        self._open = True

    # --- the whole --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Publish the workflows and start the workers."""
        crashpoints.install(self._hook)
        store = self.backing.view()
        for shape in self.options.shapes:
            await store.publish(shape.plan, document="", by="simulation")
        for _ in range(self.options.workers):
            self.start_worker()

    def close(self) -> None:
        """Nobody starts anything again."""
        self._open = False
        crashpoints.install(None)

    def letters_agree(self) -> bool:
        """Whether the dead-letter queue is made of the open, unclaimed escalations."""
        wanted = self.loop.run_apart(self.backing.view().open_unclaimed())
        return sorted(self.broker.letters) == wanted

    def note(self, *told: str) -> None:
        """Tell what has just happened."""
        if self.tale is not None:
            self.tale.lines.append((self.loop.time(), told))

    # --- workers ----------------------------------------------------------------------------------

    def start_worker(self) -> Worker | None:
        """A new process, unless the house is closed."""
        if not self._open:
            return None
        worker = Worker(self, f"w{next(self._numbers)}")
        self.workers.append(worker)
        worker.start(worker.live(), name=worker.name)
        return worker

    def kill(self, process: Process) -> None:
        """SIGKILL."""
        if process.life is not Life.DEAD:
            self.note("killed", process.name)
            self.deaths += 1
            self.died(process)

    def died(self, process: Process) -> None:
        """A process has ended, one way or another. Its supervisor replaces it after a while."""
        process.kill()
        if isinstance(process, Worker):
            process.lock.die()  # its connections are closed
            self.workers.remove(process)
        after = self.chance.uniform(*RESTARTED_AFTER)
        self.loop.call_later(after, self._start_again, process, context=self.loop.nowhere)

    def _start_again(self, process: Process) -> None:
        if isinstance(process, Worker):
            self.start_worker()
        elif isinstance(process, Client):
            self.submit(process.seeds)

    def freeze(self, process: Process, seconds: float | None = None) -> None:
        """SIGSTOP, and SIGCONT after so many seconds (None: `FROZEN_FOR`)."""
        if process.life is Life.RUNNING:
            self.note("frozen", process.name)
            self.freezes += 1
            process.freeze()
            after = self.chance.uniform(*FROZEN_FOR) if seconds is None else seconds
            self.loop.call_later(after, self.thaw, process, context=self.loop.nowhere)

    def thaw(self, process: Process) -> None:
        """SIGCONT."""
        if process.life is Life.FROZEN:
            self.note("thawed", process.name)
            process.thaw()

    # --- crash points -----------------------------------------------------------------------------

    def _hook(self, reached: Reached) -> Awaitable[None] | None:
        process = PROCESS.get()
        return None if process is None else self.reached(reached, process)

    def reached(self, reached: Reached, process: Process) -> Awaitable[None] | None:
        """A process has come to a point. What is returned has to be awaited there. Raises Crash."""
        if process.life is not Life.RUNNING:  # it was stopped at an earlier point of this moment
            return self._next_turn_of(process)
        if self.happens_at_point is not None:
            return self.happens_at_point(reached, process)
        if not self.weather.storming:
            return None
        rates, drawn = self.weather.rates, self.chance.random()
        if drawn < rates.killed_at_point:
            return self.kill_here(reached, process)
        drawn -= rates.killed_at_point
        if self.options.limited and reached.point in _WITH_A_PERMIT:
            return None
        if drawn < rates.frozen_at_point:
            return self.freeze_here(reached, process)
        if drawn - rates.frozen_at_point < rates.raised_at_point:
            self.raise_here(reached, process)
        return None

    def kill_here(self, reached: Reached, process: Process) -> Awaitable[None]:
        """The process ends at this point."""
        self.note("at point", reached.point, reached.run_id, process.name, "killed")
        self.kill(process)
        return self._next_turn_of(process)

    def freeze_here(
        self, reached: Reached, process: Process, seconds: float | None = None
    ) -> Awaitable[None]:
        """The process stands still at this point."""
        self.note("at point", reached.point, reached.run_id, process.name, "frozen")
        self.freeze(process, seconds)
        return self._next_turn_of(process)

    def raise_here(self, reached: Reached, process: Process) -> None:
        """Something of the process fails at this point."""
        self.note("at point", reached.point, reached.run_id, process.name, "raised")
        self.crashes += 1
        raise Crash(reached.point)

    def _next_turn_of(self, process: Process) -> Awaitable[None]:
        """Comes when it is thawed, never when it is dead."""
        turn: asyncio.Future[None] = self.loop.create_future()
        process.call(turn.set_result, None)
        return turn

    # --- parts for processes ----------------------------------------------------------------------

    def programs_of(self, store: Store) -> Programs:
        """The compiled workflows of one process."""

        async def load(workflow_id: str) -> Plan:
            return (await store.workflow_by_id(workflow_id)).plan

        return Programs(load)

    # --- submitting -------------------------------------------------------------------------------

    def submit(self, seeds: Sequence[RunSeed]) -> None:
        """Somebody submits these, until it is acknowledged."""
        client = Client(self, f"c{next(self._numbers)}", seeds)
        client.start(client.live(), name=client.name)

    def acknowledge(self, seed: RunSeed, run_id: str) -> None:
        """A client has heard that its run was accepted."""
        self.note("accepted", run_id, seed.name, seed.shape.name)
        self.acknowledged.add(seed.name)
        self.run_ids[seed.name] = run_id
        for call in self.on_acknowledged:
            call(seed, run_id)


def _config(options: Options) -> ApiConfig:
    """The API as workers have it configured."""
    rate = options.rate_per_second
    rates = () if rate is None else (Rate(amount=rate, seconds=1.0),)
    return ApiConfig(name=API, rates=rates, concurrency=options.at_once)


def _judged(options: Options) -> Iterator[Limit]:
    """The same limits as the API counts them."""
    if options.rate_per_second is not None:
        yield Limit(amount=options.rate_per_second, seconds=1.0)
    if options.at_once is not None:
        yield Limit(amount=options.at_once)
