"""The API gate of one process: who may send a request now, and who waits for how long.

Each API has one queue (`gate_queue.py`) and one supply (`gate_supply.py`). The queue is first come,
first served, and lives in memory; only the supply's pump talks to the other processes, on behalf of
all that wait. So 5,000 waiting runs cost as many calls to Redis as one.

* Concurrency: the pump keeps a lease on a share of the API's slots. Entering fills a slot,
  releasing the permit empties it. When the lease runs out nobody enters.
* Rates: the pump reserves start times for those at the head of the queue. At its time the head is
  let in. A permit is good for half the headroom: if its holder gets to run later than that, it
  queues again, in front. Start times that were not used are given back. A process whose event loop
  lags all the time asks for more headroom, which costs some of the rate, and goes back later.

An API without limits admits as many calls as a process has connections to it.

* Health (`gate_health.py`): while an API is ill, or wants no calls, nobody enters; after that it is
  taken up again bit by bit.

When a configuration changes (`api_book.py`), the queue and the supply go on with the new one; those
who wait keep their places. An API that is held admits nobody: who waits is told to come back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.engine.api_book import ApiBook
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate_queue import ApiQueue, Recall
from orchestrator.ports import GateBusy, Permit, SharedHealth, SharedLimits, Visit
from orchestrator.ports.metering import UNMETERED, Meter


@dataclass(frozen=True, kw_only=True, slots=True)
class GateState:
    """One API as this process sees it, for people and metrics."""

    in_use: int  # requests in flight
    waiting: int
    allowance: int | None  # slots that may be filled now; None: no concurrency limit
    reserved: int  # start times in hand
    expected_wait_seconds: float  # of somebody who came now
    away_seconds: float  # since when the shared limits cannot be reached; 0: they can
    breaker: str = "closed"  # or open, half_open
    closed_seconds: float = 0.0  # for how long certainly nobody enters: open, or asked to pause
    pace: float = 1.0  # the part of the configured limits that may be used


NO_BULKHEAD = 1_000_000_000


async def _comes_by_itself(run_ids: Sequence[str]) -> None:
    """Nobody is brought back before the time it was told."""


class SharedGate:
    """Implements Gate for all APIs of one process, used by one event loop.

    `recall` brings runs that were told to come back to the gate before their time. No more than
    `most_waiting` runs wait here for all APIs together; beyond that an API before which half of
    them wait turns further ones away, so that a slow one leaves room for the others. Without
    `health` each process judges APIs by what it sees itself.
    """

    def __init__(
        self,
        shared: SharedLimits,
        apis: Mapping[str, ApiConfig] | ApiBook,
        health: SharedHealth | None = None,
        *,
        recall: Recall = _comes_by_itself,
        most_waiting: int = NO_BULKHEAD,
        meter: Meter = UNMETERED,
    ) -> None:
        self._shared, self._health, self._meter = shared, health, meter
        self._most_waiting = most_waiting
        self._book = ApiBook.of(apis)
        self._book.subscribe(self._changed)
        self._recall = recall
        self._queues: dict[str, ApiQueue] = {}

    def try_enter(self, visit: Visit) -> Permit | None:
        """A permit if nothing makes it wait, without waiting and without I/O."""
        return self._queue(visit.api).try_enter(visit)

    def turns_away(self, visit: Visit, *, patience_seconds: float) -> GateBusy | None:
        """What `enter` would raise at once, without I/O. None: it is counted as one that waits."""
        queue = self._queue(visit.api)
        busy = queue.turns_away(visit, patience_seconds, crowded=self._crowded_by(queue))
        if busy is None:
            queue.expect(visit)
        else:
            self._meter.parked(visit.api)
        return busy

    async def enter(self, visit: Visit, *, patience_seconds: float) -> Permit:
        """Wait in turn for a permit. Raises GateBusy when it would take longer than patience."""
        queue = self._queue(visit.api)
        permit = queue.try_enter(visit)
        if permit is not None:
            return permit
        busy = queue.turns_away(visit, patience_seconds, crowded=self._crowded_by(queue))
        if busy is not None:
            self._meter.parked(visit.api)
            try:
                raise busy
            finally:
                del busy  # its traceback has this frame, and a cycle is only found by a search
        came_at = time.monotonic()
        try:
            permit = await queue.enter(visit, patience_seconds)
        except GateBusy:
            self._meter.parked(visit.api)
            raise
        self._meter.passed_gate(visit.api, time.monotonic() - came_at)
        return permit

    def snapshot(self) -> dict[str, GateState]:
        """Every API that this process has used."""
        return {api: self._state(api, queue) for api, queue in self._queues.items()}

    async def aclose(self) -> None:
        """Turn away all that wait and give this process's slots back."""
        for queue in self._queues.values():
            await queue.aclose()

    def _queue(self, api: str) -> ApiQueue:
        queue = self._queues.get(api)
        if queue is None:
            queue = self._queues[api] = ApiQueue(
                self._book.now(api), self._shared, self._health, self._recall,
                most_waiting=self._most_waiting // 2,
            )  # fmt: skip
        return queue

    def _crowded_by(self, queue: ApiQueue) -> bool:
        """Whether so many wait that this process has no room for others, because of this API."""
        if queue.waiting < self._most_waiting // 2:
            return False
        return sum(each.waiting for each in self._queues.values()) >= self._most_waiting

    def _changed(self, api: str) -> None:
        queue = self._queues.get(api)
        if queue is not None:
            queue.reconfigure(self._book.now(api))

    def _state(self, api: str, queue: ApiQueue) -> GateState:
        limited = self._book.now(api).concurrency is not None
        return GateState(
            in_use=queue.demand.in_use, waiting=queue.demand.waiting,
            allowance=int(queue.supply.slots()) if limited else None,
            reserved=queue.supply.reserved, away_seconds=queue.supply.away_seconds,
            expected_wait_seconds=queue.expected_wait_seconds(Visit(api=api)),
            breaker=queue.health.state, closed_seconds=queue.health.closed_seconds,
            pace=min(queue.health.rate_factor, queue.health.slot_factor),
        )  # fmt: skip
