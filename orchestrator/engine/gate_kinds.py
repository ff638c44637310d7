"""The kinds of calls to one API in one process, by the scopes (`api_rules.py`) that they are under.

Calls of one kind wait in one line and share their start times. Where an API has no rules, there is
one kind, without scopes.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence

from orchestrator.core.health import BreakerState
from orchestrator.engine.api_rules import Rule, Scope, ScopeFinder
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate_cadence import Cadence
from orchestrator.engine.gate_health import GateHealth
from orchestrator.engine.gate_parked import Parked
from orchestrator.engine.gate_slots import Demand, Slots
from orchestrator.engine.gate_starts import Start
from orchestrator.ports import Rate, Visit

UNUSED_SECONDS = 2.0  # after so long a scope gives its slots back
UNCOUNTED_SECONDS = 60.0  # at most so long is waited for what left while it was not counted


Judge = Callable[[Scope], GateHealth | None]
"""How a scope stands by itself, if its rule has a breaker."""


class ScopeUse:
    """One scope as this process uses it."""

    def __init__(
        self, scope: Scope, config: ApiConfig, health: GateHealth | None, *, not_before: float = 0.0
    ) -> None:
        self.scope, self.health = scope, health
        self.demand = Demand(used_at=time.monotonic())
        self.waiting: Counter[str] = Counter()  # by tenant
        self.coming: Counter[str] = Counter()  # likewise; see gate_coming
        self.slots = Slots(
            config.name, scope.key, limit=scope.rule.concurrency, most=config.connections,
            demand=self.demand,
        )  # fmt: skip
        self.next_at = not_before  # time.monotonic(); asking for start times before is in vain
        self.cadence = Cadence()

    @property
    def rates(self) -> tuple[Rate, ...]:
        """What its rule says; all hold at once."""
        return self.scope.rule.rates

    @property
    def has_slot(self) -> bool:
        """Whether one more may be in flight."""
        if self.scope.rule.concurrency is None:
            return True
        slots, factor = self.slots.usable(), 1.0 if self.health is None else self.health.slot_factor
        if factor < 1.0:
            slots = min(slots, max(1, int(slots * factor)))
        return self.demand.in_use < slots

    @property
    def rate_factor(self) -> float:
        """The part of its rates that may be used now, as far as it has a breaker of its own."""
        return 1.0 if self.health is None else self.health.rate_factor

    @property
    def is_full(self) -> bool:
        """Whether as many wait here as may."""
        most = self.scope.rule.waiting
        return most is not None and self.demand.waiting + self.coming.total() >= most

    @property
    def is_long(self) -> bool:
        """Whether half as many do."""
        most = self.scope.rule.waiting
        return most is not None and 2 * self.demand.waiting >= most

    @property
    def unused_at(self) -> float:
        """When it is not needed any more, unless somebody comes: never while it is ill."""
        if self.health is not None and self.health.state is not BreakerState.CLOSED:
            return math.inf
        return self.demand.used_at + UNUSED_SECONDS

    @property
    def is_unused(self) -> bool:
        """Whether it is not needed any more."""
        return not self.demand.is_busy and time.monotonic() >= self.unused_at

    def reconfigure(
        self, rule: Rule, config: ApiConfig, judge: Judge, *, not_before: float
    ) -> None:
        """Go on with other limits; what is in use stays counted."""
        self.next_at = not_before
        if rule.health != self.scope.rule.health:
            if self.health is not None:
                self.health.close()
            self.health = judge(Scope(rule, self.scope.of))
        self.scope = Scope(rule, self.scope.of)
        self.slots.limit, self.slots.most = rule.concurrency, config.connections


class Kind:
    """Those calls of an API that are under the same scopes."""

    __slots__ = ("parked", "scopes", "starts", "waiting")

    def __init__(self, scopes: tuple[ScopeUse, ...], weight: Callable[[str], float]) -> None:
        self.scopes = scopes
        self.starts: deque[Start] = deque()  # in hand
        self.waiting = 0
        self.parked = Parked(weight)

    @property
    def has_slots(self) -> bool:
        """Whether one more may be in flight in each of its scopes."""
        return all(scope.has_slot for scope in self.scopes)

    @property
    def is_full(self) -> bool:
        """Whether as many wait in one of its scopes as may."""
        return any(scope.is_full for scope in self.scopes)

    @property
    def is_long(self) -> bool:
        """Whether half as many do."""
        return any(scope.is_long for scope in self.scopes)

    @property
    def healths(self) -> list[GateHealth]:
        """Of those of its scopes that have breakers of their own."""
        return [scope.health for scope in self.scopes if scope.health is not None]

    @property
    def may_go(self) -> bool:
        """Whether one more may leave, as far as these breakers go."""
        return all(health.may_go() >= 1 for health in self.healths)

    @property
    def closed_seconds(self) -> float:
        """For how long certainly none may."""
        return max((health.closed_seconds for health in self.healths), default=0.0)

    @property
    def is_rated(self) -> bool:
        """Whether it is under a rate that is not the API's."""
        return any(scope.rates for scope in self.scopes)

    @property
    def next_at(self) -> float:
        """Before that its scopes have no start times for it."""
        return max((scope.next_at for scope in self.scopes), default=0.0)

    @property
    def is_unused(self) -> bool:
        """Whether nobody would miss it."""
        in_hand = self.starts and self.starts[-1].good_until > time.monotonic()
        needed = self.waiting or self.parked or in_hand
        return not needed and all(scope.is_unused for scope in self.scopes)

    def joined(self, tenant: str) -> None:
        """Somebody waits."""
        self.waiting += 1
        for scope in self.scopes:
            scope.demand.waiting += 1
            scope.waiting[tenant] += 1

    def left(self, tenant: str) -> None:
        """Somebody that had joined does not wait any more."""
        self.waiting -= 1
        for scope in self.scopes:
            scope.demand.waiting -= 1
            scope.waiting[tenant] -= 1
            if not scope.waiting[tenant]:
                del scope.waiting[tenant]

    def took(self) -> None:
        """A request may leave."""
        for scope in self.scopes:
            scope.demand.took()

    def gave_up(self, seconds: float) -> None:
        """One that left may be at the API for so much longer."""
        for scope in self.scopes:
            scope.demand.gave_up(seconds)

    def released(self) -> None:
        """It does not hold its slots any more."""
        for scope in self.scopes:
            scope.demand.in_use -= 1


class Kinds:
    """All kinds and scopes of one API that are in use."""

    def __init__(
        self, config: ApiConfig, weight: Callable[[str], float], judge: Judge = lambda _: None
    ) -> None:
        self._config, self._weight, self._judge = config, weight, judge
        self._finder = ScopeFinder(config.rules, config.auth)
        self._scopes: dict[str, ScopeUse] = {}
        self._kinds: dict[tuple[str, ...], Kind] = {}
        self._not_before: dict[str, float] = {}  # by rule: its rates have not counted all until
        self.plain = Kind((), weight)

    def of(self, visit: Visit) -> Kind:
        """The kind of a visit."""
        if not self._config.rules:
            return self.plain
        scopes = self._finder.scopes_of(visit)
        if not scopes:
            return self.plain
        key = tuple(scope.key for scope in scopes)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(tuple(map(self._use, scopes)), self._weight)
        return kind

    def __iter__(self) -> Iterator[Kind]:
        yield self.plain
        yield from self._kinds.values()

    def scope(self, key: str) -> ScopeUse | None:
        """The scope of this key, if it is in use or was until lately."""
        return self._scopes.get(key)

    def scopes(self) -> Collection[ScopeUse]:
        """All that are in use, or were until lately."""
        return self._scopes.values()

    def reconfigure(self, config: ApiConfig) -> bool:
        """Turn to other limits. Returns whether calls may be of other kinds now.

        What is in flight goes on holding the slots that it holds; start times in hand are lost.
        """
        before, self._config = self._config, config
        if (before.rules, before.auth) == (config.rules, config.auth):
            for use in self._scopes.values():
                use.slots.most = config.connections
            return False
        rated = {rule.name for rule in before.rules if rule.rates}
        self._not_before = {
            rule.name: uncounted_until(rule.rates)
            for rule in config.rules
            if rule.rates and rule.name not in rated
        }
        for kind in self._kinds.values():
            self.plain.parked.take_over(kind.parked)
        self._kinds = {}
        self._finder = ScopeFinder(config.rules, config.auth)
        rules = {rule.name: rule for rule in config.rules}
        kept = {
            key: use
            for key, use in self._scopes.items()
            if (rule := rules.get(use.scope.rule.name)) and rule.per is use.scope.rule.per
        }
        before_uses = set(self._scopes.values())
        self._scopes = kept
        for use in kept.values():
            rule = rules[use.scope.rule.name]
            not_before = self._not_before.get(rule.name, 0.0)
            use.reconfigure(rule, config, self._judge, not_before=not_before)
        for use in before_uses - set(kept.values()):
            if use.health is not None:
                use.health.close()
        return True

    def due_at(self) -> float:
        """When somebody's limits have something for it again, or a scope is to be forgotten."""
        now = time.monotonic()
        waits = (kind.next_at for kind in self if kind.waiting and kind.next_at > now)
        unused = (use.unused_at for use in self.leased() if not use.demand.is_busy)
        return min((*waits, *unused), default=math.inf)

    def leased(self) -> list[ScopeUse]:
        """Those of which this process holds slots."""
        return [use for use in self._scopes.values() if use.slots.is_leased]

    def forget_unused(self) -> list[ScopeUse]:
        """Forget what nobody has needed for a while; the scopes that hold slots in vain."""
        in_vain = [use for use in self.leased() if use.is_unused]
        self._kinds = {key: kind for key, kind in self._kinds.items() if not kind.is_unused}
        needed = {use for kind in self._kinds.values() for use in kind.scopes}
        gone = [use for use in self._scopes.values() if use not in needed and use.is_unused]
        for use in gone:
            del self._scopes[use.scope.key]
            if use.health is not None:
                use.health.close()
        return in_vain

    def _use(self, scope: Scope) -> ScopeUse:
        use = self._scopes.get(scope.key)
        if use is None:
            not_before = self._not_before.get(scope.rule.name, 0.0)
            use = ScopeUse(scope, self._config, self._judge(scope), not_before=not_before)
            self._scopes[scope.key] = use
        return use


def uncounted_until(rates: Sequence[Rate]) -> float:
    """When what left without being counted is out of every window, as far as that is near."""
    longest = max((rate.seconds for rate in rates), default=0.0)
    return time.monotonic() + min(longest, UNCOUNTED_SECONDS)
