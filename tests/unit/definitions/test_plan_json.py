"""Plans as stored text, and the digest of their content."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import digest_of, plan_from_json, plan_to_json, with_digest
from orchestrator.definitions.loading import load_document
from orchestrator.errors import InvalidDefinition


@pytest.fixture
def plan() -> Plan:
    return load_document(Path(__file__).parents[2] / "data/stripe-mock/checkout.arazzo.yaml")[
        0
    ].plan


def test_there_and_back(plan: Plan) -> None:
    assert plan_from_json(plan_to_json(plan)) == plan
    assert plan_to_json(plan_from_json(plan_to_json(plan))) == plan_to_json(plan)


def test_the_digest_names_the_content(plan: Plan) -> None:
    assert plan.digest == digest_of(plan) == digest_of(replace(plan, digest="other"))
    assert digest_of(replace(plan, lane="other")) != plan.digest
    assert with_digest(replace(plan, digest="")).digest == plan.digest


def test_limits_are_stored_even_where_they_are_the_defaults(plan: Plan) -> None:
    stored = json.loads(plan_to_json(plan))["plan"]["steps"][1]["call"]["retry"]
    assert stored["max_attempts"] == 8


@pytest.mark.parametrize(
    "text",
    [
        "{}", "[]", '{"format": 2, "plan": {}}', '{"format": 1, "plan": {}}', '{"format": 1}',
        '{"format": 1, "plan": {"workflow": "w", "steps": [{}]}}',
        '{"format": 1, "plan": {"workflow": "w", "steps": [], "colour": 1}}',
    ],
)  # fmt: skip
def test_other_formats_are_refused(text: str) -> None:
    with pytest.raises(InvalidDefinition):
        plan_from_json(text)
