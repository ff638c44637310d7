"""What this process may use of one API: slots leased and start times reserved, by one *pump*.

The pump is a task that talks to the other processes through `SharedLimits`, on behalf of all that
wait here. It sleeps until a lease is to be renewed or start times run short.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Protocol

import structlog

from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate_kinds import Kind, Kinds, ScopeUse, uncounted_until
from orchestrator.engine.gate_slots import Demand, Slots
from orchestrator.engine.gate_starts import ALWAYS, Start
from orchestrator.engine.gate_use import Use
from orchestrator.engine.rates import spacing_seconds
from orchestrator.errors import Unavailable
from orchestrator.ports import Rate, RatedPart, SharedLimits, TenantWaiting

log = structlog.get_logger(__name__)

EARLY_SECONDS = 0.0005  # timers are no finer
LARGEST_HEADROOM_SECONDS = 1.0
MISSED_WEIGHT = 1 / 200  # of one start time in the average of those that were missed
MOST_MISSED, FEW_MISSED = 0.1, 0.02  # headroom grows above, and shrinks below
CLOSEST = 0.85  # of the usual distance, until what was not used is made up for
MOST_GIVEN_BACK = 200  # at once
GIVE_BACK_SECONDS = 0.1  # after the latest reservation, if nothing else is to be said by then
RUNWAY_SECONDS = 0.1  # reservations in hand reach at least this far while anybody waits
CROWD_SECONDS = 0.4  # so often the others hear at least whose requests wait here
EMPTY_POLL_SECONDS = 0.02  # the least pause after an answer without start times
MOST_KINDS = 4  # so many times as many are named to the shared limits as can get start times
SHARE_WEIGHT = 1 / 20  # of one answer in the average share of the start times, for estimates
BURST = 16  # start times asked for at once where requests are not spaced
IDLE_SECONDS = 60.0  # an API unused for so long has no pump
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0  # between calls while Redis is away
AWAY_LOG_SECONDS = 30.0


Foresee = Callable[[Callable[[Kind], bool], int], Iterator[Kind]]
"""The kinds of those who would be served next, one after the other, if only some kinds may come and
of each kind of a tenant at most so many.
"""


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


class Crowd(Protocol):
    """Those who wait here."""

    def crowd(self) -> list[TenantWaiting]:
        """By tenant."""

    def learn(self, parts: Mapping[str, float]) -> None:
        """What part of the tenants of `crowd` waits here, and not in another process."""


class Supply:
    """One API's slots and start times. `came` is called when there may be more of them."""

    def __init__(
        self,
        config: ApiConfig,
        shared: SharedLimits,
        demand: Demand,
        came: Callable[[], None],
        pace: Pace,
        kinds: Kinds,
        foresee: Foresee,
        crowd: Crowd,
    ) -> None:
        self._pace, self._crowd = pace, crowd
        self._kinds, self._foresee = kinds, foresee
        self._config = config
        self._shared = shared
        self._demand = demand
        self._came = came
        self._slots = Slots(
            config.name, "", limit=config.concurrency, most=config.connections, demand=demand
        )
        self._next_at = 0.0
        self._last_at = 0.0  # the latest start time that was reserved
        self._asked_at = -math.inf
        self._use = Use()
        self._unused: list[Start] = []  # to be given back
        self._share, self._elsewhere = 1.0, 0
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
        self._slots.limit, self._slots.most = config.concurrency, config.connections
        if config.rates != before.rates:
            self._give_back_all()
            self._next_at = 0.0 if before.rates else uncounted_until(config.rates)
            self._last_at = 0.0
        self._wake.set()

    # --- what the queue asks ----------------------------------------------------------------------

    def slots(self) -> float:
        """Requests that may be in flight now.

        Never more than there are connections: a call that waits for one waits here, where its
        own time has not begun.
        """
        slots, factor = self._slots.usable(), self._pace.slot_factor
        return slots if factor >= 1.0 else min(slots, max(1, int(slots * factor)))

    def still_holds(self, taken_at: float, kind: Kind) -> bool:
        """Whether slots that were taken then are ours to this day: no lease ever ran out."""
        return self._slots.still_holds(taken_at) and all(
            scope.slots.still_holds(taken_at) for scope in kind.scopes
        )

    def next_start(self, kind: Kind) -> Start | None:
        """The earliest start time in hand that is still good; it may be to come."""
        if not (self._config.rates or kind.is_rated):
            return ALWAYS
        self._drop_missed(kind)
        return kind.starts[0] if kind.starts else None

    def _drop_missed(self, kind: Kind) -> None:
        now = time.monotonic()
        while kind.starts and kind.starts[0].good_until < now:
            self.lost(kind.starts.popleft())

    def lost(self, start: Start) -> None:
        """Nothing was sent on it, nor will be."""
        if start.mark.names_something:
            self._unused.append(start)

    def _give_back_all(self) -> None:
        for kind in self._kinds:
            for start in kind.starts:
                self.lost(start)
            kind.starts.clear()

    def take(self, start: Start, kind: Kind) -> None:
        """Use up what `next_start` answered."""
        if start is not ALWAYS:
            kind.starts.popleft()
            self._use.note()

    def give_back(self, start: Start, kind: Kind) -> None:
        """A start time that was taken and not used: the next may have it, here or elsewhere."""
        if start is ALWAYS:
            return
        if start.good_until < time.monotonic():
            self.lost(start)
            self._note_missed(1)
        else:
            kind.starts.appendleft(start)

    def late(self, seconds: float) -> None:
        """The event loop was late by so much. Who misses many start times by that asks for more
        headroom, which costs some of the rate; a few are given back, and cost nothing.
        """
        if seconds <= self._headroom / 2:
            return
        now = time.monotonic()
        in_hand = (start for kind in self._kinds for start in kind.starts)
        self._note_missed(sum(start.good_until < now for start in in_hand))

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
        """How long the rates keep the last of `ahead` waiters, at this process's share."""
        if not self._config.rates:
            return 0.0
        until_next = max(self._next_at - time.monotonic(), 0.0)
        if not ahead:
            return until_next
        ahead = min(math.ceil(ahead / self._share), ahead + self._elsewhere)
        return until_next + self.seconds_at_full_rate(self._config.rates, ahead)

    def seconds_at_full_rate(self, rates: tuple[Rate, ...], calls: int) -> float:
        """How long so many calls take, as far as rates are concerned."""
        spaced, longest = bool(self._spacing(rates)), 0.0
        for rate in rates:
            counted = calls if spaced else calls - rate.amount
            longest = max(longest, counted * rate.seconds / rate.amount)
        return longest / self._pace.rate_factor

    def interval_seconds(self, rates: Sequence[Rate]) -> float:
        """Between two requests of this process, on average, as rates and the others allow."""
        each = max((rate.seconds / rate.amount for rate in rates), default=0.0)
        return each / self._share / self._pace.rate_factor

    @property
    def reserved(self) -> int:
        """Start times in hand."""
        return sum(len(kind.starts) for kind in self._kinds)

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
        elif self._sleeps_until > self._soon() and self._due_at() < self._sleeps_until:
            self._wake.set()

    async def aclose(self) -> None:
        """Give back all but what is in use; the lease of that runs out by itself."""
        self._closed = True
        if self._pump is None:
            return
        self._wake.set()
        await asyncio.wait([self._pump])  # a call under way ends in bounded time
        self._give_back_all()
        leased = [self._slots, *(scope.slots for scope in self._kinds.leased())]
        with contextlib.suppress(Unavailable):
            if self._unused:
                await self._reserve(0, ())
            await asyncio.gather(*(slots.leave(self._shared) for slots in leased))

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
        due = [slots for slots, usable in self._all_slots() if slots.due_at(usable) <= now]
        if self._slots in due and self._slots.limit is not None and self._is_crowd_old(now):
            await self._reserve(0, ())
        await asyncio.gather(*(slots.renew(self._shared) for slots in due))
        for scope in self._kinds.forget_unused():
            await scope.slots.leave(self._shared)
        for kind in self._kinds:
            self._drop_missed(kind)
        count, kinds = self._starts_wanted()
        if self._unused or (count and now >= self._starts_due()):
            await self._reserve(count, kinds)

    def _is_crowd_old(self, now: float) -> bool:
        """Whether the others do not know of late whose requests wait here. Who asks for start times
        says so anyway.
        """
        return self._demand.waiting > 0 and now - self._asked_at >= CROWD_SECONDS

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
        if self._demand.is_busy:  # perhaps with calls that last longer than that: it is not over
            due = max(due, time.monotonic() + IDLE_SECONDS)
        due = min(due, *(slots.due_at(usable) for slots, usable in self._all_slots()))
        if self._starts_wanted()[0]:
            due = min(due, self._starts_due())
        if self._unused:
            due = min(due, self._asked_at + GIVE_BACK_SECONDS)
        if not self._demand.waiting:
            in_hand = (kind.starts[-1].good_until for kind in self._kinds if kind.starts)
            due = min(due, max(in_hand, default=math.inf) + EARLY_SECONDS)
        return min(due, self._kinds.due_at())

    def _soon(self) -> float:
        """A pump that wakes before that need not be woken. Where there are no rules it costs
        little to find out; else it asks for several at once.
        """
        return -math.inf if not self._config.rules else time.monotonic() + EMPTY_POLL_SECONDS

    def _is_idle(self) -> bool:
        idle = not self._demand.is_busy and not self._kinds.leased()
        return idle and time.monotonic() > self._demand.used_at + IDLE_SECONDS

    def _all_slots(self) -> Iterator[tuple[Slots, float]]:
        """The API's slots and those of its scopes, and how many of them may be filled."""
        yield self._slots, self.slots()
        for scope in self._kinds.scopes():
            if scope.demand.is_busy or scope.slots.is_leased:
                yield scope.slots, scope.slots.usable()

    # --- start times ------------------------------------------------------------------------------

    async def _reserve(self, count: int, kinds: Sequence[Kind]) -> None:
        headroom, config = self._headroom, self._config
        spacing, unused = self._spacing(config.rates, headroom), self._unused[:MOST_GIVEN_BACK]
        scopes = self._rated_scopes(kinds, unused)
        places = {scope: place for place, scope in enumerate(scopes)}
        self._asked_at, crowd = time.monotonic(), self._crowd.crowd()
        got = await self._shared.reserve(
            config.name, rates=config.rates, count=count, unused=[start.mark for start in unused],
            waiting=self._demand.waiting, headroom_seconds=headroom, spacing_seconds=spacing,
            closest_seconds=spacing * (CLOSEST if self._pace.rate_factor >= 1.0 else 1.0),
            crowd=crowd,
            parts=[
                RatedPart(
                    key=scope.scope.key, rates=scope.rates,
                    spacing_seconds=self._spacing(scope.rates, headroom, scope.rate_factor),
                )
                for scope in scopes
            ],
            wanted=[[places[each] for each in kind.scopes if each.rates] for kind in kinds]
            if scopes else None,
        )  # fmt: skip
        del self._unused[: len(unused)]
        starts = list(map(Start, got.starts, repeat(headroom), got.marks))
        if (config.rates, config.rules) != (self._config.rates, self._config.rules):
            for start in starts:  # changed in between: see `reconfigure`
                self.lost(start)
            return
        for start, place in zip(starts, got.given, strict=True):
            kinds[place].starts.append(start)
            self._last_at = max(self._last_at, start.at)
        for scope, next_at in zip(scopes, got.parts_next_at, strict=True):
            scope.next_at = next_at
        self._elsewhere = got.waiting_elsewhere
        if count:
            first_at = got.starts[0] if got.starts else None
            self._use.learn(first_at, soon=time.monotonic() + headroom / 4)
        if crowd:
            self._share += SHARE_WEIGHT * (got.share - self._share)
        here = zip(crowd, got.tenants_here, strict=True)
        self._crowd.learn({each.tenant: part for each, part in here})
        if count == 0:
            return
        self._next_at = got.next_at
        if not got.starts:
            self._next_at = max(self._next_at, time.monotonic() + EMPTY_POLL_SECONDS)

    def _rated_scopes(self, kinds: Sequence[Kind], unused: Sequence[Start]) -> list[ScopeUse]:
        """Those that start times are wanted of, and those that are given some back."""
        wanted = (each for kind in kinds for each in kind.scopes)
        keys = (key for start in unused for key, _ in start.mark.parts)
        given_back = (use for use in map(self._kinds.scope, keys) if use is not None)
        return [use for use in dict.fromkeys((*wanted, *given_back)) if use.rates]

    def _starts_wanted(self) -> tuple[int, list[Kind]]:
        """How many start times to ask for, given what is in hand, and who might get them: where
        there are rules, more than can. Few calls rather than many.
        """
        spacing = self._spacing(self._config.rates)
        burst = math.ceil(RUNWAY_SECONDS / spacing) + 1 if spacing else BURST
        now, needed = time.monotonic(), self._demand.waiting
        if spacing:
            burst = min(burst, self._use.most(RUNWAY_SECONDS, self._headroom / 2, now))
            if not self._config.rules:
                needed += self._use.stock(self._headroom / 4, now)
        most = int(min(needed, 2 * burst, self.slots(), self._pace.may_go()))
        if self._config.rules:
            in_hand, kinds = self._missing(most)
        elif self._config.rates:
            plain = self._kinds.plain
            in_hand, kinds = len(plain.starts), [plain] * (most - len(plain.starts))
        else:
            return 0, []
        missing = min(most - in_hand, len(kinds))
        wanted = min(most, in_hand + len(kinds))
        return (min(missing, burst), kinds) if missing > 0 and 2 * missing >= wanted else (0, [])

    def _missing(self, most: int) -> tuple[int, list[Kind]]:
        """How many of those who come next have a start time in hand, and the kinds of the others:
        of each kind at most so many, lest one whose limits let few of them go hides the others.
        """
        now, in_hand = time.monotonic(), 0
        starts = {kind: len(kind.starts) for kind in self._kinds}
        room = {scope: scope.slots.usable() for scope in self._kinds.scopes()}
        missing: list[Kind] = []

        def may_come(kind: Kind) -> bool:
            rated = self._config.rates or kind.is_rated
            return bool(rated) and kind.next_at <= now and kind.may_go

        for kind in self._foresee(may_come, most):
            if len(missing) >= MOST_KINDS * most:
                break
            if not all(room[scope] > 0 for scope in kind.scopes):
                continue
            for scope in kind.scopes:
                room[scope] -= 1
            if starts[kind] > 0:
                starts[kind] -= 1
                in_hand += 1
            else:
                missing.append(kind)
        return in_hand, missing

    def _starts_due(self) -> float:
        """When to ask for start times: not in vain, and not before those in hand run short."""
        due = max(self._next_at, self._last_at - RUNWAY_SECONDS)
        return max(due, self._asked_at + EMPTY_POLL_SECONDS) if self._config.rules else due

    def _spacing(
        self, rates: tuple[Rate, ...], headroom: float | None = None, most: float = 1.0
    ) -> float:
        """Between two start times. Below the full rate also slow ones are spaced, by the window
        that is used up first: an amount that changes would lose the memory of what was let out.
        """
        headroom = headroom or self._config.headroom_seconds
        factor = min(self._pace.rate_factor, most)
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
