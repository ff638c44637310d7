"""What a run spends, and by what it is the same wish as another: declared over its inputs."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import ApiWorkflow, Workflow, step, task
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.spending import Spending, budget_problems, intent_problems
from orchestrator.errors import InvalidDefinition, InvalidInput

SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "number"}, "currency": {"type": "string"}, "many": {"type": "array"},
    },
}  # fmt: skip
BUDGET = {"amount": "$inputs.amount", "currency": "$inputs.currency"}


@task(effects="keyed")
async def charge(amount: float, currency: str) -> dict[str, str]:
    """Never called here."""
    return {"id": f"{amount} {currency}"}


def order(**more: Any) -> Workflow:
    charged = step(charge, id="charge", no_compensation="stays")
    return Workflow("order", inputs=SCHEMA, **more).step(charged)


def test_a_budget_is_worked_out_from_the_inputs() -> None:
    spending = Spending(BUDGET, {})
    assert spending.of({"amount": 19.99, "currency": "EUR"}) == (19_990_000, "EUR")
    assert Spending({"amount": 2.5, "currency": "POINTS"}, {}).of({}) == (2_500_000, "POINTS")
    assert Spending({}, {}).of({"amount": 5}) == (0, "")


@pytest.mark.parametrize(
    ("inputs", "place"),
    [
        ({"currency": "EUR"}, "x-budget, amount"),
        ({"amount": None, "currency": "EUR"}, "x-budget, amount"),
        ({"amount": -0.5, "currency": "EUR"}, "x-budget, amount"),
        ({"amount": 1e300, "currency": "EUR"}, "x-budget, amount"),
        ({"amount": 1}, "x-budget, currency"),
        ({"amount": 1, "currency": "eur"}, "x-budget, currency"),
        ({"amount": 1, "currency": ["EUR"]}, "x-budget, currency"),
    ],
)
def test_what_is_left_out_is_not_free(inputs: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Spending(BUDGET, {}).of(inputs)
    assert [problem.place for problem in refused.value.problems] == [place]


def test_an_intent_is_the_values_that_are_named() -> None:
    spending = Spending({}, {"order": "$inputs.order", "line": "$inputs.lines#/0"})
    inputs = {"order": 7, "lines": ["a"], "note": "x"}
    assert spending.intent(inputs) == {"order": 7, "line": "a"}
    assert spending.intent({"lines": []}) == {"order": None, "line": None}
    assert Spending({}, {}).intent(inputs) is None


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("EUR", ()),
        ({"amount": 5}, ()),
        ({"amount": -5, "currency": "EUR"}, ("amount",)),
        ({"amount": "5", "currency": "EUR"}, ("amount",)),
        ({"amount": "$inputs.nothing", "currency": "EUR"}, ("amount",)),
        ({"amount": "$inputs.many", "currency": "EUR"}, ("amount",)),
        ({"amount": "$steps.s.outputs.x", "currency": "EUR"}, ("amount",)),
        ({"amount": "{$inputs.amount}0", "currency": "EUR"}, ("amount",)),
        ({"amount": 5, "currency": "euro"}, ("currency",)),
        ({"amount": 5, "currency": "$inputs.amount"}, ("currency",)),
        ({"amount": 5, "currency": 5}, ("currency",)),
        ({"amount": 5, "currency": "EUR", "per": "day"}, ("per",)),
    ],
)
def test_a_budget_that_says_nothing_is_refused_with_its_place(said: Any, path: object) -> None:
    assert [problem[0] for problem in budget_problems(said, SCHEMA)] == [path]


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ([], ()), ({}, ()), ({"a": "$steps.s.outputs.x"}, ("a",)), ({"a": 5}, ("a",)),
        ({"a": "$inputs.nothing"}, ("a",)), ({"a b": "$inputs.amount"}, ("a b",)),
    ],
)  # fmt: skip
def test_an_intent_that_says_nothing_is_refused_with_its_place(said: Any, path: object) -> None:
    assert [problem[0] for problem in intent_problems(said, SCHEMA)] == [path]


def test_both_are_part_of_the_plan_and_left_out_of_others() -> None:
    plan = plan_of(order(budget=BUDGET, intent={"amount": "$inputs.amount"}))
    assert (plan.budget, plan.intent) == (BUDGET, {"amount": "$inputs.amount"})
    assert plan_from_json(plan_to_json(plan)) == plan
    assert '"budget"' not in plan_to_json(plan_of(order()))
    with pytest.raises(InvalidDefinition, match="budget /amount"):
        plan_of(order(budget={"amount": "$inputs.x", "currency": "EUR"}))
    assert ApiWorkflow("order", budget=BUDGET).budget == BUDGET
