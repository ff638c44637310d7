"""How bad an escalation is, where its workflow says so."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.exchange import Facts
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.core.severity import Severity
from orchestrator.definitions.authoring import Workflow
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.escalation_rules import (
    EscalationRules,
    escalation_of,
    escalation_problems,
)
from orchestrator.definitions.program import Program
from orchestrator.errors import InvalidDefinition
from tests.unit.definitions.conftest import Load
from tests.unit.definitions.small_api import GET, price, registry

SCHEMA = {"properties": {"amount": {"type": "number"}}}
BY_AMOUNT = [
    {"when": "$inputs.amount > 1000", "severity": "critical", "minutes": 10},
    {"when": "$inputs.amount > 100", "minutes": 30},
    {"severity": "low"},
]


@pytest.mark.parametrize(
    ("said", "inputs", "wanted"),
    [
        (None, {}, (None, None)),
        ({"severity": "high"}, {}, (Severity.HIGH, None)),
        (BY_AMOUNT, {"amount": 1001}, (Severity.CRITICAL, 600.0)),
        (BY_AMOUNT, {"amount": 101}, (None, 1800.0)),
        (BY_AMOUNT, {"amount": 100}, (Severity.LOW, None)),
        (BY_AMOUNT, {}, (Severity.LOW, None)),
        (BY_AMOUNT[:2], {"amount": None}, (None, None)),
    ],
)
def test_the_first_rule_that_holds_counts(said: Any, inputs: dict[str, Any], wanted: Any) -> None:
    rules = EscalationRules(escalation_of(said))
    assert rules.of(Facts(run_id="r", inputs=inputs)) == wanted


@pytest.mark.parametrize(
    ("said", "place", "wanted"),
    [
        ("high", (), "severity and minutes"),
        ([], (), "1 to 20"),
        ([{"severity": "low"}] * 21, (), "1 to 20"),
        ({}, (), "severity or minutes"),
        ([7], (0,), "an object"),
        ({"severity": "bad"}, ("severity",), "one of: critical, high"),
        ({"minutes": 0}, ("minutes",), "a number of minutes"),
        ({"minutes": True}, ("minutes",), "a number of minutes"),
        ({"severity": "low", "due": 3}, ("due",), "one of: when, severity, minutes"),
        ([{"severity": "low"}, {"severity": "high"}], (0,), "at the end"),
        ({"when": "$steps.a.outputs.x > 1", "severity": "low"}, ("when",), "inputs alone"),
        ({"when": "$inputs.amuont > 1", "severity": "low"}, ("when",), "one of the inputs: amount"),
    ],
)
def test_what_is_wrong_with_it(said: Any, place: tuple[str | int, ...], wanted: str) -> None:
    ((path, found, needed),) = escalation_problems(said, SCHEMA)
    assert path == place
    assert found
    assert wanted in needed


def test_in_python_and_kept_with_the_plan() -> None:
    workflow = Workflow("w", inputs={"sku": str, "amount": int}, escalation=BY_AMOUNT).step(price)
    plan = plan_of(workflow, tasks=registry())
    assert plan_from_json(plan_to_json(plan)) == plan
    told = Program(plan).escalation.of(Facts(run_id="r", inputs={"sku": "x", "amount": 2000}))
    assert told == (Severity.CRITICAL, 600.0)
    with pytest.raises(InvalidDefinition, match="escalation /severity"):
        plan_of(Workflow("w", escalation={"severity": "x"}).step(price), tasks=registry())


def test_in_a_document(load: Load) -> None:
    plan = load(GET + "}\n    x-escalation: {severity: high, minutes: 5}").plan
    assert Program(plan).escalation.of(Facts(run_id="r", inputs={})) == (Severity.HIGH, 300.0)
    with pytest.raises(InvalidDefinition, match="x-escalation/0/severity"):
        load(GET + "}\n    x-escalation: [{severity: urgent}]")
