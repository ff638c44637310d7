"""What a software agent may do: the rules of a policy, and whether they let one more run in.

Amounts are whole millionths of a currency's unit, so that sums are exact. A rate looks back from
now over a sliding window, and a run that was let in counts for it whatever becomes of it. A budget
is for a day or a month of the calendar (UTC). What was spent is given back when a run ends
`compensated`; the number of runs is not, since the work was done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase

EVERYBODY = "*"
"""As the name of an agent: the policy of all agents of a tenant together."""
RUNS = "runs"
"""As what a budget is of: the number of runs, instead of a currency."""
MILLION = 1_000_000
MOST_OF_RATE = 1000
"""Runs that a rate may allow: so many times of acceptance are looked at. More is for budgets."""


class Period(StrEnum):
    """For how long a budget is good."""

    DAY = "day"
    MONTH = "month"

    def name_of(self, at: datetime) -> str:
        """Of the one that holds this moment: `2026-11-29` or `2026-11`."""
        return at.strftime("%Y-%m-%d" if self is Period.DAY else "%Y-%m")

    def end_of(self, at: datetime) -> datetime:
        """When the one that holds this moment is over."""
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        if self is Period.DAY:
            return midnight + timedelta(days=1)
        return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """At most so many runs within so many seconds, whenever one looks."""

    runs: int
    seconds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """At most so much of something (RUNS, or a currency: in millionths) in each day or month."""

    of: str
    most: int
    per: Period


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicates:
    """What becomes of a wish that was there before, within so many seconds, under another key.

    A run that ended `compensated` is none: it was undone, and may be wanted again. One that is
    neither refused nor asked about is let in, and whoever wants it is told.
    """

    refuse: bool
    seconds: int
    ask: bool = False  # a person, before it begins


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """An amount (millionths of a currency) that one run may spend without a question."""

    of: str
    most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """When a person has to approve before a run begins, and who that may be."""

    above: tuple[Threshold, ...] = ()
    roles: tuple[str, ...] = ()  # of who may decide; none: the usual one
    requester: bool = False  # whom the agent works for may decide too, through its program
    seconds: int | None = None  # nobody decided within so long: it does not begin


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Why a person is asked before a run begins."""

    rule: str  # "approve" or "duplicates"
    found: str
    wanted: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Before:
    """An earlier run that was the same wish."""

    run_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """The agent was stopped."""

    by: str
    reason: str
    at: str  # ISO 8601


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The rules for one agent, or for all of a tenant together. Without rules all is allowed."""

    allow: tuple[str, ...] = (EVERYBODY,)  # names of workflows, with * and ?
    deny: tuple[str, ...] = ()  # goes before `allow`
    rates: tuple[Rate, ...] = ()
    budgets: tuple[Budget, ...] = ()
    duplicates: Duplicates | None = None
    asking: Asking = field(default_factory=Asking)
    stopped: Stop | None = None

    def allows(self, workflow: str) -> bool:
        """Whether runs of this workflow may be begun, or it be seen."""
        if any(fnmatchcase(workflow, pattern) for pattern in self.deny):
            return False
        return any(fnmatchcase(workflow, pattern) for pattern in self.allow)


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """What one run counts for."""

    run_id: str
    workflow: str
    key: str = ""  # with which it is wanted
    amount: int = 0  # millionths
    currency: str = ""  # "": the workflow declares no amount
    intent: str = ""  # a digest: that of another run is the same for the same wish


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a run is not let in. `passes_at` None: not by waiting. That of a rate is soon."""

    rule: str  # "rates", "budgets", …
    found: str
    wanted: str
    passes_at: datetime | None = None
    is_rate: bool = False
    before: Before | None = None  # the run that was the same wish


@dataclass(kw_only=True, slots=True)
class Book:
    """What is known of one policy's runs at a moment; `charge` adds to it."""

    policy: Policy
    now: datetime
    latest: list[datetime] = field(default_factory=list)  # of acceptance, newest first
    spent: dict[tuple[str, str], int] = field(default_factory=dict)  # by what and name of period
    wishes: dict[str, Before] = field(default_factory=dict)  # by intent, the latest that counts
    is_settled: bool = False  # what compensated runs have spent is not in `spent` any more

    def refusals(self, charge: Charge) -> list[Refusal]:
        """All rules that do not let this run in; none: it may begin."""
        return [
            *self._stop(), *self._place(charge), *self._duplicates(charge), *self._rates(),
            *self._budgets(charge),
        ]  # fmt: skip

    def questions(self, charge: Charge) -> list[Question]:
        """All why a person has to approve this run before it begins; none: it may at once."""
        return [*self._amounts(charge), *self._repeats(charge)]

    def before(self, charge: Charge) -> Before | None:
        """The run that was the same wish, where the policy asks for it."""
        return None if self.policy.duplicates is None else self.wishes.get(charge.intent)

    def give_back(self, what: str, period: str, amount: int) -> None:
        """Some of what was spent was for a run that is undone."""
        if (what, period) in self.spent:
            self.spent[what, period] -= amount

    def charge(self, charge: Charge) -> dict[tuple[str, str], int]:
        """Count a run that was let in; what that adds to what is spent."""
        self.latest.insert(0, self.now)
        self.wishes[charge.intent] = Before(run_id=charge.run_id, at=self.now)
        added = spending(charge, self.now)
        for key, amount in added.items():
            self.spent[key] = self.spent.get(key, 0) + amount
        return added

    def _stop(self) -> Iterator[Refusal]:
        stop = self.policy.stopped
        if stop is not None:
            found = f"stopped by {stop.by} at {stop.at}: {stop.reason}"
            yield Refusal(rule="stopped", found=found, wanted="a person who allows it again")

    def _place(self, charge: Charge) -> Iterator[Refusal]:
        if not self.policy.allows(charge.workflow):
            wanted = f"one of {', '.join(self.policy.allow)}"
            if self.policy.deny:
                wanted += f", none of {', '.join(self.policy.deny)}"
            yield Refusal(rule="allow", found=f"workflow {charge.workflow}", wanted=wanted)

    def _duplicates(self, charge: Charge) -> Iterator[Refusal]:
        rule, before = self.policy.duplicates, self.before(charge)
        if rule is None or before is None or not rule.refuse:
            return
        yield Refusal(
            rule="duplicates", before=before, found=_same_as(before),
            wanted="another wish, or that run: look at its status",
            passes_at=before.at + timedelta(seconds=rule.seconds),
        )  # fmt: skip

    def _repeats(self, charge: Charge) -> Iterator[Question]:
        rule, before = self.policy.duplicates, self.before(charge)
        if rule is not None and rule.ask and before is not None:
            yield Question(rule="duplicates", found=_same_as(before), wanted="another wish")

    def _amounts(self, charge: Charge) -> Iterator[Question]:
        thresholds = self.policy.asking.above
        if not (thresholds and charge.amount):
            return
        of_it = [each.most for each in thresholds if each.of == charge.currency]
        if of_it and charge.amount <= min(of_it):
            return
        # Of a currency without a threshold, too: else whoever names it would name such a one.
        most = [_told(each.of, each.most) for each in thresholds]
        yield Question(
            rule="approve", found=_told(charge.currency, charge.amount),
            wanted=f"at most {' or '.join(most)} without a person's approval",
        )  # fmt: skip

    def _rates(self) -> Iterator[Refusal]:
        for rate in self.policy.rates:
            span = timedelta(seconds=rate.seconds)
            within = [at for at in self.latest if at > self.now - span]
            if len(within) >= rate.runs:
                yield Refusal(
                    rule="rates", found=f"{len(within)} runs within {rate.seconds} s",
                    wanted=f"at most {rate.runs}", passes_at=within[rate.runs - 1] + span,
                    is_rate=True,
                )  # fmt: skip

    def _budgets(self, charge: Charge) -> Iterator[Refusal]:
        currencies = {each.of for each in self.policy.budgets} - {RUNS}
        if charge.currency and currencies and charge.currency not in currencies:
            # Else whoever names the currency would name one without a budget.
            wanted = "a currency with a budget: " + ", ".join(sorted(currencies))
            yield Refusal(rule="budgets", found=charge.currency, wanted=wanted)
        for budget in self.policy.budgets:
            asked = 1 if budget.of == RUNS else charge.amount * (budget.of == charge.currency)
            if not asked:
                continue
            spent = self.spent.get((budget.of, budget.per.name_of(self.now)), 0)
            if spent + asked <= budget.most:
                continue
            ever = asked <= budget.most
            yield Refusal(
                rule="budgets",
                found=f"{_told(budget.of, asked)} beside {_told(budget.of, spent)} of this"
                f" {budget.per}",
                wanted=f"at most {_told(budget.of, budget.most)} per {budget.per}",
                passes_at=budget.per.end_of(self.now) if ever else None,
            )


def spending(charge: Charge, at: datetime) -> dict[tuple[str, str], int]:
    """What a run adds to what is spent, by what and name of period."""
    added = {(RUNS, period.name_of(at)): 1 for period in Period}
    if charge.amount:
        added |= {(charge.currency, period.name_of(at)): charge.amount for period in Period}
    return added


def look_back(policies: Iterable[Policy]) -> int:
    """How many times of acceptance have to be known to judge by these policies."""
    return max((rate.runs for policy in policies for rate in policy.rates), default=0)


def amount_told(millionths: int) -> str:
    """For people: `12.5`."""
    return format((Decimal(millionths) / MILLION).normalize(), "f")


def _same_as(before: Before) -> str:
    return f"the same wish as run {before.run_id} of {_seconds(before.at)}"


def _seconds(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _told(of: str, amount: int) -> str:
    return f"{amount} runs" if of == RUNS else f"{amount_told(amount)} {of}"


def left(
    policy: Policy, spent: Mapping[tuple[str, str], int], now: datetime
) -> Sequence[tuple[Budget, int]]:
    """Each budget with what is left of it now; never less than nothing."""
    return [
        (budget, max(0, budget.most - spent.get((budget.of, budget.per.name_of(now)), 0)))
        for budget in policy.budgets
    ]
