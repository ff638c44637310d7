"""What this process may use of one API: slots leased and start times reserved, by one *pump*.

The pump is a task that talks to the other processes through `SharedLimits`, on behalf of all that
wait here. It sleeps until a lease is to be renewed or start times run short.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

import structlog

from orchestrator.engine.apis import ApiConfig
from orchestrator.errors import Unavailable
from orchestrator.ports import Lease, Rate, SharedLimits

log = structlog.get_logger(__name__)

EARLY_SECONDS = 0.0005  # timers are no finer
LARGEST_HEADROOM_SECONDS = 1.0
MISSED_WEIGHT = 1 / 200  # of one start time in the average of those that were missed
MOST_MISSED, FEW_MISSED = 0.1, 0.02  # headroom grows above, and shrinks below
CLOSEST = 0.85  # of the usual distance, until what was not used is made up for
MOST_GIVEN_BACK = 200  # at once
GIVE_BACK_SECONDS = 0.1  # after the latest reservation, if nothing else is to be said by then
RUNWAY_SECONDS = 0.1  # reservations in hand reach at least this far while anybody waits
SHORT_POLL_SECONDS = 0.1  # how often a process that is short of slots asks for more
SURPLUS_POLL_SECONDS = 0.02  # how often a process above its share says what it no longer holds
EMPTY_POLL_SECONDS = 0.02  # the least pause after an answer without start times
SPACED_FROM = 50.0  # requests a second; slower ones may come in bursts
BURST = 16  # start times asked for at once where requests are not spaced
UNCOUNTED_SECONDS = 60.0  # at most so long is waited for what left while there was no rate
IDLE_SECONDS = 60.0  # an API unused for so long has no pump
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0  # between calls while Redis is away
AWAY_LOG_SECONDS = 30.0


@dataclass(slots=True)
class Demand:
    """What the queue of this API wants; it writes, the supply reads."""

    in_use: int = 0  # requests in flight
    peak: int = 0  # most of them since the lease was renewed
    waiting: int = 0
    used_at: float = 0.0  # time.monotonic() of the latest permit


@dataclass(frozen=True, slots=True)
class Start:
    """A moment at which one request may leave, and the headroom it was reserved with."""

    at: float  # time.monotonic()
    headroom: float
    mark: int = 0  # what it is given back by

    @property
    def good_until(self) -> float:
        """The other half of the headroom is for the way to the API."""
        return self.at + self.headroom / 2


ALWAYS = Start(0.0, math.inf)
"""For APIs without rates."""


class Pace(Protocol):
    """How far the API's health lets its limits be used."""

    @property
    def rate_factor(self) -> float:
        """The part of the configured rates that may be used now, above 0."""

    @property
    def slot_factor(self) -> float:
        """The part of the slots, above 0."""

    def may_go(self) -> float:
        """How many more calls may leave now."""


class Supply:
    """One API's slots and start times. `came` is called when there may be more of them."""

    def __init__(
        self,
        config: ApiConfig,
        shared: SharedLimits,
        demand: Demand,
        came: Callable[[], None],
        pace: Pace,
    ) -> None:
        self._pace = pace
        self._config = config
        self._shared = shared
        self._demand = demand
        self._came = came
        self._lease: Lease | None = None
        self._unbroken_since = math.inf  # no other process was given our slots since then
        self._lease_asked_at = -math.inf
        self._starts: deque[Start] = deque()
        self._next_at = 0.0
        self._processes, self._elsewhere = 1, 0
        self._unused: list[Start] = []  # to be given back
        self._reserved_at = -math.inf
        self._headroom = config.headroom_seconds
        self._missed = 0.0  # the part of the start times that were missed, averaged
        self._wake = asyncio.Event()
        self._sleeps_until = -math.inf  # awake
        self._pump: asyncio.Task[None] | None = None
        self._away_since: float | None = None
        self._away_logged_at = -math.inf
        self._closed = False

    def reconfigure(self, config: ApiConfig) -> None:
        """Go on with other limits. Start times in hand may be too many for them: give them back."""
        before, self._config = self._config, config
        self._headroom = config.headroom_seconds
        if config.rates != before.rates:
            self._unused += self._starts
            self._starts.clear()
            self._next_at = 0.0 if before.rates else self._uncounted_until()
        self._wake.set()

    def _uncounted_until(self) -> float:
        """When what left without being counted is out of every window, as far as that is near."""
        longest = max((rate.seconds for rate in self._config.rates), default=0.0)
        return time.monotonic() + min(longest, UNCOUNTED_SECONDS)

    # --- what the queue asks ----------------------------------------------------------------------

    def slots(self) -> float:
        """Requests that may be in flight now.

        Never more than there are connections: a call that waits for one waits here, where its
        own time has not begun.
        """
        slots, factor = self._leased(), self._pace.slot_factor
        return slots if factor >= 1.0 else min(slots, max(1, int(slots * factor)))

    def _leased(self) -> float:
        if self._config.concurrency is None:
            return self._config.connections
        lease = self._lease
        if lease is None or time.monotonic() >= lease.valid_until:
            return 0
        most = min(self._config.connections, self._config.concurrency)  # it may have changed
        return min(lease.allowance, lease.share, most)

    def still_holds(self, taken_at: float) -> bool:
        """Whether a slot that was taken then is ours to this day: the lease never ran out."""
        if self._config.concurrency is None:
            return True
        lease = self._lease
        held = lease is not None and time.monotonic() < lease.valid_until
        return held and taken_at >= self._unbroken_since

    def next_start(self) -> Start | None:
        """The earliest start time in hand that is still good; it may be to come."""
        if not self._config.rates:
            return ALWAYS
        self._drop_missed()
        return self._starts[0] if self._starts else None

    def _drop_missed(self) -> None:
        now = time.monotonic()
        while self._starts and self._starts[0].good_until < now:
            self._unused.append(self._starts.popleft())

    def take(self, start: Start) -> None:
        """Use up what `next_start` answered."""
        if start is not ALWAYS:
            self._starts.popleft()

    def give_back(self, start: Start) -> None:
        """A start time that was taken and not used: the next may have it, here or elsewhere."""
        if start is ALWAYS:
            return
        if start.good_until < time.monotonic():
            self._unused.append(start)
            self._note_missed(1)
        else:
            self._starts.appendleft(start)

    def late(self, seconds: float) -> None:
        """The event loop was late by so much. Who misses many start times by that asks for more
        headroom, which costs some of the rate; a few are given back, and cost nothing.
        """
        if seconds <= self._headroom / 2:
            return
        now = time.monotonic()
        self._note_missed(sum(start.good_until < now for start in self._starts))

    def _note_missed(self, count: int) -> None:
        for _ in range(count):
            self._missed += (1.0 - self._missed) * MISSED_WEIGHT
        if self._missed > MOST_MISSED:
            self._headroom = min(self._headroom * 2, LARGEST_HEADROOM_SECONDS)
            self._missed = 0.0

    def on_time(self) -> None:
        """A request is about to leave in time; the headroom shrinks to what is configured."""
        self._missed -= self._missed * MISSED_WEIGHT
        if self._missed < FEW_MISSED:
            self._headroom = max(self._config.headroom_seconds, self._headroom * 0.99)

    def wait_seconds(self, ahead: int) -> float:
        """How long the rates keep the last of `ahead` waiters, all processes taking turns."""
        if not self._config.rates:
            return 0.0
        until_next = max(self._next_at - time.monotonic(), 0.0)
        if not ahead:
            return until_next
        ahead = min(ahead * self._processes, ahead + self._elsewhere)
        at_full_rate = (
            (ahead - (0 if self._spacing() else rate.amount)) * rate.seconds / rate.amount
            for rate in self._config.rates
        )
        return until_next + max([0.0, *at_full_rate]) / self._pace.rate_factor

    @property
    def interval_seconds(self) -> float:
        """Between two requests of this process, on average, as the rates and the others allow."""
        each = max((rate.seconds / rate.amount for rate in self._config.rates), default=0.0)
        return each * self._processes / self._pace.rate_factor

    @property
    def reserved(self) -> int:
        """Start times in hand."""
        return len(self._starts)

    @property
    def away_seconds(self) -> float:
        """Since when the shared limits cannot be reached; 0: they can."""
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    def demand_changed(self) -> None:
        """See to it that the pump runs, and wake it if there is something to say."""
        if self._closed or not self._config.limited:
            return
        if self._pump is None or self._pump.done():
            self._demand.used_at = time.monotonic()
            self._pump = asyncio.create_task(self._run(), name=f"gate-{self._config.name}")
        elif self._due_at() < self._sleeps_until:
            self._wake.set()

    async def aclose(self) -> None:
        """Give back all but what is in use; the lease of that runs out by itself."""
        self._closed = True
        if self._pump is None:
            return
        self._wake.set()
        await asyncio.wait([self._pump])  # a call under way ends in bounded time
        last = 0 if self._config.concurrency is None else self._demand.in_use
        with contextlib.suppress(Unavailable):
            self._unused += self._starts
            self._starts.clear()
            if self._unused:
                await self._reserve(0)
            await self._shared.leave(self._config.name, in_use=last)

    # --- the pump ---------------------------------------------------------------------------------

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
            self._came()
            await self._sleep()

    async def _talk(self) -> None:
        now = time.monotonic()
        if self._config.concurrency is not None and now >= self._lease_due():
            await self._renew(self._config.concurrency)
        self._drop_missed()
        wanted = self._starts_wanted()
        if self._unused or (wanted > 0 and now >= self._starts_due()):
            await self._reserve(wanted)

    async def _sleep(self, seconds: float | None = None) -> None:
        """For so long, or else until something is due or the queue makes something due."""
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

    def _due_at(self) -> float:
        """When the pump has something to say."""
        due = self._demand.used_at + IDLE_SECONDS + 1.0
        if self._is_busy():  # perhaps with calls that last longer than that: it is not over yet
            due = max(due, time.monotonic() + IDLE_SECONDS)
        if self._config.concurrency is not None:
            due = min(due, self._lease_due())
        if self._starts_wanted() > 0:
            due = min(due, self._starts_due())
        if self._unused:
            due = min(due, self._reserved_at + GIVE_BACK_SECONDS)
        if self._starts and not self._demand.waiting:
            due = min(due, self._starts[-1].good_until + EARLY_SECONDS)
        return due

    def _is_idle(self) -> bool:
        return not self._is_busy() and time.monotonic() > self._demand.used_at + IDLE_SECONDS

    def _is_busy(self) -> bool:
        return bool(self._demand.waiting or self._demand.in_use)

    # --- slots ------------------------------------------------------------------------------------

    async def _renew(self, limit: int) -> None:
        self._lease_asked_at = time.monotonic()
        demand = self._demand
        wanted = max(demand.peak, demand.in_use + demand.waiting)
        wanted = min(wanted, self._config.connections)  # more would be kept from the others
        held = max(demand.in_use, int(self._leased()))
        demand.peak = demand.in_use
        before = self._lease
        self._lease = await self._shared.lease(
            self._config.name, limit=limit, wanted=wanted, held=held
        )
        now = time.monotonic()
        if before is None or now >= before.valid_until:
            self._unbroken_since = now

    def _lease_due(self) -> float:
        lease = self._lease
        if lease is None:
            return -math.inf
        if lease.allowance > max(self._demand.in_use, lease.share):
            return min(lease.review_at, self._lease_asked_at + SURPLUS_POLL_SECONDS)
        if self._demand.waiting and self._demand.in_use >= self.slots():
            return min(lease.review_at, self._lease_asked_at + SHORT_POLL_SECONDS)
        return lease.review_at

    # --- start times ------------------------------------------------------------------------------

    async def _reserve(self, count: int) -> None:
        headroom, rates = self._headroom, self._config.rates
        spacing, unused = self._spacing(headroom), self._unused[:MOST_GIVEN_BACK]
        self._reserved_at = time.monotonic()
        got = await self._shared.reserve(
            self._config.name, rates=rates, count=count, unused=[start.mark for start in unused],
            waiting=self._demand.waiting, headroom_seconds=headroom, spacing_seconds=spacing,
            closest_seconds=spacing * (CLOSEST if self._pace.rate_factor >= 1.0 else 1.0),
        )  # fmt: skip
        del self._unused[: len(unused)]
        starts = map(Start, got.starts, repeat(headroom), got.marks)
        if rates != self._config.rates:  # changed in between: see `reconfigure`
            self._unused.extend(starts)
            return
        self._starts.extend(starts)
        self._processes, self._elsewhere = got.processes, got.waiting_elsewhere
        if count == 0:
            return
        self._next_at = got.next_at
        if not got.starts:
            self._next_at = max(self._next_at, time.monotonic() + EMPTY_POLL_SECONDS)

    def _starts_wanted(self) -> int:
        """How many start times to ask for, given what is in hand; few calls rather than many."""
        if not self._config.rates:
            return 0
        spacing = self._spacing()
        burst = math.ceil(RUNWAY_SECONDS / spacing) + 1 if spacing else BURST
        wanted = int(min(self._demand.waiting, 2 * burst, self.slots(), self._pace.may_go()))
        missing = wanted - len(self._starts)
        return min(missing, burst) if 2 * missing >= wanted else 0

    def _starts_due(self) -> float:
        """When to ask for start times: not in vain, and not before those in hand run short."""
        if not self._starts:
            return self._next_at
        return max(self._next_at, self._starts[-1].at - RUNWAY_SECONDS)

    def _spacing(self, headroom: float | None = None) -> float:
        """Between two start times. Below the full rate also slow ones are spaced, by the window
        that is used up first: an amount that changes would lose the memory of what was let out.
        """
        rates, headroom = self._config.rates, headroom or self._config.headroom_seconds
        factor = self._pace.rate_factor
        if not rates or factor >= 1.0:
            return spacing_seconds(rates, headroom)
        shortest = min(rates, key=lambda rate: rate.seconds)
        return (shortest.seconds + headroom) / shortest.amount / factor

    # --- while the shared limits are away ---------------------------------------------------------

    def _note_away(self, error: Unavailable) -> None:
        now = time.monotonic()
        self._away_since = self._away_since or now
        if now - self._away_logged_at >= AWAY_LOG_SECONDS:
            self._away_logged_at = now
            waiting = self._demand.waiting
            log.warning("gate.closed", api=self._config.name, waiting=waiting, why=str(error))

    def _note_back(self) -> None:
        if self._away_since is not None:
            seconds = round(self.away_seconds, 3)
            log.info("gate.open", api=self._config.name, away_seconds=seconds)
            self._away_since, self._away_logged_at = None, -math.inf


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
