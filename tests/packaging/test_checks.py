"""What `make compose-check` and `make cluster-check` bring along, without starting anything."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import Chart

from tests.packaging import compose_up, standing_in, worlds
from tests.packaging.charts import CHART
from tests.packaging.cluster_objects import Images, Passwords, surroundings, values
from tests.packaging.image import DEPLOY, Unfit

IMAGES = Images(world="registry.example:5000/shop/world:7")
COUNTS = {"lost": 0, "orphaned_effects": 0}


def test_the_chart_takes_the_values_and_kubernetes_all_of_it() -> None:
    said = values(IMAGES, "check", release=1)
    parts = Chart.load(CHART).render(said, name="orders", namespace="check", is_install=True)
    made = [
        each for path, text in parts.items() if path.endswith(".yaml")
        for each in yaml.safe_load_all(text) if each
    ]  # fmt: skip
    around = surroundings(IMAGES, Passwords())
    for each in (*made, *around):
        kubernetes_validate.validate(each, "1.31", strict=True)
    named = {secret for each in made for secret in _secrets(each)}
    there = {each["metadata"]["name"] for each in around if each["kind"] == "Secret"}
    assert named <= there
    assert {"orchestrator-worker", "orchestrator-api", "ledger"} <= named


def _secrets(manifest: dict[str, Any]) -> set[str]:
    pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return {
        variable["valueFrom"]["secretKeyRef"]["name"]
        for container in pod.get("containers", ())
        for variable in container.get("env", ())
        if "valueFrom" in variable
    }


def test_users_of_the_broker_have_their_passwords_and_nobody_else_s() -> None:
    users = Passwords().users()
    assert "SHA256" not in users
    assert users.count(" on #") == 4
    assert users != Passwords().users()


def test_beside_compose_only_images_and_the_called_api_are_said() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    images = dict.fromkeys(compose_up.OWN, "world") | standing_in.stand_ins()
    assert set(images) == set(services), "each service has an image"
    said = compose_up.override(images)["services"]
    assert set(said) - set(services) == {"ledger"}
    for name in services:
        assert set(said[name]) <= {"image", "environment"}, name


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ("Traceback", "the judge said"),
        (json.dumps({"counts": COUNTS | {"lost": 2}, "endings": {}}), "lost"),
    ],
)
def test_a_judge_that_is_silent_or_finds_something_is_no_success(printed: str, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        worlds.verdict(printed)


def test_a_good_verdict_is_told_with_its_endings() -> None:
    printed = json.dumps({"counts": COUNTS, "endings": {"succeeded": 3, "compensated": 1}})
    assert worlds.told(worlds.verdict(f"noise\n{printed}\n")) == (
        "1 compensated, 3 succeeded; 2 promises, none broken"
    )
