"""Workflows of three steps that the model explores: every kind of effect, on the way and back."""

from __future__ import annotations

from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.retry import RetryPolicy

_TWICE = RetryPolicy(max_attempts=2)


def _call(name: str, effects: Effects, *, verified: bool = False) -> Call:
    verify = Call(label=f"{name}?", api="shop", effects=Effects.NONE, template={})
    return Call(
        label=name, api="shop", effects=effects, template={}, retry=_TWICE,
        verify=verify if verified else None,
    )  # fmt: skip


def _keyed(name: str, undo: Call | None, *, pivot: bool = False) -> PlanStep:
    return PlanStep(
        id=name, call=_call(name, Effects.KEYED), pivot=pivot,
        compensation=None if undo is None else Compensation(call=undo),
    )  # fmt: skip


def _unkeyed(name: str, undo: Call | None, *, verified: bool, pivot: bool = False) -> PlanStep:
    return PlanStep(
        id=name, call=_call(name, Effects.UNKEYED, verified=verified), pivot=pivot,
        compensation=None if undo is None else Compensation(call=undo),
    )  # fmt: skip


MIXED = Plan(
    workflow="mixed",
    steps=(
        _keyed("reserve", _call("release", Effects.UNKEYED, verified=True)),
        _unkeyed("charge", _call("refund", Effects.KEYED), verified=True),
        _unkeyed("book", _call("unbook", Effects.KEYED), verified=False),
    ),
)
"""Goes back from anywhere; the last step can be neither repeated nor asked about."""

PIVOT = Plan(
    workflow="pivot",
    steps=(
        _keyed("reserve", _call("release", Effects.UNKEYED)),
        _unkeyed("pay", None, verified=True, pivot=True),
        _keyed("send", None),
    ),
)
"""Past its second step it only goes forward; the only undo can be neither repeated nor asked."""

PLANS = {plan.workflow: plan for plan in (MIXED, PIVOT)}

SHORT = Plan(
    workflow="short",
    steps=(_unkeyed("charge", _call("refund", Effects.KEYED), verified=True),),
)
"""One step, for many runs at once in little time."""
