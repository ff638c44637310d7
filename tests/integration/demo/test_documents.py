"""The shipped documents are valid, and the server's own document is the one it publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from orchestrator.core.plan import CompensationKind, Effects
from orchestrator.definitions.loading import Loaded, load_path
from orchestrator.definitions.official.patches import published
from orchestrator.definitions.task_modules import load_tasks
from orchestrator.demo.kinto import KintoClient

WORKFLOWS = Path(__file__).parents[3] / "config" / "workflows"
USED = {
    ("put", "/buckets/{bucket_id}/collections/{collection_id}/records/{id}"): "update_record",
    ("get", "/buckets/{bucket_id}/collections/{collection_id}/records/{id}"): "get_record",
    ("delete", "/buckets/{bucket_id}/collections/{collection_id}/records/{id}"): "delete_record",
}


def loaded(name: str) -> Loaded:
    (found,) = load_path(WORKFLOWS / f"{name}.arazzo.yaml", tasks=load_tasks(("tasks",)))
    return found


def test_the_checkout_has_every_kind_of_step_and_compensation() -> None:
    plan = loaded("checkout").plan
    kinds = {step.id: step.compensation.kind for step in plan.steps if step.compensation}
    assert kinds.pop("confirm") is CompensationKind.FOLLOW_UP
    assert set(kinds) == {"reserve", "register", "charge", "order", "ship"}
    assert set(kinds.values()) == {CompensationKind.REVERSE}
    assert {step.id for step in plan.steps if step.call.task_name} == {"price", "compose"}
    for step in plan.steps:
        # Nothing in it may ever be in doubt for long: the same request can be sent again.
        assert step.call.effects is not Effects.UNKEYED, step.id
        assert step.compensation is None or step.compensation.call.effects is Effects.KEYED


def test_the_payments_are_keyed() -> None:
    plan = loaded("payments").plan
    assert [step.call.effects for step in plan.steps] == [Effects.KEYED] * 3


@pytest.mark.parametrize("name", ["checkout", "payments"])
def test_the_documents_satisfy_the_schema_of_arazzo(name: str) -> None:
    document = yaml.safe_load((WORKFLOWS / f"{name}.arazzo.yaml").read_text())
    schema = Draft202012Validator(published("1.0"))
    assert [(e.json_path, e.message) for e in schema.iter_errors(document)] == []


@pytest.mark.parametrize("name", ["checkout", "payments"])
def test_validation_has_nothing_to_warn_of(name: str) -> None:
    assert loaded(name).warnings == ()


async def test_the_shipped_server_document_is_the_published_one(kinto_url: str) -> None:
    shipped = json.loads((WORKFLOWS / "kinto.swagger.json").read_text())
    async with KintoClient(kinto_url, user="reader") as client:
        published: dict[str, Any] = await client.expect({200}, "GET", "/__api__")
    assert shipped["info"] == published["info"]
    assert shipped["basePath"] == published["basePath"]
    for (method, path), operation_id in USED.items():
        ours, theirs = shipped["paths"][path], published["paths"][path]
        assert ours[method]["operationId"] == theirs[method]["operationId"] == operation_id
        assert ours["parameters"] == theirs["parameters"]
