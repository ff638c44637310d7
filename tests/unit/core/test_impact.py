"""What an API means for runs that stand alike."""

from __future__ import annotations

from orchestrator.core.impact import UNTOUCHED, Standing, going_forward, reach_of, touch_of
from orchestrator.core.plan import Call, Effects, Plan, PlanStep
from orchestrator.core.states import RunStatus


def plan(*apis: str) -> Plan:
    steps = tuple(
        PlanStep(
            id=f"s{at}", call=Call(label=f"s{at}", api=api, effects=Effects.KEYED, template={})
        )
        for at, api in enumerate(apis)
    )  # fmt: skip
    return Plan(workflow="order", steps=steps, digest="d")


def test_what_stands_alike_is_told_the_same_however_often_it_is_asked() -> None:
    saga = going_forward(plan("shop", "bank", "mail"), 1, RunStatus.RUNNING)
    standing, reach = Standing(saga), reach_of(saga.plan)
    for api in ("shop", "bank", "mail", "shop"):
        assert standing.touch(api, reach) == touch_of(saga, api, reach) != UNTOUCHED
    assert standing.touch("bank", reach) is standing.touch("bank", reach)


def test_names_that_no_step_calls_are_not_kept() -> None:
    standing = Standing(going_forward(plan("shop"), 0, RunStatus.RUNNING))
    assert standing.touch("bank-\N{SNOWMAN}", reach_of(plan("shop"))) is UNTOUCHED
    assert standing._touches == {}
