"""Children, and items of maps, that are runs of a workflow of another document."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.definitions.children import children_of
from orchestrator.definitions.loading import Loaded, load_document, load_path
from orchestrator.errors import InvalidDefinition
from orchestrator.testing.lab import Lab
from tests.unit.definitions.test_children import API

KEY = "x-idempotency: {in: header, name: Idempotency-Key}"
DO = f"operationId: do, {KEY}, x-compensation: {{operationId: undo, {KEY}}}"
OTHER = f"""arazzo: 1.0.1
info: {{title: billing, version: "1"}}
sourceDescriptions:
  - {{name: shop, url: ../shop.yaml, type: openapi}}
  - {{name: back, url: ../w.arazzo.yaml, type: arazzo}}
workflows:
  - workflowId: payment
    inputs: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
    steps: [{{stepId: charge, {DO}}}]
"""
DOCUMENT = f"""arazzo: 1.0.1
info: {{title: t, version: "1"}}
sourceDescriptions:
  - {{name: shop, url: shop.yaml, type: openapi}}
  - {{name: billing, url: others/billing.arazzo.yaml, type: arazzo}}
workflows:
  - workflowId: order
    steps:
      - stepId: pay
        workflowId: $sourceDescriptions.billing.payment
        x-child: {{}}
        parameters: [{{name: n, value: 7}}]
      - stepId: each
        workflowId: $sourceDescriptions.billing.payment
        x-each: {{count: 2, as: n}}
      - {{stepId: end, {DO}}}
"""


def write(folder: Path, document: str = DOCUMENT, other: str = OTHER) -> Path:
    (folder / "others").mkdir()
    (folder / "others" / "billing.arazzo.yaml").write_text(other)
    (folder / "shop.yaml").write_text(API)
    (folder / "w.arazzo.yaml").write_text(document)
    return folder / "w.arazzo.yaml"


def test_it_is_published_with_what_begins_it(tmp_path: Path) -> None:
    path = write(tmp_path)
    loaded: dict[str, Loaded] = {each.plan.workflow: each for each in load_document(path)}
    assert list(loaded) == ["order", "payment"]
    payment = loaded["payment"]
    assert {*children_of(loaded["order"].plan)} == {("payment", payment.plan.digest)}
    assert payment.document == OTHER
    (alone,) = load_document(tmp_path / "others" / "billing.arazzo.yaml")
    assert alone.plan == payment.plan, "the same version, whichever document is published"
    assert [each.plan.workflow for each in load_document(path, workflow_id="order")] == ["order"]


def test_a_folder_with_both_has_it_once(tmp_path: Path) -> None:
    path = write(tmp_path)
    other = OTHER.replace("../shop", "shop").replace("../w.", "w.")
    path.with_name("billing.arazzo.yaml").write_text(other)
    path.write_text(DOCUMENT.replace("others/", ""))
    assert {each.plan.workflow for each in load_path(tmp_path)} == {"order", "payment"}


@pytest.mark.parametrize(
    ("document", "other", "place", "wanted"),
    [
        (
            DOCUMENT.replace("billing.payment", "billing.order"),
            OTHER.replace("workflowId: payment", "workflowId: order"),
            "billing.arazzo.yaml", "a name of its own",
        ),
        (
            DOCUMENT,
            OTHER.replace("operationId: do,", "workflowId: $sourceDescriptions.back.order, x-child:"
                          " {},").replace(f"{KEY}, x-compensation", "x-compensation"),
            "billing.arazzo.yaml", "a workflow that does not lead back to itself",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_begun_is_refused(
    tmp_path: Path, document: str, other: str, place: str, wanted: str
) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        load_document(write(tmp_path, document, other))
    said = [(each.place, each.wanted) for each in refused.value.problems]
    assert any(wanted in each and place in where for where, each in said), said


@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.COMPENSATED])
def test_its_runs_are_run_and_undone(tmp_path: Path, status: RunStatus) -> None:
    with Lab(write(tmp_path), tasks=()) as lab:
        if status is RunStatus.COMPENSATED:
            lab.answer("end", 422, {})
        run = lab.run("order")
    assert run.status is status
    charges = ["payment.charge"] * 3
    undone = [step for step in run.undone if step.startswith("payment.")]
    assert undone == (charges if status is RunStatus.COMPENSATED else [])
    assert [step for step in run.done if step.startswith("payment.")] == charges


def test_a_name_that_is_no_text_is_named_and_not_stumbled_over(tmp_path: Path) -> None:
    path = write(tmp_path, DOCUMENT.replace("workflowId: order", "workflowId: [order]"))
    with pytest.raises(InvalidDefinition) as caught:
        load_document(path)
    assert any("/workflows/0/workflowId" in each.place for each in caught.value.problems)
