"""How one API stands, as this process knows it: may calls go, how many, and how fast.

Two books say so, and a call needs both. `core/health.py` has their rules, `gate_side.py` keeps what
is known of each:

* the book of all processes, in Redis. This process reports to it and hears from it every
  EVERY_SECONDS while there is traffic, and at once when something has changed; never for each
  call;
* its own book, of what it saw itself. It stops this process's callers without waiting for Redis,
  and takes over what the other one said last when Redis is away or has lost its memory. Where all
  are told of an ill API by Redis, the own book has nothing to add and begins anew.

A process that has not heard for a while asks before it lets anybody go, for ASK_SECONDS at most.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import structlog

from orchestrator.core.exchange import Outcome
from orchestrator.core.health import (
    HEALTHY,
    PROBE_SECONDS,
    WINDOW_SECONDS,
    BreakerState,
    Health,
    HealthBook,
    HealthRules,
)
from orchestrator.engine.api_advice import advice_of
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate_side import Side, Ticket
from orchestrator.errors import Unavailable
from orchestrator.ports import Seen, SharedHealth, Visit

log = structlog.get_logger(__name__)

EVERY_SECONDS = 0.5
FRESH_SECONDS = 1.5  # what was heard longer ago may not hold any more
ASK_SECONDS = 0.25  # for so long an answer is worth waiting for
AGAIN_SECONDS = 0.02  # between two reports, also when there is news
AWAY_SECONDS = 2.0  # between two tries while Redis is away
PROBE_MARGIN_SECONDS = 0.5
UNDECIDED_SECONDS = 1.0  # half open, and the probes are under way: come back after so long
RETRY_SECONDS = 1.0  # the same while too many calls are retries
LONGEST_RETRY_SECONDS = 60.0


class GateHealth:
    """Implements gate_supply.Pace. `came` is called when more may go, `shut` when nobody may."""

    def __init__(
        self,
        config: ApiConfig,
        shared: SharedHealth | None,
        came: Callable[[], None],
        shut: Callable[[], None],
    ) -> None:
        self._config, self._rules = config, config.health
        self._shared = shared
        self._came, self._shut = came, shut
        self._book = HealthBook()
        self._own, self._all = Side(), Side()
        self._waiting = 0
        self._shown = BreakerState.CLOSED
        self._calm: Ticket | None = None  # of all calls while nothing holds anybody up
        self._note_calm()
        self._number = 0
        self._asked_at = math.inf  # since when an answer is waited for, knowing nothing
        self._spoke_at = -math.inf
        self._away = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._talking: asyncio.Task[None] | None = None
        self._talk_again_at = math.inf
        self._retries_told = 0.0  # when the last one of them comes back
        self._closed = False

    def reconfigure(self, config: ApiConfig) -> None:
        """Judge by other rules from now on; what has been seen stays."""
        self._config, self._rules = config, config.health
        self._calm = None
        self._note_calm()

    # --- what the queue asks ----------------------------------------------------------------------

    def may_go(self) -> float:
        """How many more calls may leave now, as far as the API's health goes."""
        if self._rules is None:
            return math.inf
        now = time.monotonic()
        if self._must_ask_first(now):
            return 0
        if self._calm is not None:
            return math.inf
        if self._pause_left(now):
            return 0
        if self._own.health.state is not BreakerState.CLOSED:
            self._want_own_probe(now)
        return min(self._own.may_go(now), self._all.may_go(now))

    @property
    def is_well(self) -> bool:
        """Whether nothing is failing, paused or being taken up again: then it keeps nobody up."""
        return self._rules is None or self._calm is not None

    def turned_away_seconds(self) -> float | None:
        """Whether all have to come back later whatever their patience; if so, how long at least.

        A pause that the API asked for is not meant: one that is short is waited for in line.
        """
        if self._rules is None or self._calm is not None:
            return None
        now, state = time.monotonic(), self.state
        if state is BreakerState.OPEN:
            return max(self._own.open_seconds(now), self._all.open_seconds(now))
        if state is BreakerState.HALF_OPEN:
            self._note_state()
            return UNDECIDED_SECONDS if self._waiting >= self._rules.probes else None
        return None

    def may_retry(self) -> bool:
        """Whether a retry may leave: not too many of the calls of late were retries."""
        return self._rules is None or self._may_retry(time.monotonic())

    def retry_wait_seconds(self) -> float | None:
        """After how long a retry may come back, one after the other; None: it may go on."""
        if self.may_retry():
            return None
        now = time.monotonic()
        at = max(now + RETRY_SECONDS, self._retries_told + 1.0 / self._config.retries_a_second)
        self._retries_told = min(at, now + LONGEST_RETRY_SECONDS)
        return self._retries_told - now

    @property
    def closed_seconds(self) -> float:
        """For how long certainly nobody may go: a pause, or an open breaker."""
        if self._rules is None or self._calm is not None:
            return 0.0
        now = time.monotonic()
        return max(self._pause_left(now), self._own.open_seconds(now), self._all.open_seconds(now))

    @property
    def pause_seconds(self) -> float:
        """What is left of the pause that the API asked for."""
        return 0.0 if self._rules is None else self._pause_left(time.monotonic())

    @property
    def state(self) -> BreakerState:
        """The stricter one of both books."""
        now, sides = time.monotonic(), (self._own, self._all)
        if any(side.open_seconds(now) for side in sides):
            return BreakerState.OPEN
        if any(side.health.state is not BreakerState.CLOSED for side in sides):
            return BreakerState.HALF_OPEN
        return BreakerState.CLOSED

    def take(self, visit: Visit) -> Ticket | None:
        """One call is let go."""
        if self._rules is None:
            return None
        if self._calm is not None and not visit.retry:
            return self._calm
        own, shared = self._own, self._all
        ticket = self._ticket(retry=visit.retry)
        own.probing += ticket.own_probe
        shared.probing += ticket.probe
        own.tally.retries += visit.retry
        shared.tally.retries += visit.retry
        return ticket

    def released(
        self, ticket: Ticket | None, seen: Seen | None, *, judged: bool = True, advised: bool = True
    ) -> None:
        """It is over. `seen` is None when nothing left. `judged`: whether failures and slowness
        count here; `advised`: whether to heed what the API says of its limits.
        """
        if ticket is None or self._rules is None:
            return
        mine = ticket.own_episode == self._own.health.episode
        ours = ticket.episode == self._all.health.episode
        if ticket.own_probe and mine:
            self._own.probing = max(self._own.probing - 1, 0)
        if ticket.probe and ours:
            self._all.probing = max(self._all.probing - 1, 0)
        if seen is None:
            self._own.tally.retries -= ticket.retry
            self._all.tally.retries -= ticket.retry
            self._talk_by(self._spoke_at + EVERY_SECONDS)
            return
        judged = judged and self._config.breaker
        failed, slow = judged and has_failed(seen), judged and _is_slow(seen, self._rules)
        if mine:
            self._own.tally.add(probe=ticket.own_probe, failed=failed, slow=slow)
        if ours:
            self._all.tally.add(probe=ticket.probe, failed=failed, slow=slow)
        advised = advised and self._take_advice(ticket, seen)
        if advised:
            self._note_calm()
        if failed or slow or advised or ticket.own_probe:
            self._tell_own_book()
        news = advised or (ticket.probe and ours)
        self._talk_by(-math.inf if news else self._spoke_at + EVERY_SECONDS)

    def demand_changed(self, waiting: int) -> None:
        """So many wait in line."""
        self._waiting = waiting
        if waiting and self._rules is not None:
            self._talk_by(self._spoke_at + EVERY_SECONDS)

    def close(self) -> None:
        """Say nothing more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def aclose(self) -> None:
        """And wait until nothing is being said."""
        self.close()
        if self._talking is not None:
            await asyncio.wait([self._talking])  # a call under way ends in bounded time

    # --- what the supply asks (Pace) --------------------------------------------------------------

    @property
    def rate_factor(self) -> float:
        """The part of the configured rates that may be used now."""
        return self._factor(adapted=True)

    @property
    def slot_factor(self) -> float:
        """The part of the slots; they follow the pace where there is no rate that could."""
        return self._factor(adapted=not self._config.rates)

    def _factor(self, *, adapted: bool) -> float:
        if self._rules is None or self._calm is not None:
            return 1.0
        now = time.monotonic()
        factor = min(self._own.ramp(now, self._rules), self._all.ramp(now, self._rules))
        return factor * min(self._own.pace(now), self._all.pace(now)) if adapted else factor

    # --- what a call brought ----------------------------------------------------------------------

    def _ticket(self, *, retry: bool) -> Ticket:
        own, shared = self._own.health, self._all.health
        return Ticket(
            own.episode, shared.episode, own.state is not BreakerState.CLOSED,
            shared.state is not BreakerState.CLOSED, max(own.cuts, shared.cuts), retry,
        )  # fmt: skip

    def _note_calm(self) -> None:
        """After everything that may have changed how the API stands."""
        if self._rules is None:
            return
        now = time.monotonic()
        calm = self._own.is_calm(now, self._rules) and self._all.is_calm(now, self._rules)
        self._calm = self._ticket(retry=False) if calm else None

    def _take_advice(self, ticket: Ticket, seen: Seen) -> bool:
        """Whether the API has asked for less."""
        if seen.response is None:
            return False
        advice = advice_of(seen.response, now=time.time())
        if advice.pause_seconds:
            until = time.monotonic() + min(advice.pause_seconds, self._longest_pause)
            for side in (self._own, self._all):
                side.tally.pause_until = max(side.tally.pause_until, until)
        # What left before the last cut says nothing about the pace since then.
        if advice.throttled and ticket.cuts == max(self._own.health.cuts, self._all.health.cuts):
            self._own.tally.throttled = self._all.tally.throttled = True
            return True
        return advice.pause_seconds > 0

    @property
    def _longest_pause(self) -> float:
        return self._rules.longest_pause_seconds if self._rules is not None else 0.0

    def _tell_own_book(self, wanted: int = 0) -> None:
        assert self._rules is not None, "the caller has looked"
        now = time.monotonic()
        before = self._own.health.state
        news = self._own.take_news(now, wanted=wanted)
        self._own.learn(self._book.report("", news, self._rules, _us(now)), now)
        self._note_calm()
        if self._own.health.state is not before:
            self._note_state()
            self._talk_by(-math.inf)

    def _want_own_probe(self, now: float) -> None:
        if not self._own.open_seconds(now) and not self._own.may_go(now):
            self._tell_own_book(wanted=1)

    def _note_state(self) -> None:
        """Tell people, and turn away all that wait, once for each change."""
        state = self.state
        if state is self._shown:
            return
        self._shown = state
        if state is BreakerState.OPEN:
            seconds = round(self.closed_seconds, 3)
            log.warning("breaker.opened", api=self._config.name, open_seconds=seconds)
            self._shut()
        else:
            log.info(f"breaker.{state}", api=self._config.name)

    def _pause_left(self, now: float) -> float:
        return max(self._own.pause_seconds(now), self._all.pause_seconds(now))

    # --- retries ----------------------------------------------------------------------------------

    def _may_retry(self, now: float) -> bool:
        side = self._own if self._shared is None or self._away else self._all
        if now - side.heard_at > WINDOW_SECONDS:
            return True
        retries = side.health.retries + side.tally.retries
        calls = side.health.calls + side.tally.calls
        most = self._config.retries_a_second * WINDOW_SECONDS + self._config.retry_share * calls
        if retries + 1 <= most:
            return True
        self._talk_by(self._spoke_at + EVERY_SECONDS)
        return False

    # --- talking to the others --------------------------------------------------------------------

    def _must_ask_first(self, now: float) -> bool:
        if self._shared is None or self._away or now - self._all.heard_at <= FRESH_SECONDS:
            return False
        if now < self._asked_at:  # nobody has asked yet
            self._asked_at = now
            self._talk_by(-math.inf)
            asyncio.get_running_loop().call_later(ASK_SECONDS, self._came)
        return now - self._asked_at < ASK_SECONDS * 0.99

    def _talk_by(self, at: float) -> None:
        """See to it that a report goes out by then."""
        if self._closed:
            return
        now = time.monotonic()
        at = max(at, now, self._spoke_at + (AWAY_SECONDS if self._away else AGAIN_SECONDS))
        if self._talking is not None:
            self._talk_again_at = min(self._talk_again_at, at)
        elif self._timer is None or at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = asyncio.get_running_loop().call_later(at - now, self._talk_now)

    def _talk_now(self) -> None:
        self._timer, self._timer_at = None, math.inf
        name = f"health-{self._config.name}"
        self._talking = asyncio.get_running_loop().create_task(self._talk(), name=name)

    async def _talk(self) -> None:
        assert self._rules is not None, "nobody talks without rules"
        self._spoke_at = time.monotonic()
        self._tell_own_book()
        try:
            if self._shared is not None:
                await self._tell_all(self._shared, self._rules)
            else:
                self._all.take_news(self._spoke_at)
        finally:
            self._talking = None
            self._asked_at = math.inf
        self._note_state()
        if self._all.probing:  # the leases are to be renewed
            self._talk_by(self._spoke_at + EVERY_SECONDS)
        if self._talk_again_at < math.inf:
            again, self._talk_again_at = self._talk_again_at, math.inf
            self._talk_by(again)
        self._came()

    async def _tell_all(self, shared: SharedHealth, rules: HealthRules) -> None:
        sent, before = time.monotonic(), self._all.as_of(time.monotonic())
        self._number += 1
        due = before.state is not BreakerState.CLOSED and not before.open_seconds
        wanted = min(self._waiting, rules.probes) if due else 0
        news = self._all.take_news(sent, number=self._number, wanted=wanted)
        try:
            health = await shared.report(self._config.name, rules, news)
        except Unavailable as error:
            if not self._away:
                log.warning("health.alone", api=self._config.name, why=str(error))
            self._away = True
            self._go_on_alone(self._all.as_of(time.monotonic()))
            return
        self._away = False
        now = time.monotonic()
        if before.generation not in ("", health.generation):
            self._go_on_alone(before)  # it was wiped, and knows nothing of it any more
        self._all.learn(health, now, sent + PROBE_SECONDS - PROBE_MARGIN_SECONDS)
        self._note_calm()
        if health.state is not BreakerState.CLOSED:
            self._book.close()
            self._tell_own_book()

    def _go_on_alone(self, known: Health) -> None:
        """With what the book of all has said last."""
        now = time.monotonic()
        self._book.take_over(known, _us(now))
        self._all.learn(HEALTHY, now)
        self._tell_own_book()


def has_failed(seen: Seen) -> bool:
    """Whether a call says that its API is ill: no answer, one that is unclear, or a 5xx.

    A refusal is health, and one for too many calls is the rates' business.
    """
    if seen.response is None:
        return seen.outcome is not Outcome.LANDED
    return seen.outcome is Outcome.UNKNOWN or seen.response.status >= 500


def _is_slow(seen: Seen, rules: HealthRules) -> bool:
    return rules.slow_seconds is not None and seen.seconds >= rules.slow_seconds


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
