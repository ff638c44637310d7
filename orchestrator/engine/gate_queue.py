"""The queue of one API in one process: first come, first served, in memory."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque

from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate_supply import EARLY_SECONDS, Demand, Start, Supply
from orchestrator.ports import GateBusy, SharedLimits

TURNED_AWAY_SECONDS = 0.5  # nobody is told to come back sooner
USUAL_FACTOR = 8.0  # what is longer than so many average intervals, and than
USUAL_SECONDS = 0.1  # this, counts as if it were not


class QueuePermit:
    """Leave to send one request. Implements Permit."""

    __slots__ = ("_queue", "_released", "handed_at", "start")

    def __init__(self, queue: ApiQueue, start: Start) -> None:
        self._queue = queue
        self._released = False
        self.start = start
        self.handed_at = time.monotonic()

    @property
    def fresh(self) -> bool:
        """Whether the request may still leave on it."""
        if time.monotonic() > self.start.good_until:
            return False
        return self._queue.supply.still_holds(self.handed_at)

    def release(self) -> None:
        """Give the slot back. Safe to call twice."""
        if not self._released:
            self._released = True
            self._queue.released()


class ApiQueue:
    """Those of this process who want to send to one API."""

    def __init__(self, config: ApiConfig, shared: SharedLimits) -> None:
        self._config = config
        self.demand = Demand()
        self.supply = Supply(config, shared, self.demand, self._serve)
        self._waiters: deque[asyncio.Future[QueuePermit]] = deque()  # may hold cancelled ones
        self._grant_interval = 0.0  # seconds between two permits, averaged, while somebody waits
        self._granted_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._closed = False

    # --- entering ---------------------------------------------------------------------------------

    def try_enter(self) -> QueuePermit | None:
        """A permit if nothing makes it wait."""
        if self._closed or self.demand.waiting:
            return None
        start = self._usable_start()
        return None if start is None else self._admit(start)

    async def enter(self, patience_seconds: float) -> QueuePermit:
        """Wait in turn. Raises GateBusy when it would take longer than patience."""
        deadline = time.monotonic() + patience_seconds
        expected = self.expected_wait_seconds()
        if self._closed or expected > patience_seconds:
            raise GateBusy(max(expected, TURNED_AWAY_SECONDS))
        in_front = False
        while True:
            permit = await self._turn(deadline, in_front=in_front)
            if permit.fresh:
                self.supply.on_time()
                return permit
            self.supply.late(time.monotonic() - permit.handed_at)
            in_front = True
            permit.release()

    async def _turn(self, deadline: float, *, in_front: bool) -> QueuePermit:
        """Wait in line once. A turn that comes too late for its caller goes to the next."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[QueuePermit] = loop.create_future()
        (self._waiters.appendleft if in_front else self._waiters.append)(turn)
        self.demand.waiting += 1
        timer = loop.call_later(max(deadline - time.monotonic(), 0.0), self._give_up, turn)
        self._serve()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._return_unused(turn.result())
            raise
        finally:
            timer.cancel()
            self.demand.waiting -= 1

    def _give_up(self, turn: asyncio.Future[QueuePermit]) -> None:
        if not turn.done():
            seconds = max(self.expected_wait_seconds(), TURNED_AWAY_SECONDS)
            # Those who are turned away together should not come back together.
            turn.set_exception(GateBusy(seconds * random.uniform(0.8, 1.2)))  # noqa: S311 - no secret

    def _return_unused(self, permit: QueuePermit) -> None:
        if permit.fresh:
            self.supply.give_back(permit.start)
        permit.release()

    def released(self) -> None:
        """A permit was given back."""
        self.demand.in_use -= 1
        self._serve()

    # --- serving ----------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Let in from the head of the queue as long as nothing makes it wait."""
        while self._waiters:
            if self._waiters[0].done():
                self._waiters.popleft()
                continue
            start = self._usable_start()
            if start is None:
                break
            self._waiters.popleft().set_result(self._admit(start))
            self._note_grant()
        self.supply.demand_changed()

    def _usable_start(self) -> Start | None:
        """A start time that has come, if a slot is free as well."""
        if self.demand.in_use >= self.supply.slots():
            return None
        start = self.supply.next_start()
        if start is not None and start.at > time.monotonic() + EARLY_SECONDS:
            self._serve_at(start.at)
            return None
        return start

    def _admit(self, start: Start) -> QueuePermit:
        self.supply.take(start)
        self.demand.in_use += 1
        self.demand.peak = max(self.demand.peak, self.demand.in_use)
        self.demand.used_at = time.monotonic()
        return QueuePermit(self, start)

    def _serve_at(self, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        delay = max(at - time.monotonic(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(delay, self._time_has_come, at)

    def _time_has_come(self, at: float) -> None:
        self._timer = None
        self.supply.late(time.monotonic() - at)
        self._serve()

    # --- estimates --------------------------------------------------------------------------------

    def expected_wait_seconds(self) -> float:
        """Roughly how long somebody who came now would wait; 0 when nothing is known."""
        if not self.demand.waiting:
            return self.supply.wait_seconds(0)
        ahead = self.demand.waiting + 1
        recently = time.monotonic() - self._granted_at < 10 * max(self._grant_interval, 0.1)
        as_lately = ahead * self._grant_interval if recently else 0.0
        return max(as_lately, self.supply.wait_seconds(ahead))

    def _note_grant(self) -> None:
        now = time.monotonic()
        if self.demand.waiting > 1 and self._granted_at:
            # One stall is not how it goes on, and an estimate parks whoever comes next.
            most = max(USUAL_FACTOR * self._grant_interval, USUAL_SECONDS)
            sample = min(now - self._granted_at, most)
            self._grant_interval += 0.05 * (sample - self._grant_interval)
        self._granted_at = now

    async def aclose(self) -> None:
        """Turn away all that wait and give the slots back."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for turn in self._waiters:
            if not turn.done():
                turn.set_exception(GateBusy(TURNED_AWAY_SECONDS))
        self._waiters.clear()
        await self.supply.aclose()
