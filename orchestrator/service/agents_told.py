"""Policies of software agents as plain values: the same for REST, the command line and pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from orchestrator.core.guarding import RUNS, Period, amount_told
from orchestrator.definitions.agent_policies import as_said, budget_told
from orchestrator.ports import PolicyChange, PolicyRecord
from orchestrator.service.agent_policies import PolicyView


def policy_told(record: PolicyRecord) -> dict[str, Any]:
    """Whose, what holds, and whether the agent is stopped."""
    stop = record.policy.stopped
    stopped = None if stop is None else {"by": stop.by, "at": stop.at, "reason": stop.reason}
    return {
        "agent": record.agent, "tenant": record.tenant, "version": record.version,
        "changed_at": record.changed_at.isoformat(), "removed": record.removed,
        "stopped": stopped, "policy": as_said(record.policy),
    }  # fmt: skip


def view_told(view: PolicyView) -> dict[str, Any]:
    """The same, with what is left of each budget, and all that was used of this day and month."""
    left = [
        {
            "budget": budget_told(budget), "left": _amount(budget.of, amount),
            "until": budget.per.end_of(view.now).isoformat(),
        }
        for budget, amount in view.left
    ]  # fmt: skip
    return {**policy_told(view.record), "left": left, "used": _used(view)}


def change_told(change: PolicyChange) -> dict[str, Any]:
    """What was done, by whom, and why."""
    return {
        "version": change.version, "kind": str(change.kind), "at": change.at.isoformat(),
        "by": change.by, "reason": change.reason, "policy": as_said(change.policy),
    }  # fmt: skip


def _used(view: PolicyView) -> Mapping[str, Mapping[str, str]]:
    """By what (`runs`, or a currency) and `day` or `month`: what was spent, where anything was."""
    used: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for period in Period:
        for (what, name), amount in sorted(view.spent.items()):
            if name == period.name_of(view.now) and amount:
                used[what][str(period)] = _amount(what, amount)
    return used


def _amount(of: str, amount: int) -> str:
    return str(amount) if of == RUNS else amount_told(amount)
