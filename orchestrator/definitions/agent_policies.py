"""The policy of an agent, as people write it:

    allow: [order*, refund]        # names of workflows, with * and ?; left out: all
    deny: [refund_everything]      # goes before allow
    rates: [10/minute, 100/hour]   # runs, looked at over the time that has just passed
    budgets: [200 runs/day, 500 EUR/day, 5000 EUR/month]
    duplicates: {then: refuse, hours: 24}      # or ask, warn: the same wish again, another key
    approve: {above: [500 EUR], roles: [approver], hours: 24}   # a person, before the run begins

In a file (`orchestrator agents apply FILE`) they stand below the names of the agents:

    agents:
      support-bot: {tenant: acme, allow: [order*], budgets: [100 runs/day]}
      "*": {tenant: acme, budgets: [1000 EUR/day]}      # all agents of the tenant together
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from orchestrator.core.guarding import (
    EVERYBODY,
    MILLION,
    MOST_OF_RATE,
    RUNS,
    Asking,
    Budget,
    Duplicates,
    Period,
    Policy,
    Rate,
    Threshold,
    amount_told,
)
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import Document
from orchestrator.definitions.problems import Findings

CURRENCY = re.compile(r"[A-Z][A-Z0-9]{1,11}")
"""`EUR`, or another unit that a workflow declares: `POINTS`."""
LARGEST_AMOUNT = 10**9
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_RATE = re.compile(rf"(\d{{1,6}})\s*/\s*({'|'.join(_SECONDS)})")
_BUDGET = re.compile(r"(\S+)\s+(\S+?)\s*/\s*(day|month)")
_AMOUNT = re.compile(r"(\S+)\s+(\S+)")
_WANTED_RATE = f"runs in a time, at most {MOST_OF_RATE}: 10/minute (or second, hour, day)"
_WANTED_BUDGET = "100 runs/day, or an amount: 500 EUR/month"
_WANTED_AMOUNT = "an amount: 500 EUR"
_FIELDS = ("allow", "deny", "rates", "budgets", "duplicates", "approve")
_THEN = ("refuse", "ask", "warn")
DECIDING = ("operator", "approver", "admin")
"""Roles of people who may approve, as `ports.Role` names them."""
USUAL_HOURS = 24.0
MOST_HOURS = 24.0 * 90
DEFAULT_TENANT = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A policy with the agent that it is for."""

    tenant: str
    agent: str
    policy: Policy


def read_policy(document: Document) -> Policy:
    """The policy that a document is. Raises InvalidDefinition naming all that is wrong."""
    findings = Findings()
    policy = _policy(Cursor(document, findings, document.value), _FIELDS)
    findings.raise_if_any("the policy cannot be used")
    return policy


def read_policies(document: Document) -> list[Named]:
    """Those of a file for many agents. Raises InvalidDefinition naming all that is wrong."""
    findings = Findings()
    top = Cursor(document, findings, document.value)
    if top.is_object():
        top.only(("agents",))
        if not top.has("agents"):
            top.bad("the field agents", found="no agents")
    found = []
    for name, at in top.entries("agents"):
        policy = _policy(at, ("tenant", *_FIELDS))
        tenant = at.text("tenant") or DEFAULT_TENANT
        found.append(Named(tenant=tenant, agent=name, policy=policy))
    findings.raise_if_any("the policies cannot be used")
    return found


def as_said(policy: Policy) -> dict[str, Any]:
    """A policy as `read_policy` takes it."""
    said: dict[str, Any] = {"allow": list(policy.allow)}
    if policy.deny:
        said["deny"] = list(policy.deny)
    if policy.rates:
        said["rates"] = [rate_told(rate) for rate in policy.rates]
    if policy.budgets:
        said["budgets"] = [budget_told(budget) for budget in policy.budgets]
    if (rule := policy.duplicates) is not None:
        then = "refuse" if rule.refuse else "ask" if rule.ask else "warn"
        said["duplicates"] = {"then": then, "hours": rule.seconds / 3600}
    if policy.asking != Asking():
        said["approve"] = _asking_said(policy.asking)
    return said


def _asking_said(asking: Asking) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if asking.above:
        said["above"] = [f"{amount_told(each.most)} {each.of}" for each in asking.above]
    if asking.roles:
        said["roles"] = list(asking.roles)
    if asking.requester:
        said["requester"] = True
    if asking.seconds is not None:
        said["hours"] = asking.seconds / 3600
    return said


def rate_told(rate: Rate) -> str:
    """`10/minute`."""
    unit = next(name for name, seconds in _SECONDS.items() if seconds == rate.seconds)
    return f"{rate.runs}/{unit}"


def budget_told(budget: Budget) -> str:
    """`500 EUR/month`."""
    most = str(budget.most) if budget.of == RUNS else amount_told(budget.most)
    return f"{most} {budget.of}/{budget.per}"


def millionths(value: object) -> int | None:
    """An amount that is not negative as whole millionths; None for what cannot be one exactly."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value)) * MILLION
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= LARGEST_AMOUNT * MILLION:
        return None
    return int(amount) if amount == amount.to_integral_value() else None


def _policy(at: Cursor, fields: tuple[str, ...]) -> Policy:
    if not at.is_object():
        return Policy()
    at.only(fields)
    allow = _texts(at, "allow") if at.has("allow") else (EVERYBODY,)
    rates = [rate for each in at.items("rates") if (rate := _rate(each)) is not None]
    budgets = [each for said in at.items("budgets") if (each := _budget(said)) is not None]
    return Policy(
        allow=allow, deny=_texts(at, "deny"), rates=tuple(rates), budgets=tuple(budgets),
        duplicates=_duplicates(at.get("duplicates")), asking=_asking(at.get("approve")),
    )  # fmt: skip


def _duplicates(at: Cursor | None) -> Duplicates | None:
    if at is None or not at.is_object():
        return None
    at.only(("then", "hours"))
    if not at.has("then"):
        at.bad("the field then: " + " or ".join(_THEN), found="no then")
    then, seconds = at.choice("then", _THEN), _hours(at)
    if seconds is None:
        seconds = round(USUAL_HOURS * 3600)
    return Duplicates(refuse=then == "refuse", ask=then == "ask", seconds=seconds)


def _asking(at: Cursor | None) -> Asking:
    if at is None or not at.is_object():
        return Asking()
    at.only(("above", "roles", "requester", "hours"))
    above = [each for said in at.items("above") if (each := _threshold(said)) is not None]
    for role in at.items("roles"):
        if role.value not in DECIDING:
            role.bad("one of: " + ", ".join(DECIDING))
    return Asking(
        above=tuple(above), roles=tuple(str(each.value) for each in at.items("roles")),
        requester=bool(at.flag("requester")), seconds=_hours(at),
    )  # fmt: skip


def _hours(at: Cursor) -> int | None:
    """In seconds."""
    hours = at.number("hours", least=0.001)
    if hours is None:
        return None
    if hours > MOST_HOURS:
        at.child("hours", hours).bad(f"at most {MOST_HOURS:g} hours")
    return round(hours * 3600)


def _threshold(at: Cursor) -> Threshold | None:
    found = _AMOUNT.fullmatch(at.value) if isinstance(at.value, str) else None
    amount = None if found is None else millionths(found[1])
    if found is None or amount is None or not CURRENCY.fullmatch(found[2]):
        at.bad(_WANTED_AMOUNT)
        return None
    return Threshold(of=found[2], most=amount)


def _texts(at: Cursor, name: str) -> tuple[str, ...]:
    found = []
    for each in at.items(name):
        if isinstance(each.value, str) and each.value.strip():
            found.append(each.value)
        else:
            each.bad("the name of a workflow, with * and ? for any")
    return tuple(found)


def _rate(at: Cursor) -> Rate | None:
    found = _RATE.fullmatch(at.value) if isinstance(at.value, str) else None
    if found is None or not 1 <= int(found[1]) <= MOST_OF_RATE:
        at.bad(_WANTED_RATE)
        return None
    return Rate(runs=int(found[1]), seconds=_SECONDS[found[2]])


def _budget(at: Cursor) -> Budget | None:
    found = _BUDGET.fullmatch(at.value) if isinstance(at.value, str) else None
    if found is None:
        at.bad(_WANTED_BUDGET)
        return None
    most, of, per = found[1], found[2], Period(found[3])
    if of == RUNS and most.isdecimal() and int(most) <= LARGEST_AMOUNT:
        return Budget(of=RUNS, most=int(most), per=per)
    amount = millionths(most)
    if amount is None or not CURRENCY.fullmatch(of):
        at.bad(_WANTED_BUDGET)
        return None
    return Budget(of=of, most=amount, per=per)


def policy_of(said: Mapping[str, Any], name: str) -> Policy:
    """The policy that plain values say; `name` is the place in errors. Raises InvalidDefinition."""
    return read_policy(Document(name=name, text="", value=said))
