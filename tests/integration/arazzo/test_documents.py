"""Documents of others run on a worker: gotos, ends, retries, called workflows, dependencies.

They are as their authors wrote them, but for what undoes each step: without it none is published.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.core.states import RunStatus
from orchestrator.ports import RunRecord
from orchestrator.service.submitting import Submission
from orchestrator.wiring import Services
from tests.integration.arazzo.shops import REFUSED_ORDER, open_shops
from tests.integration.stripe.stack import settle, stack

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

DATA = Path(__file__).parents[2] / "data"
DOCUMENTS = {
    "wso2-petstore/02-goto-and-end-actions.arazzo.yaml": "wso2-petstore/petstore-openapi.yaml",
    "wso2-petstore/03-retry-action.arazzo.yaml": "wso2-petstore/petstore-openapi.yaml",
    "wso2-petstore/05-nested-workflow.arazzo.yaml": "wso2-petstore/petstore-openapi.yaml",
    "maestro-1.1.0/checkout-branching.arazzo.yaml": "maestro-1.1.0/checkout-branching-api.yaml",
}
UNDOING = {
    "addPet": {
        "operationId": "deletePet",
        "parameters": [{"name": "petId", "in": "path", "value": "$steps.createPet.outputs.petId"}],
    }
}
WITH_EFFECT = {"deletePet", "placeOrder", "processPayment", "confirmOrder", "cancelOrder"}
INPUTS: Mapping[str, Mapping[str, Any]] = {
    "checkout-with-branching": {"orderId": "order-accepted"},
    "checkout-with-branching/refused": {"orderId": REFUSED_ORDER},
}
WORKFLOWS = (
    "goto_on_success", "end_on_success", "goto_on_failure", "retry_then_goto_fallback",
    "expect_error_retry_then_end", "verify_and_cleanup_pet", "order_with_dependency",
    "checkout-with-branching", "checkout-with-branching/refused",
)  # fmt: skip


def configured(folder: Path, url: str) -> Path:
    """A configuration folder with the documents and their two APIs."""
    (folder / "apis").mkdir(parents=True)
    (folder / "workflows").mkdir()
    for name in ("petstore", "checkout-api"):
        api = {"api": name, "base_url": url, "allow_private_addresses": True}
        (folder / "apis" / f"{name}.yaml").write_text(yaml.safe_dump(api))
    for document, api_document in DOCUMENTS.items():
        shutil.copy(DATA / api_document, folder / "workflows")
        written = yaml.safe_load((DATA / document).read_text())
        for step in (step for one in written["workflows"] for step in one["steps"]):
            with_undo(step)
        for one in written["workflows"]:  # an output of a step that gives none: rightly refused
            one.get("outputs", {}).pop("shouldNotExist", None)
        (folder / "workflows" / Path(document).name).write_text(yaml.safe_dump(written))
    return folder


def with_undo(step: dict[str, Any]) -> None:
    operation = step.get("operationId")
    if operation in UNDOING:
        step["x-compensation"] = UNDOING[operation]
    elif operation in WITH_EFFECT:
        step["x-compensation"] = {"none": "the test looks at what it did"}


async def chain(services: Services, run: RunRecord) -> list[str]:
    """The steps that a run visited and undid."""
    view = await services.runs.show(run.id)
    return [link.step_id for link in view.forward] + [f"{link.step_id}'" for link in view.backward]


async def test_documents_from_the_wild(tmp_path: Path) -> None:
    async with open_shops() as (shops, url):
        config = configured(tmp_path / "config", url)
        names = [Path(document).name for document in DOCUMENTS]
        async with stack(tmp_path / "state", config, names, {}) as services:
            runs = await settle(services, [
                Submission(workflow=name.partition("/")[0], idempotency_key=name,
                           inputs=INPUTS.get(name, {}))
                for name in WORKFLOWS
            ])  # fmt: skip
            chains = {name: await chain(services, run) for name, run in runs.items()}
    failed = {name: run.cause for name, run in runs.items() if run.status is not _SUCCEEDED}
    assert set(failed) == {"expect_error_retry_then_end", "order_with_dependency"}
    assert {runs[name].status for name in failed} == {RunStatus.COMPENSATED}
    assert {name: found for name, found in chains.items() if name in CHAINS} == CHAINS
    assert runs["goto_on_failure"].outputs == {"fallbackResult": 200}
    assert runs["verify_and_cleanup_pet"].outputs["verifiedPetName"] == "NestedTestPet"
    assert shops.paid == {"order-accepted": "OK, confirm", REFUSED_ORDER: "REFUSED, cancel"}
    assert [pet["name"] for pet in shops.pets.values()] == ["EndTestPet"]
    assert shops.seen.count("GET /pet/888888888") == 6
    assert "GET /store/inventory" not in shops.seen


_SUCCEEDED = RunStatus.SUCCEEDED
CHAINS = {
    "goto_on_success": ["createPet", "cleanupPet"],
    "end_on_success": ["createPet"],
    "goto_on_failure": ["tryGetNonExistent", "fallbackStep"],
    "retry_then_goto_fallback": ["tryGetPet", "fallbackStep"],
    "verify_and_cleanup_pet": [
        "setupPetWorkflow/$inputs", "setupPetWorkflow/createPet", "setupPetWorkflow",
        "verifyPet", "cleanupPet",
    ],
    "order_with_dependency": [
        "workflow:setup_pet/$inputs", "workflow:setup_pet/createPet", "workflow:setup_pet",
        "placeOrderStep", "workflow:setup_pet/createPet'",
    ],
    "checkout-with-branching": ["pay", "confirm-order"],
    "checkout-with-branching/refused": ["pay", "cancel-order"],
}  # fmt: skip
