"""Small plans for tests of the core."""

from __future__ import annotations

from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.retry import RetryPolicy


def call(
    label: str,
    effects: Effects = Effects.KEYED,
    *,
    attempts: int = 3,
    verify: bool = False,
) -> Call:
    return Call(
        label=label,
        api="shop",
        effects=effects,
        template={},
        retry=RetryPolicy(max_attempts=attempts, max_elapsed_seconds=None),
        verify=call(f"{label}.verify", Effects.NONE) if verify else None,
    )


def step(
    name: str,
    effects: Effects = Effects.KEYED,
    *,
    undo: Effects | None = Effects.KEYED,
    pivot: bool = False,
    attempts: int = 3,
    verify: bool = False,
) -> PlanStep:
    compensation = None if undo is None else Compensation(call=call(f"{name}.undo", undo))
    return PlanStep(
        id=name,
        call=call(name, effects, attempts=attempts, verify=verify),
        compensation=compensation,
        no_compensation_reason=None if compensation else "nothing to undo",
        pivot=pivot,
    )


def plan(*steps: PlanStep) -> Plan:
    return Plan(workflow="order", steps=steps)
