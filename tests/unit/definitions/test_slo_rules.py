"""What a workflow promises itself: in documents, in Python, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.core.slo import Objective, ObjectiveKind, Source, objectives_of
from orchestrator.definitions.authoring import Workflow
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.slo_rules import slo_problems
from orchestrator.errors import InvalidDefinition
from tests.unit.definitions.conftest import Load
from tests.unit.definitions.small_api import GET, price, registry

SAID: dict[str, Any] = {
    "success": {"target": 0.995}, "latency": {"target": 0.95, "seconds": 30, "window_days": 28},
    "compensation": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "place", "wanted"),
    [
        (0.99, (), "an object"),
        ({}, (), "an object"),
        ({"speed": {"target": 0.9}}, ("speed",), "one of: success, latency"),
        ({"success": 0.99}, ("success",), "an object with a target, or off"),
        ({"success": 0}, ("success",), "or off"),
        ({"success": {}}, ("success", "target"), "above 0, below 1"),
        ({"success": {"target": True}}, ("success", "target"), "above 0, below 1"),
        ({"success": {"target": 1}}, ("success", "target"), "above 0, below 1"),
        ({"success": {"target": 0.9, "seconds": 3}}, ("success", "seconds"), "one of: target"),
        ({"latency": {"target": 0.9}}, ("latency", "seconds"), "seconds, at most"),
        ({"latency": {"target": 0.9, "seconds": 0}}, ("latency", "seconds"), "seconds, at most"),
        ({"success": {"target": 0.9, "window_days": 7}}, ("success", "window_days"), "28 to 90"),
        ({"success": {"target": 0.9, "least_bad": 1.5}}, ("success", "least_bad"), "whole"),
    ],
)
def test_what_is_wrong_with_it(said: Any, place: tuple[str | int, ...], wanted: str) -> None:
    ((path, found, needed),) = slo_problems(said)
    assert path == place
    assert found
    assert wanted in needed


def test_in_python_and_kept_with_the_plan() -> None:
    plan = plan_of(Workflow("w", slo=SAID).step(price), tasks=registry())
    assert plan_from_json(plan_to_json(plan)) == plan
    assert objectives_of({}, {"w": plan.slo}) == [
        Objective(
            workflow="w", kind=ObjectiveKind.LATENCY, target=0.95, seconds=30, window_days=28,
            source=Source.DOCUMENT,
        ),
        Objective(
            workflow="w", kind=ObjectiveKind.SUCCESS, target=0.995, source=Source.DOCUMENT
        ),
    ]  # fmt: skip
    with pytest.raises(InvalidDefinition, match="slo /success/target"):
        plan_of(Workflow("w", slo={"success": {"target": 2}}).step(price), tasks=registry())


@pytest.mark.parametrize("off", ["off", "false", "'off'"])
def test_in_a_document(load: Load, off: str) -> None:
    slo = f"x-slo: {{success: {{target: 0.9}}, compensation: {off}}}"
    plan = load(GET + "}\n    " + slo).plan
    assert plan.slo == {"success": {"target": 0.9}, "compensation": None}
    with pytest.raises(InvalidDefinition, match="x-slo/success/target"):
        load(GET + "}\n    x-slo: {success: {target: 0}}")
