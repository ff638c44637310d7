"""An API that falls ill, and processes that call it through real gates, in virtual time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from orchestrator.core.exchange import Outcome, Response
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.ports import GateBusy, Seen, Visit
from orchestrator.testing.loop import Process, VirtualLoop
from orchestrator.testing.memory.health import HealthServer, MemoryHealth
from orchestrator.testing.memory.limits import LimitServer, MemoryLimits

API = "api"
PATIENCE_SECONDS = 30.0


@dataclass
class Sick:
    """The API. All times are the loop's."""

    loop: VirtualLoop
    seconds: float = 0.02  # that a call takes
    limit: int | None = None  # calls in any second; more get a 429
    ill: bool = False  # every call gets a 500
    ill_operations: set[str] = field(default_factory=set)  # calls of these do
    headers: Mapping[str, str] = field(default_factory=dict)  # of a 429 or 503
    status: int | None = None  # what it answers instead of all this
    came: list[float] = field(default_factory=list)
    came_to: dict[str, list[float]] = field(default_factory=dict)  # by operation
    answered: list[tuple[float, int]] = field(default_factory=list)  # when it came, what it got
    in_flight: int = 0
    most_in_flight: int = 0
    _admitted: deque[float] = field(default_factory=deque)

    async def call(self, operation: str = "") -> Response:
        now = self.loop.time()
        self.came.append(now)
        self.came_to.setdefault(operation, []).append(now)
        status = 500 if operation in self.ill_operations else self._judge(now)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.in_flight -= 1
        self.answered.append((now, status))
        return Response(status=status, headers=self.headers if status in (429, 503) else {})

    def _judge(self, now: float) -> int:
        if self.status is not None or self.ill:
            return self.status or 500
        if self.limit is not None:
            while self._admitted and self._admitted[0] <= now - 1.0:
                self._admitted.popleft()
            if len(self._admitted) >= self.limit:
                return 429
            self._admitted.append(now)
        return 200

    def calls(self, after: float, until: float) -> int:
        """That came in this time."""
        return sum(after <= at < until for at in self.came)

    def peak(self, after: float, until: float) -> int:
        """Most calls within any one second of this time."""
        times = [at for at in self.came if after <= at < until]
        most = first = 0
        for last, at in enumerate(times):
            while times[first] <= at - 1.0:
                first += 1
            most = max(most, last - first + 1)
        return most

    def refused(self, after: float, until: float) -> int:
        return sum(after <= at < until and status == 429 for at, status in self.answered)


class Fleet:
    """Processes with a gate each, all with one Redis."""

    def __init__(self, loop: VirtualLoop, config: ApiConfig, *, processes: int = 2) -> None:
        self.loop, self.config = loop, config
        self.limits = LimitServer(lambda: 1e6 + loop.time())
        self.health = HealthServer(lambda: 1e6 + loop.time())
        self.api = Sick(loop)
        self.processes = [Process(loop, f"p{n}") for n in range(processes)]
        self.gates = [self._gate(process.name) for process in self.processes]
        self.parked = 0
        self._runs = 0
        self._asleep: dict[str, asyncio.Event] = {}
        self.failed = 0  # runs whose attempts were used up

    def _gate(self, name: str) -> SharedGate:
        limits = MemoryLimits(self.limits, holder_id=name, monotonic=self.loop.time)
        health = MemoryHealth(self.health, holder_id=name)
        return SharedGate(limits, {API: self.config}, health, recall=self._recall)

    async def _recall(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            self._asleep[run_id].set()

    async def _park(self, run_id: str, seconds: float) -> None:
        self.parked += 1
        called = self._asleep[run_id] = asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await called.wait()

    def start(
        self, number: int, runs: int, *, calls: int | None = None, operation: str = ""
    ) -> None:
        """Let so many runs of one process call over and over, or `calls` times each."""
        for _ in range(runs):
            self.processes[number].start(self._run(self.gates[number], calls, operation))

    async def call(self, gate: SharedGate, *, retry: bool = False, operation: str = "") -> int:
        """Once, however long it takes."""
        self._runs += 1
        name = f"run-{self._runs}"
        visit = Visit(api=API, retry=retry, run_id=name, operation=operation)
        while True:
            permit = gate.try_enter(visit)
            if permit is None:
                try:
                    permit = await gate.enter(visit, patience_seconds=PATIENCE_SECONDS)
                except GateBusy as busy:
                    await self._park(visit.run_id, busy.seconds)
                    visit = msgspec.structs.replace(visit, parked=True)
                    continue
            seen: Seen | None = None
            try:
                begun = self.loop.time()
                response = await self.api.call(operation)
                outcome = Outcome.LANDED if response.status == 200 else Outcome.NOT_LANDED
                took = self.loop.time() - begun
                seen = Seen(outcome=outcome, response=response, seconds=took)
                return response.status
            finally:
                permit.release(seen)

    async def _run(self, gate: SharedGate, calls: int | None, operation: str) -> None:
        attempt = 0
        while calls is None or calls > 0:
            status = await self.call(gate, retry=attempt > 0, operation=operation)
            attempt = 0 if status == 200 else attempt + 1
            if attempt >= 8:
                self.failed += 1
                return
            if attempt:
                await asyncio.sleep(min(0.5 * 2 ** (attempt - 1), 60.0) / 2)
            elif calls is not None:
                calls -= 1

    def call_every(self, number: int, seconds: float, *, retry: bool = False) -> list[float]:
        """Let one run of a process call whatever comes of it. When calls ended, so far."""
        ended: list[float] = []

        async def forever() -> None:
            while True:
                await self.call(self.gates[number], retry=retry)
                ended.append(self.loop.time())
                await asyncio.sleep(seconds)

        self.processes[number].start(forever())
        return ended

    def states(self) -> list[str]:
        return [gate.snapshot()[API].breaker for gate in self.gates if gate.snapshot()]

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> float:
        """When it came true."""
        end = self.loop.time() + seconds
        while not condition():
            assert self.loop.time() < end, "it never came true"
            await asyncio.sleep(0.01)
        return self.loop.time()

    async def end(self) -> None:
        """Of all that the living processes do; the dead are cleared away by `quiet`."""
        for task in asyncio.all_tasks(self.loop):
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.sleep(1.0)
