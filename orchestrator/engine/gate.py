"""The API gate of one process: who may send a request now, and who waits for how long.

Each API has one queue and one *pump*. The queue is first come, first served, and lives in memory;
only the pump talks to the other processes (through `SharedLimits`), on behalf of all that wait. So
5,000 waiting runs cost as many calls to Redis as one.

* Concurrency: the pump keeps a lease on a share of the API's slots. Entering fills a slot,
  releasing the permit empties it. When the lease runs out nobody enters.
* Rates: the pump reserves start times for those at the head of the queue. At its time the head is
  let in. A permit is good for half the headroom: if its holder gets to run later than that, it
  queues again, in front. A process whose event loop lags asks for more headroom, which costs some
  of the rate, and goes back when it has caught up.

An API without limits admits everybody at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from orchestrator.engine.apis import ApiConfig, config_of
from orchestrator.errors import Unavailable
from orchestrator.ports import GateBusy, Lease, Permit, Rate, SharedLimits

log = structlog.get_logger(__name__)

EARLY_SECONDS = 0.0005  # timers are no finer
LARGEST_HEADROOM_SECONDS = 1.0
RUNWAY_SECONDS = 0.1  # reservations in hand reach at least this far while anybody waits
SHORT_POLL_SECONDS = 0.1  # how often a process that is short of slots asks for more
EMPTY_POLL_SECONDS = 0.02  # the least pause after an answer without start times
SPACED_FROM = 50.0  # requests a second; slower ones may come in bursts
SURPLUS_POLL_SECONDS = 0.02  # how often a process above its share says what it no longer holds
BURST = 16  # start times asked for at once where requests are not spaced
IDLE_SECONDS = 60.0  # a queue unused for so long stops renewing its lease
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0  # between calls while Redis is away
AWAY_LOG_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class GateState:
    """One API as this process sees it, for people and metrics."""

    in_use: int  # requests in flight
    waiting: int
    allowance: int | None  # slots leased; None: no concurrency limit
    reserved: int  # start times in hand
    expected_wait_seconds: float  # of somebody who came now
    away_seconds: float  # since when the shared limits cannot be reached; 0: they can


class SharedGate:
    """Implements Gate for all APIs of one process, used by one event loop."""

    def __init__(self, shared: SharedLimits, apis: Mapping[str, ApiConfig]) -> None:
        self._shared = shared
        self._apis = apis
        self._queues: dict[str, _Queue] = {}

    def try_enter(self, api: str) -> Permit | None:
        """A permit if nothing makes it wait, without waiting and without I/O."""
        return self._queue(api).try_enter()

    def expected_wait_seconds(self, api: str) -> float:
        """About how long somebody who came now would wait."""
        return self._queue(api).expected_wait_seconds()

    async def enter(self, api: str, *, patience_seconds: float) -> Permit:
        """Wait in turn for a permit. Raises GateBusy when it would take longer than patience."""
        queue = self._queue(api)
        return queue.try_enter() or await queue.enter(patience_seconds)

    def snapshot(self) -> dict[str, GateState]:
        """Every API that this process has used."""
        return {api: queue.state() for api, queue in self._queues.items()}

    async def aclose(self) -> None:
        """Turn away all that wait and give this process's slots back."""
        for queue in self._queues.values():
            await queue.aclose()

    def _queue(self, api: str) -> _Queue:
        queue = self._queues.get(api)
        if queue is None:
            queue = self._queues[api] = _Queue(config_of(self._apis, api), self._shared)
        return queue


class _Permit:
    """Leave to send one request. Implements Permit."""

    __slots__ = ("_queue", "_released", "good_until", "handed_at")

    def __init__(self, queue: _Queue, good_until: float) -> None:
        self._queue = queue
        self._released = False
        self.good_until = good_until
        self.handed_at = time.monotonic()

    @property
    def fresh(self) -> bool:
        return time.monotonic() <= self.good_until

    def release(self) -> None:
        if not self._released:
            self._released = True
            self._queue.released()


@dataclass(frozen=True, slots=True)
class _Start:
    """A reserved start time and the headroom it was reserved with."""

    at: float
    headroom: float

    @property
    def good_until(self) -> float:
        return self.at + self.headroom / 2


class _Queue:
    """One API in this process."""

    def __init__(self, config: ApiConfig, shared: SharedLimits) -> None:
        self._config = config
        self._shared = shared
        self._spacing = spacing_seconds(config.rates, config.headroom_seconds)  # at the least
        self._in_use = 0
        self._peak = 0  # most in use since the lease was renewed
        self._waiters: deque[asyncio.Future[_Permit]] = deque()  # may hold cancelled ones
        self._waiting = 0
        self._lease: Lease | None = None
        self._lease_asked_at = -math.inf
        self._starts: deque[_Start] = deque()
        self._next_at = 0.0
        self._processes, self._elsewhere = 1, 0
        self._headroom = config.headroom_seconds
        self._headroom_raised_at = 0.0
        self._grant_interval = 0.0  # seconds between two permits, averaged, while somebody waits
        self._granted_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._wake = asyncio.Event()
        self._sleeps_until = -math.inf  # awake
        self._pump: asyncio.Task[None] | None = None
        self._used_at = 0.0
        self._away_since: float | None = None
        self._away_logged_at = -math.inf
        self._closed = False

    # --- entering -----------------------------------------------------------------------------

    def try_enter(self) -> _Permit | None:
        if not self._config.limited:
            return self._admit(math.inf)
        if self._closed or self._waiting or not self._slot_is_free():
            return None
        good_until = self._take_start()
        return None if good_until is None else self._admit(good_until)

    async def enter(self, patience_seconds: float) -> _Permit:
        deadline = time.monotonic() + patience_seconds
        expected = self.expected_wait_seconds()
        if self._closed or expected > patience_seconds:
            raise GateBusy(expected or 1.0)
        in_front = False
        while True:
            permit = await self._turn(deadline, in_front=in_front)
            if permit.fresh:
                self._headroom = max(self._config.headroom_seconds, self._headroom * 0.99)
                return permit
            self._lagged(time.monotonic() - permit.handed_at)
            in_front = True
            permit.release()

    async def _turn(self, deadline: float, *, in_front: bool) -> _Permit:
        """Wait in line once. A turn that comes too late for its caller goes to the next."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[_Permit] = loop.create_future()
        (self._waiters.appendleft if in_front else self._waiters.append)(turn)
        self._waiting += 1
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
            self._waiting -= 1

    def _give_up(self, turn: asyncio.Future[_Permit]) -> None:
        if not turn.done():
            turn.set_exception(GateBusy(self._spread(self.expected_wait_seconds())))

    def _return_unused(self, permit: _Permit) -> None:
        if permit.fresh and permit.good_until < math.inf:
            headroom = self._headroom
            self._starts.appendleft(_Start(permit.good_until - headroom / 2, headroom))
        permit.release()

    def released(self) -> None:
        self._in_use -= 1
        self._serve()

    # --- serving ------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Let in from the head of the queue as long as nothing makes it wait."""
        while self._waiters:
            if self._waiters[0].done():
                self._waiters.popleft()
                continue
            if not self._slot_is_free():
                break
            good_until = self._take_start()
            if good_until is None:
                break
            self._waiters.popleft().set_result(self._admit(good_until))
            self._note_grant()
        self._ensure_pump()

    def _admit(self, good_until: float) -> _Permit:
        self._in_use += 1
        self._peak = max(self._peak, self._in_use)
        self._used_at = time.monotonic()
        return _Permit(self, good_until)

    def _slot_is_free(self) -> bool:
        if self._config.concurrency is None:
            return True
        return self._in_use < self._slots()

    def _slots(self) -> int:
        """Slots that may be filled now."""
        lease = self._lease
        if lease is None or time.monotonic() >= lease.valid_until:
            return 0
        return min(lease.allowance, lease.share)

    def _take_start(self) -> float | None:
        """Until when a start time that has come is good; None when none has come."""
        if not self._config.rates:
            return math.inf
        now = time.monotonic()
        while self._starts and self._starts[0].good_until < now:
            self._starts.popleft()
        if not self._starts:
            return None
        if self._starts[0].at > now + EARLY_SECONDS:
            self._serve_at(self._starts[0].at)
            return None
        return self._starts.popleft().good_until

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
        self._lagged(time.monotonic() - at)
        self._serve()

    def _lagged(self, seconds: float) -> None:
        """Ask for more headroom when the event loop makes permits stale."""
        now = time.monotonic()
        if seconds > self._headroom / 4 and now > self._headroom_raised_at + RUNWAY_SECONDS:
            self._headroom = min(self._headroom * 2, LARGEST_HEADROOM_SECONDS)
            self._headroom_raised_at = now

    # --- estimates ----------------------------------------------------------------------------

    def expected_wait_seconds(self) -> float:
        """Roughly how long somebody who came now would wait; 0 when nothing is known."""
        now = time.monotonic()
        until_next = max(self._next_at - now, 0.0)
        if not self._waiting:
            return until_next
        ahead = self._waiting + 1
        as_lately = ahead * self._grant_interval if self._grants_are_recent(now) else 0.0
        return max(as_lately, until_next + max(self._at_full_rate(ahead), 0.0))

    def _at_full_rate(self, ahead: int) -> float:
        """How long the rates alone keep the last of `ahead` waiters, all processes in turn."""
        ahead = min(ahead * self._processes, ahead + self._elsewhere)
        beyond_burst = (
            (ahead - (0 if self._spacing else rate.amount)) * rate.seconds / rate.amount
            for rate in self._config.rates
        )
        return max(beyond_burst, default=0.0)

    def _grants_are_recent(self, now: float) -> bool:
        return now - self._granted_at < 10 * max(self._grant_interval, 0.1)

    def _note_grant(self) -> None:
        now = time.monotonic()
        if self._waiting > 1 and self._granted_at:
            sample = min(now - self._granted_at, 10.0)
            self._grant_interval += 0.05 * (sample - self._grant_interval)
        self._granted_at = now

    def _spread(self, seconds: float) -> float:
        """So that those who were turned away together don't come back together."""
        return max(seconds, 0.5) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    # --- the pump -----------------------------------------------------------------------------

    def _ensure_pump(self) -> None:
        if self._closed or not self._config.limited:
            return
        if self._pump is None or self._pump.done():
            self._used_at = time.monotonic()
            self._pump = asyncio.create_task(self._run(), name=f"gate-{self._config.name}")
        elif self._due_at() < self._sleeps_until:
            self._wake.set()

    async def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not (self._closed or self._is_idle()):
            try:
                await self._talk()
            except Unavailable as error:
                self._note_away(error)
                await self._sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            pause = FIRST_PAUSE_SECONDS
            self._note_back()
            self._serve()
            await self._sleep()

    async def _talk(self) -> None:
        now = time.monotonic()
        if self._config.concurrency is not None and now >= self._lease_due():
            await self._renew(self._config.concurrency)
        if self._wants_starts() and now >= self._starts_due():
            await self._reserve()

    async def _renew(self, limit: int) -> None:
        self._lease_asked_at = time.monotonic()
        wanted = max(self._peak, self._in_use + self._waiting)
        self._peak = self._in_use
        held = max(self._in_use, self._slots())
        self._lease = await self._shared.lease(
            self._config.name, limit=limit, wanted=wanted, held=held
        )

    async def _reserve(self) -> None:
        headroom = self._headroom
        got = await self._shared.reserve(
            self._config.name, rates=self._config.rates, count=self._starts_wanted(),
            waiting=self._waiting, headroom_seconds=headroom,
            spacing_seconds=spacing_seconds(self._config.rates, headroom),
        )  # fmt: skip
        self._starts.extend(_Start(at, headroom) for at in got.starts)
        self._processes, self._elsewhere = got.processes, got.waiting_elsewhere
        self._next_at = got.next_at
        if not got.starts:
            self._next_at = max(self._next_at, time.monotonic() + EMPTY_POLL_SECONDS)

    def _wants_slots(self) -> bool:
        return (
            self._config.concurrency is not None and self._waiting > 0 and not self._slot_is_free()
        )

    def _lease_due(self) -> float:
        lease = self._lease
        if lease is None:
            return -math.inf
        if lease.allowance > max(self._in_use, lease.share):
            return min(lease.review_at, self._lease_asked_at + SURPLUS_POLL_SECONDS)
        if self._wants_slots():
            return min(lease.review_at, self._lease_asked_at + SHORT_POLL_SECONDS)
        return lease.review_at

    def _wants_starts(self) -> bool:
        return bool(self._config.rates) and self._starts_wanted() > 0

    def _starts_wanted(self) -> int:
        """How many start times to ask for, given what is in hand."""
        burst = math.ceil(RUNWAY_SECONDS / self._spacing) + 1 if self._spacing else BURST
        wanted = min(self._waiting, 2 * burst)
        if self._config.concurrency is not None:
            wanted = min(wanted, self._slots())
        missing = wanted - len(self._starts)
        return min(missing, burst) if 2 * missing >= wanted else 0

    def _starts_due(self) -> float:
        """When to ask for start times: not in vain, and not before those in hand run short."""
        if not self._starts:
            return self._next_at
        return max(self._next_at, self._starts[-1].at - RUNWAY_SECONDS)

    def _due_at(self) -> float:
        """When the pump has something to say."""
        due = self._used_at + IDLE_SECONDS + 1.0
        if self._config.concurrency is not None:
            due = min(due, self._lease_due())
        if self._wants_starts():
            due = min(due, self._starts_due())
        return due

    async def _sleep(self, seconds: float | None = None) -> None:
        """For so long, or else until something is due or a waiter makes something due."""
        self._wake.clear()
        if self._closed:
            return
        if seconds is None:
            self._sleeps_until = self._due_at()
            seconds = self._sleeps_until - time.monotonic()
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
        self._sleeps_until = -math.inf  # awake

    def _is_idle(self) -> bool:
        busy = self._waiting or self._in_use
        return not busy and time.monotonic() > self._used_at + IDLE_SECONDS

    def _note_away(self, error: Unavailable) -> None:
        now = time.monotonic()
        self._away_since = self._away_since or now
        if now - self._away_logged_at >= AWAY_LOG_SECONDS:
            self._away_logged_at = now
            log.warning("gate.closed", api=self._config.name, waiting=self._waiting, why=str(error))

    def _note_back(self) -> None:
        if self._away_since is not None:
            seconds = time.monotonic() - self._away_since
            log.info("gate.open", api=self._config.name, away_seconds=round(seconds, 3))
            self._away_since, self._away_logged_at = None, -math.inf

    # --- the rest -----------------------------------------------------------------------------

    def state(self) -> GateState:
        away = time.monotonic() - self._away_since if self._away_since is not None else 0.0
        return GateState(
            in_use=self._in_use, waiting=self._waiting, reserved=len(self._starts),
            allowance=None if self._config.concurrency is None else self._slots(),
            expected_wait_seconds=self.expected_wait_seconds(), away_seconds=away,
        )  # fmt: skip

    async def aclose(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for turn in self._waiters:
            if not turn.done():
                turn.set_exception(GateBusy(1.0))
        self._waiters.clear()
        if self._pump is not None:
            self._wake.set()
            await asyncio.wait([self._pump])  # a call under way ends in bounded time
            with contextlib.suppress(Unavailable):
                await self._leave()

    async def _leave(self) -> None:
        """Give back all but what is in use; the lease of that runs out by itself."""
        name, last = self._config.name, self._in_use
        if last and self._config.concurrency is not None:
            await self._shared.lease(name, limit=last, wanted=last, held=last)
        else:
            await self._shared.leave(name)


def spacing_seconds(rates: Sequence[Rate], headroom_seconds: float) -> float:
    """The even distance between requests to an API; 0 where bursts do no harm.

    A request delayed by more than the headroom then meets a neighbour or two in its window; with
    bursts it could meet the whole next one. At slow rates the wait would cost more than it saves.
    """
    if not rates:
        return 0.0
    shortest = min(rates, key=lambda rate: rate.seconds)
    if shortest.amount / shortest.seconds < SPACED_FROM:
        return 0.0
    return (shortest.seconds + headroom_seconds) / shortest.amount
