"""How bad it is right now: what every call between simulated processes asks before it goes.

`Rates` are chances, drawn once for each simulation, so that some are rough everywhere and others
only in one place. `Weather` is where things stand at a moment of virtual time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields, replace

from orchestrator.errors import Unavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Chances between 0 and 1 of each single thing; gaps and durations in virtual seconds."""

    request_lost: float = 0.0  # a store's request never arrives
    answer_lost: float = 0.0  # a store's answer never arrives: the commit stands
    store_slow: float = 0.0  # one call takes 0.5 to 8 s
    hint_lost: float = 0.0
    hint_doubled: float = 0.0
    hint_delayed: float = 0.0  # by up to 10 s, so that others overtake it
    broker_refuses: float = 0.0
    killed_at_point: float = 0.0
    frozen_at_point: float = 0.0
    raised_at_point: float = 0.0
    disaster_gap: float = 3.0  # between two things that happen to whole processes and servers
    api: float = 0.0  # share of requests that the API treats badly

    def times(self, factor: float) -> Rates:
        """All chances made rarer or more frequent, each at most one half."""
        changed = {
            each.name: min(getattr(self, each.name) * factor, 0.5)
            for each in fields(self)
            if each.name != "disaster_gap"
        }
        return replace(self, **changed)


CALM = Rates(disaster_gap=1e9)
ROUGH = Rates(
    request_lost=0.01, answer_lost=0.015, store_slow=0.002, hint_lost=0.08, hint_doubled=0.08,
    hint_delayed=0.1, broker_refuses=0.05, killed_at_point=0.0015, frozen_at_point=0.0007,
    raised_at_point=0.004, disaster_gap=1.0, api=0.4,
)  # fmt: skip


def drawn(chance: random.Random) -> Rates:
    """Rates for one simulation: each kind of harm is absent, usual or three times as frequent."""
    factors = {
        each.name: chance.choice((0.0, 1.0, 1.0, 3.0))
        for each in fields(ROUGH)
        if each.name != "disaster_gap"
    }
    changed = {name: min(getattr(ROUGH, name) * by, 0.5) for name, by in factors.items()}
    return replace(ROUGH, disaster_gap=chance.uniform(0.5, 2.0), **changed)


@dataclass(slots=True)
class Weather:
    """Where things stand. `now` is the loop's time."""

    chance: random.Random
    rates: Rates = CALM
    store_away_until: float = -1.0
    broker_away_until: float = -1.0
    storming: bool = field(default=False)

    def calm_down(self) -> None:
        """Everything is well from now on."""
        self.rates = CALM
        self.store_away_until = self.broker_away_until = -1.0
        self.storming = False

    def happens(self, rate: float) -> bool:
        """Whether something of this chance happens now."""
        return rate > 0.0 and self.chance.random() < rate

    def store_latency(self) -> float:
        """Seconds of one way to the store or back."""
        if self.happens(self.rates.store_slow):
            return self.chance.uniform(0.5, 8.0)
        return 0.0005 + 0.002 * self.chance.random()


def store_away(why: str) -> Unavailable:
    """As a store says it."""
    return Unavailable("database", "the simulation", why)


def broker_away(why: str) -> Unavailable:
    """As a broker says it."""
    return Unavailable("broker", "the simulation", why)
