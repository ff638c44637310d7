"""The queue of one API in one process, in memory; `gate_line.py` says who is next.

Who would wait longer than it has patience for is told when to come back: after those of its tenant
who were told so before, at the rate at which its tenant is served here. So 10,000 runs that want
too much come back one after the other, and not all at once; those who come back go before those
who come new.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from orchestrator.engine.api_rules import Scope
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate_cadence import Cadence
from orchestrator.engine.gate_coming import Coming
from orchestrator.engine.gate_health import GateHealth
from orchestrator.engine.gate_kinds import Kind, Kinds, ScopeUse
from orchestrator.engine.gate_line import FairLine, Waiter, share_of, turns_ahead
from orchestrator.engine.gate_parked import SOONEST_SECONDS
from orchestrator.engine.gate_permit import QueuePermit, Tickets
from orchestrator.engine.gate_slots import Demand
from orchestrator.engine.gate_starts import Start
from orchestrator.engine.gate_supply import EARLY_SECONDS, Supply
from orchestrator.ports import GateBusy, Seen, SharedHealth, SharedLimits, Visit

ENOUGH_SECONDS = 4.0  # so much work is to be in line, if there is as much parked
QUICK_SECONDS = 0.5  # who waits less keeps no room from others
RECALL_SECONDS = 0.5  # how often that is looked after
MOST_RECALLED = 500  # at once
MOST_LET_IN = 16  # at once: each has to leave before its start time is over, one after the other
TIMER_SECONDS = 0.001  # a timer for less may find that no time has passed
ILL_APART_SECONDS = 0.1  # so much later the next one of a tenant comes back to an ill API
HELD_SECONDS = (30.0, 60.0)  # so long, at random, do those stay away who meet a held API

Recall = Callable[[Sequence[str]], Awaitable[None]]
"""Brings parked runs back before their time; by run id."""


class ApiQueue:
    """Those of this process who want to send to one API."""

    def __init__(
        self,
        config: ApiConfig,
        shared: SharedLimits,
        health: SharedHealth | None,
        recall: Recall,
        *,
        most_waiting: int,
    ) -> None:
        self._config = config
        self.demand = Demand()
        self.health = GateHealth(config, health, self._serve, self._turn_all_away)
        self._line: FairLine[QueuePermit, Kind] = FairLine(config.weights)
        self._shared_health = health
        self._kinds = Kinds(config, self._line.weight, self._judge)
        self.supply = Supply(
            config, shared, self.demand, self._serve, self.health, self._kinds, self._foresee,
            self._line,
        )  # fmt: skip
        self._coming = Coming()
        self._let_in = 0  # have their turn, and have not come to run since
        self._recall = recall
        self._most_waiting = most_waiting
        self._recalling: asyncio.Task[None] | None = None
        self._cadence = Cadence()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Those in line, and those who are about to join one that is long."""
        self._coming.forget_missing(now=time.monotonic())
        return self.demand.waiting + len(self._coming)

    @property
    def _is_long(self) -> bool:
        """Whether half of the room is taken. Before that, who comes may not have to wait at all."""
        return 2 * self.demand.waiting >= self._most_waiting

    @property
    def held(self) -> bool:
        """Whether an operator lets nothing leave."""
        return self._config.held

    def reconfigure(self, config: ApiConfig) -> None:
        """Go on with another configuration; what is in flight goes on as it is."""
        self._config = config
        self._line.weights = config.weights
        self._cadence.forget()
        if self._kinds.reconfigure(config):
            self._sort_anew()
        self.health.reconfigure(config)
        self.supply.reconfigure(config)
        if config.held:
            self._turn_all_away()
        self._serve()

    # --- entering ---------------------------------------------------------------------------------

    def try_enter(self, visit: Visit) -> QueuePermit | None:
        """A permit if nothing makes it wait."""
        self._coming.came(visit.run_id)
        kind = self._kinds.of(visit)
        waiting = kind.waiting if self._config.rules else self.demand.waiting
        if self._closed or self.held or waiting:
            return None
        if visit.retry and not self.health.may_retry():
            return None
        start = self._usable_start(kind) if self._may_serve() else None
        return None if start is None else self._admit(start, kind, visit)

    def turns_away(
        self, visit: Visit, patience_seconds: float, *, crowded: bool
    ) -> GateBusy | None:
        """When to come back, if the wait would be longer than that or there is no room.

        In a crowded process compensations find room, and tenants that have not their part of it.
        """
        kind = self._kinds.of(visit)
        if visit.parked:
            kind.parked.came(visit)
            self._kinds.plain.parked.came(visit)  # it may have been told before there were rules
        if self.held:
            return self._turned_back(visit)
        if self._is_idle(kind, visit) and not crowded:
            return None
        retry = self.health.retry_wait_seconds() if visit.retry else None
        if retry is not None:
            return GateBusy(retry)  # and nobody calls it back before that
        away = self._turned_away_seconds(kind)
        if away is not None:
            return GateBusy(self._come_back(visit, away))
        wait = self.expected_wait_seconds(visit)
        crowded = crowded and not self._is_quick(wait) and self._has_its_part(visit)
        full = kind.is_full and not visit.undo
        if self._closed or crowded or full or wait > patience_seconds:
            return GateBusy(self._come_back(visit))
        return None

    def _is_idle(self, kind: Kind, visit: Visit) -> bool:
        """Whether it is as most calls find it: nobody waits, all is well, and nothing is asked of
        this one alone. The questions that follow would all be answered with no."""
        busy = kind.scopes or self.demand.waiting or self._closed or visit.retry
        return not busy and self.health.is_well and self.supply.wait_seconds(0) <= 0.0

    def expect(self, visit: Visit) -> None:
        """It was not turned away, and has something to do before it enters."""
        kind = self._kinds.of(visit)
        if self._is_long or kind.is_long:
            self._coming.expect(visit, kind, now=time.monotonic())

    def _turned_away_seconds(self, kind: Kind) -> float | None:
        """How long at least all of a kind have to stay away; None: they have not."""
        healths = (self.health, *kind.healths)
        found = [health.turned_away_seconds() for health in healths]
        return max((seconds for seconds in found if seconds is not None), default=None)

    def _is_quick(self, wait: float) -> bool:
        """Whether the line moves so fast that who joins it is gone before others miss the room.
        What is not known yet is not quick: an API that hangs has a line that does not move.
        """
        return self._cadence.seconds > 0.0 and wait < QUICK_SECONDS

    def _has_its_part(self, visit: Visit) -> bool:
        part = self._line.share_of(visit) * self._most_waiting
        return not visit.undo and self._line.waiting_of(visit) + self._coming.of(visit) >= part

    async def enter(self, visit: Visit, patience_seconds: float) -> QueuePermit:
        """Wait in turn. Raises GateBusy when patience is over."""
        deadline = time.monotonic() + patience_seconds
        served_before = False
        while True:
            if self.held:
                raise self._turned_back(visit)
            permit = await self._turn(visit, deadline, served_before=served_before)
            if permit.fresh:
                self.supply.on_time()
                return permit
            served_before = True
            permit.hand_back()

    async def _turn(self, visit: Visit, deadline: float, *, served_before: bool) -> QueuePermit:
        """Wait in line once. A turn that comes too late for its caller goes to the next."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[QueuePermit] = loop.create_future()
        kind = self._kinds.of(visit)
        waiter = Waiter(visit, time.monotonic(), turn, served_before, kind)
        self._line.join(waiter)
        self.demand.waiting += 1
        kind.joined(visit.tenant)
        timer = loop.call_later(max(deadline - time.monotonic(), 0.0), self._give_up, waiter)
        self._serve()
        try:
            permit = await turn
            self._came_to_run()
            return permit
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                turn.result().hand_back()
                self._came_to_run()
            raise
        finally:
            timer.cancel()
            self.demand.waiting -= 1
            waiter.kind.left(visit.tenant)
            self._line.leave(waiter)
            del turn, waiter  # an error's traceback has this frame, which would have the error

    def _came_to_run(self) -> None:
        self._let_in -= 1
        if not self._let_in:
            self._serve()

    def _give_up(self, waiter: Waiter[QueuePermit, Kind]) -> None:
        if not waiter.gone:
            visit = waiter.visit
            busy = self._turned_back(visit) if self.held else GateBusy(self._come_back(visit))
            waiter.turn.set_exception(busy)

    def _turn_all_away(self) -> None:
        """The API is left alone, for a while or by an operator: nobody waits for that here."""
        for waiter in list(self._line.upcoming(lambda _: True, self.demand.waiting)):
            self._give_up(waiter)

    def _turn_away(self, scope: Scope) -> None:
        """The same for a part of the API."""

        def is_of(kind: Kind) -> bool:
            return any(use.scope.key == scope.key for use in kind.scopes)

        for waiter in list(self._line.upcoming(is_of, self.demand.waiting)):
            self._give_up(waiter)

    def given_up(
        self, kind: Kind, tickets: Tickets, after_seconds: float, timeout_seconds: float | None
    ) -> None:
        """A call is not waited for any more; what it holds is free when its time is over."""
        left = max((timeout_seconds or self._config.total_seconds) - after_seconds, 0.0)
        self.demand.gave_up(left)
        kind.gave_up(left)
        self._tell(tickets, None)
        asyncio.get_running_loop().call_later(left, self._free, kind)

    def released(self, kind: Kind, tickets: Tickets, seen: Seen | None) -> None:
        """A permit was given back."""
        self._tell(tickets, seen)
        self._free(kind)

    def _free(self, kind: Kind) -> None:
        self.demand.in_use -= 1
        kind.released()
        if not self._closed:
            self._serve()

    def _tell(self, tickets: Tickets, seen: Seen | None) -> None:
        (health, ticket), *of_scopes = tickets
        # An answer to a call that is judged for itself says nothing of the other ones.
        apart = bool(of_scopes) and seen is not None and seen.response is not None
        health.released(ticket, seen, judged=not apart)
        for health, ticket in of_scopes:
            health.released(ticket, seen, advised=False)

    def _judge(self, scope: Scope) -> GateHealth | None:
        """How a part of the API stands by itself."""
        rule = scope.rule
        if rule.health is None:
            return None
        config = replace(
            self._config, name=f"{self._config.name}:rule:{scope.key}", health=rule.health,
            breaker=True, rates=rule.rates, rules=(),
        )  # fmt: skip
        shut = partial(self._turn_away, scope)
        return GateHealth(config, self._shared_health, self._serve, shut)

    # --- serving ----------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Let in from the head of the queue as long as nothing makes it wait."""
        while self.demand.waiting and self._let_in < MOST_LET_IN and self._may_serve():
            starts = self._usable_starts()
            waiter = self._line.next(starts)
            if waiter is None:
                break
            kind = waiter.kind
            self._line.serve(waiter)
            self._let_in += 1
            waiter.turn.set_result(self._admit(starts[kind], kind, waiter.visit))
            self._cadence.note(waiting=self.demand.waiting)
            for scope in kind.scopes:
                scope.cadence.note(waiting=scope.demand.waiting)
        self.supply.demand_changed()
        self.health.demand_changed(self.demand.waiting)
        for scope in self._kinds.scopes():
            if scope.health is not None:
                scope.health.demand_changed(scope.demand.waiting)

    def _may_serve(self) -> bool:
        """Whether a slot is free, and the API well."""
        if self.health.may_go() < 1:
            if pause := self.health.pause_seconds:
                self._serve_at(time.monotonic() + max(pause, TIMER_SECONDS))
            return False
        return self.demand.in_use < self.supply.slots()

    def _usable_starts(self) -> dict[Kind, Start]:
        """Those that have come, by the kinds that somebody waits for."""
        waiting = (kind for kind in self._kinds if kind.waiting)
        found = ((kind, self._usable_start(kind)) for kind in waiting)
        return {kind: start for kind, start in found if start is not None}

    def _usable_start(self, kind: Kind) -> Start | None:
        """A start time that has come, if the slots of its scopes are free as well."""
        start = self.supply.next_start(kind)
        if start is None or not (kind.has_slots and kind.may_go):
            return None
        if start.at > time.monotonic() + EARLY_SECONDS:
            self._serve_at(start.at)
            return None
        return start

    def _admit(self, start: Start, kind: Kind, visit: Visit) -> QueuePermit:
        self.supply.take(start, kind)
        self.demand.took()
        kind.took()
        healths = (self.health, *kind.healths) if kind.scopes else (self.health,)
        tickets = tuple((health, health.take(visit)) for health in healths)
        return QueuePermit(self, start, kind, tickets)

    def _foresee(self, may_come: Callable[[Kind], bool], of_each: int) -> Iterator[Kind]:
        return (waiter.kind for waiter in self._line.upcoming(may_come, of_each))

    def _sort_anew(self) -> None:
        """By other kinds: rules have changed. Who has gone is still counted where it was."""
        waiting = [waiter for waiter in self._line.everybody() if not waiter.gone]
        for waiter in waiting:
            waiter.kind.left(waiter.visit.tenant)
        self._line.sort_anew(self._kinds.of)
        for waiter in waiting:
            waiter.kind.joined(waiter.visit.tenant)

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

    def expected_wait_seconds(self, visit: Visit) -> float:
        """Roughly how long this one would wait if it came now; 0 when nothing is known.

        Who comes new does not go before those of its tenant who were told to come back.
        """
        closed = max(self.health.closed_seconds, self._kinds.of(visit).closed_seconds)
        if not self.demand.waiting:
            return max(self.supply.wait_seconds(0), closed)
        wait = max(self._wait_of(visit), closed)
        if visit.parked or visit.undo:
            return wait
        parked = self._kinds.of(visit).parked
        return max(wait, parked.last_of(visit.tenant) - time.monotonic())

    def _wait_of(self, visit: Visit) -> float:
        ahead = (
            math.ceil(self._line.ahead_of(visit, undo=self._coming.undo, new=self._coming.new)) + 1
        )
        wait = max(ahead * self._cadence.seconds, self.supply.wait_seconds(ahead))
        scopes = self._kinds.of(visit).scopes
        return max([wait, *(self._wait_in(scope, visit.tenant) for scope in scopes)])

    def _wait_in(self, scope: ScopeUse, tenant: str) -> float:
        waiting = scope.waiting + scope.coming
        ahead = math.ceil(turns_ahead(tenant, waiting, self._line.weight)) + 1
        at_full_rate = self.supply.seconds_at_full_rate(scope.rates, ahead)
        until_next = max(scope.next_at - time.monotonic(), 0.0)
        return max(until_next + at_full_rate, ahead * scope.cadence.seconds)

    # --- those who are told to come back ----------------------------------------------------------

    def _come_back(self, visit: Visit, least: float = 0.0) -> float:
        """In how many seconds. Not while the API is left alone, when there is no line either: some
        come to see how it is, and all others are called back once it is well.
        """
        kind = self._kinds.of(visit)
        least = max(least, self.health.closed_seconds, kind.closed_seconds)
        apart = max(self._usual_interval(), ILL_APART_SECONDS if least else 0.0)
        apart /= self._line.share_of(visit)
        for scope in kind.scopes:
            share = share_of(visit.tenant, scope.waiting, self._line.weight)
            apart = max(apart, self._interval_in(scope) / share)
        seconds = kind.parked.tell(
            visit, now=time.monotonic(), wait=0.0 if least else self._wait_of(visit),
            apart=apart, least=least,
        )  # fmt: skip
        self._look_after_them()
        return seconds

    def _turned_back(self, visit: Visit) -> GateBusy:
        """While nothing may leave; a release calls them back before their time."""
        seconds = random.uniform(*HELD_SECONDS)  # noqa: S311 -- spreads load, no secret
        self._kinds.of(visit).parked.expect(visit, time.monotonic() + seconds)
        self._look_after_them()
        return GateBusy(seconds)

    def _look_after_them(self) -> None:
        if self._recalling is None and not self._closed:
            self._recalling = asyncio.create_task(self._look_after_parked())

    async def _look_after_parked(self) -> None:
        """Call them back earlier when the line runs short: limits rose, or others went away."""
        try:
            while any(kind.parked for kind in self._kinds) and not self._closed:
                await asyncio.sleep(RECALL_SECONDS)
                run_ids = self._recalled()
                if run_ids:
                    await self._recall(run_ids)
        finally:
            self._recalling = None

    def _recalled(self) -> list[str]:
        """Of each kind as many as could be served soon beside those who wait; not more in all, but
        for tenants whose turns would go by.
        """
        enough = {kind: self._enough_of(kind) for kind in self._kinds}
        left = self._enough(self._usual_interval(), 0.0, self.demand.waiting)
        left -= sum(min(kind.waiting, number) for kind, number in enough.items())
        run_ids: list[str] = []
        for kind, number in enough.items():
            wanted = max(min(number - kind.waiting, left), 0)
            chosen = kind.parked.recalled(
                wanted, now=time.monotonic(), short=partial(self._short_of, number)
            )
            left -= len(chosen)
            run_ids += chosen
        return run_ids

    def _short_of(self, enough: int, tenant: str) -> int:
        """How many more of a tenant's could be served soon, of so many in all, than wait here."""
        part = math.ceil(enough * self._line.turns_of(tenant))
        room = self._most_waiting - self.demand.waiting
        return min(part - self._line.new_of(tenant), room)

    def _enough_of(self, kind: Kind) -> int:
        if kind.closed_seconds:
            return 0
        intervals = [self._usual_interval(), *map(self._interval_in, kind.scopes)]
        return self._enough(max(intervals), kind.next_at - time.monotonic(), kind.waiting)

    def _enough(self, interval: float, wait: float, waiting: int) -> int:
        """How many of those could be served soon who are served at this interval after a wait."""
        if self.held or self.supply.away_seconds or self.health.closed_seconds:
            return 0
        usable = ENOUGH_SECONDS - max(self.supply.wait_seconds(0), wait)
        enough = usable / interval if interval else 2 * self.supply.slots() - self.demand.in_use
        most = min(self._most_waiting, waiting + MOST_RECALLED, self.health.may_go())
        return max(math.ceil(min(enough, most)), 0)

    def _usual_interval(self) -> float:
        return max(self._cadence.seconds, self.supply.interval_seconds(self._config.rates))

    def _interval_in(self, scope: ScopeUse) -> float:
        return max(scope.cadence.seconds, self.supply.interval_seconds(scope.rates))

    async def aclose(self) -> None:
        """Turn away all that wait and give the slots back."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._recalling is not None:
            self._recalling.cancel()
        for waiter in list(self._line.everybody()):
            if not waiter.gone:
                waiter.turn.set_exception(GateBusy(SOONEST_SECONDS))
        await self.health.aclose()
        for scope in self._kinds.scopes():
            if scope.health is not None:
                await scope.health.aclose()
        await self.supply.aclose()
