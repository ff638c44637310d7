"""What one process knows of one book of an API's health, and what it is to tell it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from orchestrator.core.health import (
    HEALTHY,
    BreakerState,
    Health,
    HealthRules,
    News,
    ramp,
    risen,
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """With what knowledge a call was let go: what it brings counts only where that still holds."""

    own_episode: int
    episode: int
    own_probe: bool
    probe: bool
    cuts: int
    retry: bool


@dataclass(slots=True)
class Tally:
    """What is to be reported."""

    calls: int = 0
    failures: int = 0
    slow: int = 0
    retries: int = 0
    throttled: bool = False
    pause_until: float = 0.0  # time.monotonic()
    probes_good: int = 0
    probes_bad: int = 0

    def add(self, *, probe: bool, failed: bool, slow: bool) -> None:
        """A call has ended."""
        if probe:
            self.probes_good += not (failed or slow)
            self.probes_bad += failed or slow
        else:
            self.calls += 1
            self.failures += failed
            self.slow += slow


@dataclass(slots=True)
class Side:
    """One book as far as it is known here."""

    health: Health = HEALTHY
    heard_at: float = -math.inf
    probes_until: float = math.inf
    probing: int = 0  # probes under way
    tally: Tally = field(default_factory=Tally)

    def open_seconds(self, now: float) -> float:
        """For how long its breaker stays open."""
        return max(self.health.open_seconds - (now - self.heard_at), 0.0)

    def pause_seconds(self, now: float) -> float:
        """What is left of the pause that the API asked for, reported or not yet."""
        reported = self.health.pause_seconds - (now - self.heard_at)
        return max(reported, self.tally.pause_until - now, 0.0)

    def may_go(self, now: float) -> float:
        """How many more may leave now."""
        if self.health.state is BreakerState.CLOSED:
            return math.inf
        if self.open_seconds(now) or now >= self.probes_until:
            return 0
        return max(self.health.probes - self.probing, 0)

    def pace(self, now: float) -> float:
        """The part of the configured rate, risen since it was heard of."""
        return risen(self.health.pace, now - self.heard_at)

    def is_calm(self, now: float, rules: HealthRules) -> bool:
        """Whether nothing of all this holds anybody up."""
        well = self.health.state is BreakerState.CLOSED and not self.pause_seconds(now)
        return well and self.pace(now) >= 1.0 and self.ramp(now, rules) >= 1.0

    def ramp(self, now: float, rules: HealthRules) -> float:
        """The part of slots and rates after the breaker closed; the least while it has not."""
        if self.health.state is not BreakerState.CLOSED:
            return ramp(0.0, rules)
        return ramp(self.health.closed_for_seconds + now - self.heard_at, rules)

    def as_of(self, now: float) -> Health:
        """What the book would say now."""
        return replace(
            self.health, open_seconds=self.open_seconds(now), pace=self.pace(now),
            pause_seconds=self.pause_seconds(now),
        )  # fmt: skip

    def take_news(self, now: float, *, number: int = 0, wanted: int = 0) -> News:
        """All that is to be reported. Probes that were granted and not begun are given back."""
        tally, self.tally = self.tally, Tally()
        self.health = replace(self.health, probes=self.probing)
        return News(
            episode=self.health.episode, number=number, calls=tally.calls,
            failures=tally.failures, slow=tally.slow, retries=max(tally.retries, 0),
            throttled=tally.throttled, pause_seconds=max(tally.pause_until - now, 0.0),
            probes_held=self.probing, probes_wanted=wanted, probes_good=tally.probes_good,
            probes_bad=tally.probes_bad,
        )  # fmt: skip

    def learn(self, health: Health, now: float, probes_until: float = math.inf) -> None:
        """Take in what the book said. Of another episode nothing counts that was seen before."""
        other_book = self.health.generation not in ("", health.generation)
        if other_book or health.episode != self.health.episode:
            self.probing = 0
            self.tally = Tally(pause_until=self.tally.pause_until)
        self.health, self.heard_at, self.probes_until = health, now, probes_until
