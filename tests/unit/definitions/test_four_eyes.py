"""Of which runs a decision needs a second person."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.exchange import Facts
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.definitions.authoring import Workflow
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.four_eyes import FourEyes, rule_of, rule_problems
from orchestrator.definitions.program import Program
from orchestrator.errors import InvalidDefinition
from tests.unit.definitions.small_api import price, registry

SCHEMA = {"properties": {"amount": {"type": "number"}, "who": {"type": "object"}}}


def applies(said: Any, **inputs: Any) -> bool:
    return FourEyes(rule_of(said)).applies(Facts(run_id="r", inputs=inputs))


@pytest.mark.parametrize(
    ("said", "inputs", "wanted"),
    [
        (None, {}, False),
        (False, {}, False),
        (True, {}, True),
        ({"hours": 1}, {}, True),
        ({"when": "$inputs.amount > 1000"}, {"amount": 1001}, True),
        ({"when": "$inputs.amount > 1000"}, {"amount": 1000}, False),
        ({"when": "$inputs.amount > 1000"}, {}, True),
        ({"when": "$inputs.amount > 1000"}, {"amount": None}, True),
        ({"when": "$inputs.who.vip == true"}, {"who": {}}, True),
        ({"when": "$inputs.who.vip == true"}, {"who": {"vip": False}}, False),
    ],
)
def test_who_is_under_it(said: Any, inputs: dict[str, Any], wanted: bool) -> None:
    assert applies(said, **inputs) is wanted


def test_how_long_a_proposal_is_good() -> None:
    assert FourEyes(rule_of(True)).seconds == 24 * 3600
    assert FourEyes(rule_of({"hours": 0.5})).seconds == 1800


@pytest.mark.parametrize(
    ("said", "place", "wanted"),
    [
        ("yes", (), "true, or an object"),
        ({"if": "x"}, ("if",), "one of: when, hours"),
        ({"hours": 0}, ("hours",), "a number of hours"),
        ({"hours": True}, ("hours",), "a number of hours"),
        ({"when": 3}, ("when",), "a condition over the inputs"),
        ({"when": "$inputs.amount >"}, ("when",), ""),
        ({"when": "1 == 1"}, ("when",), "asks for an input"),
        ({"when": "$steps.a.outputs.amount > 1"}, ("when",), "inputs alone"),
        ({"when": "$inputs.amuont > 1"}, ("when",), "one of the inputs: amount, who"),
    ],
)
def test_what_is_wrong_with_it(said: Any, place: tuple[str, ...], wanted: str) -> None:
    ((path, found, needed),) = rule_problems(said, SCHEMA)
    assert path == place
    assert found
    assert wanted in needed


def test_in_python_and_kept_with_the_plan() -> None:
    workflow = Workflow("w", inputs={"sku": str, "amount": int}, four_eyes={
        "when": "$inputs.amount > 10"
    }).step(price)  # fmt: skip
    plan = plan_of(workflow, tasks=registry())
    assert plan_from_json(plan_to_json(plan)) == plan
    program = Program(plan)
    assert program.four_eyes.applies(Facts(run_id="r", inputs={"sku": "x", "amount": 11}))
    with pytest.raises(InvalidDefinition, match="four_eyes /when"):
        plan_of(Workflow("w", four_eyes={"when": "$inputs.no == 1"}).step(price), tasks=registry())
