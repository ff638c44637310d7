"""Plans as stored text, and the digest of their content."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import (
    digest_of,
    longer,
    outline,
    plan_from_json,
    plan_to_json,
    with_digest,
)
from orchestrator.definitions.loading import load_document
from orchestrator.errors import InvalidDefinition, Untrusted


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
    ("text", "place"),
    [
        ("{}", "/format: found nothing; wanted 1"), ("[]", "/: found []; wanted an object"),
        ('{"format": 2, "plan": {}}', "/format: found 2; wanted 1"),
        ('{"format": 1, "plan": {}}', "/plan/steps: found nothing; wanted a list"),
        ('{"format": 1}', "/plan: found nothing; wanted an object"),
        ('{"format": 1, "plan": {"workflow": "w", "steps": [{}]}}', "/plan/steps/0/call: found"),
        ('{"format": 1, "plan": {"steps": []}}', "/plan: found no workflow"),
        ('{"format": 1, "plan": {"workflow": "w", "steps": [], "a/b": 1}}', "/plan/a~1b: found"),
        ('{"format": 1, "plan": {"workflow": 7, "steps": []}}', "/plan/workflow: found 7; wanted"),
        ('{"format": 1, "plan": {"workflow": "w"', "line 1, column 39: found"),
        ("[" * 100_000, "the text: found"), ("", "line 1, column 1: found"),
        ('{"format": 1, "plan": {"workflow": "w", "steps": [], "slo": {"a": NaN}}}', ""),
    ],
)  # fmt: skip
def test_what_nobody_has_written_is_not_trusted_and_the_place_is_told(
    text: str, place: str
) -> None:
    if not place:  # it is read, as long as there is no digest to hold it against
        assert plan_from_json(text).workflow == "w"
        return
    with pytest.raises(Untrusted) as caught:
        plan_from_json(text)
    assert str(caught.value.problems[0]).startswith(place)
    assert outline("w", text).digest == ""


def spoilt(plan: Plan, **changes: object) -> str:
    data = json.loads(plan_to_json(plan))
    return json.dumps({**data, "plan": {**data["plan"], **changes}})


def test_a_plan_that_is_not_what_its_digest_says_is_not_trusted(plan: Plan) -> None:
    with pytest.raises(Untrusted, match="/plan/digest: found a plan whose SHA-256 is"):
        plan_from_json(spoilt(plan, lane="other"))
    assert plan_from_json(spoilt(plan, lane="other", digest="mine")).lane == "other"


def test_what_another_release_has_written_is_not_called_spoilt(plan: Plan) -> None:
    data = json.loads(spoilt(plan, colour="red"))
    del data["plan"]["digest"]
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    data["plan"]["digest"] = hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(InvalidDefinition, match="/plan/colour"):
        plan_from_json(json.dumps(data))


def test_an_outline_names_the_steps_as_far_as_it_can(plan: Plan) -> None:
    ids = [step.id for step in plan.steps]
    assert [step.id for step in outline("w", spoilt(plan, format=2)).steps] == ids
    odd = json.dumps({"plan": {"steps": [{"id": "a"}, {}, {"id": "a"}, {"id": 3}]}})
    named = outline("w", odd)
    assert [step.id for step in named.steps] == ["a", "(step 2)", "(step 3)", "(step 4)"]
    assert [step.id for step in longer(named, 5).steps][3:] == ["(step 4)", "(step 5)"]
    assert longer(named, 2) is named
