"""Objectives of workflows, their error budgets, and when burning one is an alarm.

An objective says which part of its events shall be good: `target` 0.99 leaves a budget of one in a
hundred. What counts as an event, and when, never changes afterwards, so numbers can be worked out
again at any time:

    success       a run's first ending: succeeded is good; compensated, abandoned or stopped for a
                  person is not. A run that somebody cancelled does not count
    latency       a run that succeeded: good within `seconds` of its acceptance
    compensation  a run that went back and undid at least one step: good if it came to its end
                  without a person; not good when it first stopped on its way back
    freshness     an escalation: good if it was decided on within `seconds`; not good once it was
                  not, at that moment

The burn rate is how many times as fast the budget is used as it would be if it were used up exactly
at the end of its window (`window_days`). An alarm wants it over a long window, so that it means
something, and over a short one, so that it is still true: Google's Site Reliability Workbook,
chapter 5, "Multiwindow, Multi-Burn-Rate Alerts". A rule names the part of the whole budget that may
be gone within its long window: 2 % in an hour is a rate of 14.4 for 30 days.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

MINUTE, HOUR, DAY = 60, 3600, 86_400
LONGEST_OF_MINUTES = 6 * HOUR
"""Windows up to this begin with a whole minute, longer ones with a whole hour."""
QUIET_SECONDS = 15.0 * MINUTE
"""An alarm ends when its rule has not held for so long; until then it is one and the same."""


class ObjectiveKind(StrEnum):
    """What an objective is about."""

    SUCCESS = "success"
    LATENCY = "latency"
    COMPENSATION = "compensation"
    FRESHNESS = "freshness"


LEAST_BAD: Mapping[ObjectiveKind, int] = {
    ObjectiveKind.SUCCESS: 5, ObjectiveKind.LATENCY: 5, ObjectiveKind.FRESHNESS: 5,
    ObjectiveKind.COMPENSATION: 3,
}  # fmt: skip
"""So many bad events in its long window an alarm wants: one in three runs of a night is none."""
MOST_LEAST_BAD = 1_000_000
TIMED = frozenset({ObjectiveKind.LATENCY, ObjectiveKind.FRESHNESS})
"""They have a threshold, of so many seconds at most:"""
LONGEST_SECONDS = 31_536_000.0
WINDOW_DAYS = (28, 90)
"""An error budget is of so many days at least and at most."""


class Source(StrEnum):
    """Who says that there is an objective."""

    CONFIG = "config"  # config/slos.yaml, of this workflow or of all others
    DOCUMENT = "document"  # the workflow itself, in its newest version
    BUILT_IN = "built in"  # nobody


class Urgency(StrEnum):
    """What an alarm is for."""

    PAGE = "page"  # somebody should look now
    TICKET = "ticket"  # somebody should look in the next days


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """One objective of one workflow."""

    workflow: str
    kind: ObjectiveKind
    target: float  # the part of its events that shall be good: above 0, below 1
    seconds: float | None = None  # of latency and freshness
    window_days: int = 30  # of its error budget
    least_bad: int = 5
    source: Source = Source.CONFIG

    @property
    def budget(self) -> float:
        """The part of its events that may be bad."""
        return 1.0 - self.target

    @property
    def key(self) -> str:
        """What its events are counted under; another threshold makes other events."""
        return self.kind if self.seconds is None else f"{self.kind}:{self.seconds:g}"

    @property
    def windows(self) -> tuple[int, ...]:
        """All windows that are looked at, in seconds, upwards; the last one is the budget's."""
        of_rules = {each for rule in RULES for each in (rule.long_seconds, rule.short_seconds)}
        return tuple(sorted({*of_rules, self.window_days * DAY}))


ALL_OTHERS = "*"
"""In place of a workflow's name: each that says nothing of its own about such an objective."""
Declared = Mapping[str, Mapping[ObjectiveKind, Objective | None]]
"""By workflow or ALL_OTHERS; None: there shall be none."""
BUILT_IN: Mapping[ObjectiveKind, Objective | None] = {
    ObjectiveKind.COMPENSATION: Objective(
        workflow=ALL_OTHERS, kind=ObjectiveKind.COMPENSATION, target=0.99,
        least_bad=LEAST_BAD[ObjectiveKind.COMPENSATION], source=Source.BUILT_IN,
    )
}  # fmt: skip
"""Nobody has to ask to be told that undos fail."""


Told = Mapping[str, Mapping[str, Any]]
"""What published workflows say of themselves, by name; see definitions/slo_rules."""


def objectives_of(declared: Declared, published: Told) -> list[Objective]:
    """All that hold for these workflows and for those that are declared by name.

    What is declared of a workflow by name goes before what it says itself, and that before what is
    declared of all others.
    """
    for_others = {**BUILT_IN, **declared.get(ALL_OTHERS, {})}
    return [
        replace(objective, workflow=name)
        for name in sorted({*published, *declared} - {ALL_OTHERS})
        for _, objective in sorted({
            **for_others, **_own(name, published.get(name, {})), **declared.get(name, {}),
        }.items())
        if objective is not None
    ]  # fmt: skip


def _own(workflow: str, told: Mapping[str, Any]) -> dict[ObjectiveKind, Objective | None]:
    return {
        ObjectiveKind(kind): None if rule is None else Objective(
            workflow=workflow, kind=ObjectiveKind(kind), source=Source.DOCUMENT,
            **{"least_bad": LEAST_BAD[ObjectiveKind(kind)], **rule},
        )
        for kind, rule in told.items()
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Count:
    """Events of a window."""

    good: int = 0
    bad: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.good + self.bad

    @property
    def bad_part(self) -> float:
        """0 where nothing happened."""
        return self.bad / self.total if self.total else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """When burning is an alarm: this part of the budget within the long window, and still so."""

    urgency: Urgency
    budget_part: float
    long_seconds: int
    short_seconds: int

    def burn_rate(self, objective: Objective) -> float:
        """The rate from which on it holds."""
        return self.budget_part * objective.window_days * DAY / self.long_seconds

    def bad_part(self, objective: Objective) -> float:
        """The part of bad events from which on it holds.

        A low target would want more than all of them; then halfway from its budget to all does.
        """
        wanted = self.burn_rate(objective) * objective.budget
        return min(wanted, (1.0 + objective.budget) / 2)

    def holds(self, objective: Objective, counts: Mapping[int, Count]) -> bool:
        """Whether it does, by the counts of both windows."""
        long, short = counts[self.long_seconds], counts[self.short_seconds]
        limit = self.bad_part(objective)
        return (
            long.bad >= objective.least_bad
            and short.bad > 0
            and long.bad_part >= limit
            and short.bad_part >= limit
        )

    def detection_seconds(self, objective: Objective, bad_part: float) -> float | None:
        """How long it takes to hold from when on this part of a steady stream of events is bad,
        all having been good before; None: it never does."""
        limit = self.bad_part(objective)
        return self.long_seconds * limit / bad_part if bad_part >= limit else None


RULES = (
    Rule(urgency=Urgency.PAGE, budget_part=0.02, long_seconds=HOUR, short_seconds=5 * MINUTE),
    Rule(urgency=Urgency.PAGE, budget_part=0.05, long_seconds=6 * HOUR, short_seconds=30 * MINUTE),
    Rule(urgency=Urgency.TICKET, budget_part=0.1, long_seconds=DAY, short_seconds=2 * HOUR),
    Rule(urgency=Urgency.TICKET, budget_part=0.1, long_seconds=3 * DAY, short_seconds=6 * HOUR),
)
"""For 30 days: rates of 14.4, 6, 3 and 1."""


def burn_rate(objective: Objective, count: Count) -> float:
    """How many times as fast as sustainable; 1: the budget lasts for exactly its window."""
    return count.bad_part / objective.budget


def budget_used(objective: Objective, counts: Mapping[int, Count]) -> float:
    """The part of the budget that is gone; above 1: the objective is missed."""
    return burn_rate(objective, counts[objective.window_days * DAY])


def budget_left(used: float, events: int) -> str:
    """In words: `25%`; `spent 3.0×` when more than all of it is gone; `–` when nothing happened."""
    if not events:
        return "–"
    return f"spent {used:.1f}×" if used > 1 else f"{1 - used:.0%}"


def burning(objective: Objective, counts: Mapping[int, Count]) -> dict[Urgency, Rule]:
    """The first rule of each urgency that holds; counts by window in seconds."""
    found: dict[Urgency, Rule] = {}
    for rule in RULES:
        if rule.urgency not in found and rule.holds(objective, counts):
            found[rule.urgency] = rule
    return found


def window_start(now: datetime, seconds: int) -> int:
    """Where a window of this length begins, in seconds since 1970: with a whole minute or hour."""
    unit = MINUTE if seconds <= LONGEST_OF_MINUTES else HOUR
    return int(now.timestamp()) // unit * unit - seconds


# --- alarms ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmState:
    """One alarm of an objective, as far as what becomes of it depends on it."""

    urgency: Urgency
    burning_at: datetime  # when its rule was last seen to hold
    closed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmMoves:
    """What becomes of an objective's alarms."""

    opens: frozenset[Urgency] = frozenset()
    goes_on: frozenset[Urgency] = frozenset()
    closes: frozenset[Urgency] = frozenset()


def alarm_moves(known: Iterable[AlarmState], holds: Iterable[Urgency], now: datetime) -> AlarmMoves:
    """One incident is one alarm of each urgency, and a ticket for what is paged, or has been so
    lately that its own short windows still see it, is none."""
    states, holding = list(known), frozenset(holds)
    still = frozenset(each.urgency for each in states if each.closed_at is None)
    quiet = frozenset(
        each.urgency for each in states
        if each.closed_at is None and each.urgency not in holding
        and now - each.burning_at >= timedelta(seconds=QUIET_SECONDS)
    )  # fmt: skip
    opens = holding - still
    echo = timedelta(
        seconds=max(rule.short_seconds for rule in RULES if rule.urgency is Urgency.TICKET)
    )
    paged = Urgency.PAGE in holding or any(
        each.urgency is Urgency.PAGE and (each.closed_at is None or now - each.closed_at < echo)
        for each in states
    )
    if paged:
        opens -= {Urgency.TICKET}
    return AlarmMoves(opens=opens, goes_on=holding & still, closes=quiet)
