"""Steps with `x-child`: read, pinned to what is published with them, and refused by place."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import pytest

from orchestrator import Workflow, task
from orchestrator.core.plan import CHILD, OnCancel, Plan
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.definitions.authoring import begun_by
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.children import (
    DETACHED,
    children_first,
    children_of,
    output_of_child,
    undo_of_child,
)
from orchestrator.definitions.loading import load_document
from orchestrator.errors import InvalidDefinition

API = """openapi: 3.1.0
info: {title: s, version: "1"}
servers: [{url: "http://localhost"}]
paths:
  /do: {post: {operationId: do, responses: {"200": {description: ok}}}}
  /undo: {post: {operationId: undo, responses: {"200": {description: ok}}}}
"""
HEAD = """arazzo: 1.0.1
info: {title: t, version: "1"}
sourceDescriptions: [{name: shop, url: shop.yaml, type: openapi}]
workflows:
"""
PAYMENT = """
  - workflowId: payment
    inputs: {type: object, required: [item], properties: {item: {type: string}}}
    steps:
      - {stepId: charge, operationId: do, outputs: {id: $response.body#/id}, x-compensation: UNDO}
    outputs: {id: $steps.charge.outputs.id}
"""


def order(child: str, *more: str) -> str:
    lines = [
        "  - workflowId: order",
        "    inputs: {type: object, required: [item], properties: {item: {type: string}}}",
        "    steps:",
        "      - stepId: pay",
        "        workflowId: payment",
        f"        x-child: {child}",
        "        parameters: [{name: item, value: $inputs.item}]",
        *(f"        {line}" for line in more),
        "    outputs: {id: $steps.pay.outputs.id, run: $steps.pay.outputs.run}",
    ]
    return "\n".join(lines)


def load(folder: Path, *workflows: str, effects_may_stay: bool = False) -> dict[str, Plan]:
    (folder / "shop.yaml").write_text(API)
    text = HEAD + "".join(workflows).replace("UNDO", "{operationId: undo}")
    (folder / "w.arazzo.yaml").write_text(text)
    loaded = load_document(folder / "w.arazzo.yaml", effects_may_stay=effects_may_stay)
    return {each.plan.workflow: each.plan for each in loaded}


def refused(folder: Path, *workflows: str) -> list[tuple[str, str]]:
    with pytest.raises(InvalidDefinition) as caught:
        load(folder, *workflows)
    return [
        (problem.place.partition("(")[2].rstrip(")"), problem.wanted)
        for problem in caught.value.problems
    ]


def test_a_child_is_pinned_to_the_version_of_its_document(tmp_path: Path) -> None:
    plans = load(tmp_path, order("{onCancel: wait}", "outputs: {also: $outputs.id}"), PAYMENT)
    (step,) = plans["order"].steps
    assert (step.call.api, step.call.on_cancel, plans["order"].children) == (
        CHILD, OnCancel.WAIT, True,
    )  # fmt: skip
    assert list(children_of(plans["order"])) == [("payment", plans["payment"].digest)]
    assert step.call.template["outputs"] == {
        "run": "$response.body#/run", "id": "$response.body#/outputs/id",
        "also": "$response.body#/outputs/id",
    }  # fmt: skip
    assert step.compensation is not None
    assert plan_from_json(plan_to_json(plans["order"])) == plans["order"]


def test_what_is_begun_is_published_first(tmp_path: Path) -> None:
    plans = load(tmp_path, order("{}"), PAYMENT)
    assert [plan.workflow for plan in children_first(plans.values())] == ["payment", "order"]


def test_it_is_pinned_to_what_it_has_become_where_effects_may_stay(tmp_path: Path) -> None:
    bare = PAYMENT.replace(", x-compensation: UNDO", "")
    plans = load(tmp_path, order("{}"), bare, effects_may_stay=True)
    assert list(children_of(plans["order"])) == [("payment", plans["payment"].digest)]


def test_a_detached_child_needs_no_undo_and_gives_its_run_alone(tmp_path: Path) -> None:
    text = order("{wait: false}").replace("id: $steps.pay.outputs.id, ", "")
    (step,) = load(tmp_path, text, PAYMENT)["order"].steps
    assert (step.compensation, step.call.on_cancel) == (None, None)
    assert step.no_compensation_reason is not None
    assert refused(tmp_path, order("{wait: false}"), PAYMENT) == [
        ("/workflows/0/outputs/id", "an output of step pay: run")
    ]


def test_a_child_that_leads_back_to_its_parent_is_refused(tmp_path: Path) -> None:
    back = PAYMENT.replace(
        "    outputs:",
        "      - {stepId: again, workflowId: order, x-child: {}, "
        "parameters: [{name: item, value: $inputs.item}]}\n    outputs:",
    )
    found = refused(tmp_path, order("{}"), back)
    assert ("/workflows/1/steps/1/workflowId",
            "a workflow that does not lead back to itself") in found  # fmt: skip


def test_a_child_with_a_pivot_needs_a_word_on_it(tmp_path: Path) -> None:
    pivot = PAYMENT.replace("x-compensation: UNDO", "x-pivot: true")
    ((place, wanted),) = refused(tmp_path, order("{}"), pivot)
    assert (place, wanted[:13]) == ("/workflows/0/steps/0", "x-pivot: true")
    (step,) = load(tmp_path, order("{}", "x-pivot: true"), pivot)["order"].steps
    assert (step.pivot, step.compensation) == (True, None)
    own = load(tmp_path, order("{}", "x-compensation: UNDO"), pivot)["order"].steps[0]
    assert own.compensation is not None
    assert own.compensation.call.api == "shop"


@pytest.mark.parametrize(
    ("child", "place", "wanted"),
    [
        ("{onCancel: kill}", "/onCancel", "one of: cancel, wait, leave"),
        ("{wait: maybe}", "/wait", "true or false"),
        ("{wait: false, onCancel: wait}", "", "either wait: false, or an onCancel"),
        ("{depth: 3}", "/depth", "one of: onCancel, wait"),
        ("7", "", "an object"),
    ],
)
def test_what_a_child_cannot_be_told(tmp_path: Path, child: str, place: str, wanted: str) -> None:
    found = refused(tmp_path, order(child), PAYMENT)
    assert (f"/workflows/0/steps/0/x-child{place}", wanted) in found


def test_inputs_are_checked_as_those_of_an_inlined_workflow(tmp_path: Path) -> None:
    text = order("{}").replace("[{name: item, value: $inputs.item}]", "[{name: it, value: 1}]")
    found = refused(tmp_path, text, PAYMENT)
    wanted = [each for _, each in found]
    assert "an input of workflow payment: item" in wanted
    assert "the input item, which workflow payment requires" in wanted


def test_a_step_that_calls_an_operation_begins_no_run(tmp_path: Path) -> None:
    bad = PAYMENT.replace("operationId: do,", "operationId: do, x-child: {},")
    assert refused(tmp_path, bad) == [
        ("/workflows/0/steps/0/x-child",
         "a step with a workflowId: it begins a run of that workflow")
    ]  # fmt: skip


class Charged(TypedDict):
    """What a charge gives back."""

    charge: str


@task(effects="keyed")
def charge(order: str, amount: int) -> Charged: ...


@task(effects="keyed")
def refund(charge: str) -> None: ...


@task(effects="keyed")
def ship(receipt: str) -> None: ...


PAYING = Workflow(
    "paying",
    inputs={"order": str, "amount": int},
    outputs={"receipt": "$steps.charge.outputs.charge"},
).step(charge, compensate=refund)
ORDERING = Workflow("ordering", inputs={"order": str, "amount": int})


def wrong(workflow: Workflow) -> str:
    with pytest.raises(InvalidDefinition) as caught:
        plan_of(workflow)
    return str(caught.value)


def test_in_python_its_inputs_are_found_by_name_and_its_outputs_are_the_step_s() -> None:
    made = ORDERING.child("pay", PAYING, with_={"amount": 5}, on_cancel="wait").step(
        ship, pivot=True
    )
    plan = plan_of(made)
    pay, shipped = plan.steps
    assert (plan.children, pay.call.on_cancel) == (True, OnCancel.WAIT)
    assert list(children_of(plan)) == [("paying", plan_of(PAYING).digest)]
    assert pay.call.template["arguments"] == {"order": "$inputs.order", "amount": 5}
    assert pay.call.template["outputs"]["receipt"] == output_of_child("receipt")
    assert pay.compensation == undo_of_child("ordering.pay.undo")
    assert shipped.call.template["arguments"] == {"receipt": "$steps.pay.outputs.receipt"}
    assert list(begun_by(made)) == [PAYING]
    assert plan_from_json(plan_to_json(plan)) == plan


def test_in_python_one_that_is_not_waited_for_gives_its_run_alone() -> None:
    (step,) = plan_of(ORDERING.child("pay", PAYING, wait=False)).steps
    assert (step.call.on_cancel, step.compensation) == (None, None)
    assert step.no_compensation_reason == DETACHED
    assert list(step.call.template["outputs"]) == ["run"]


def test_in_python_a_run_behind_the_pivot_is_not_undone() -> None:
    first = Workflow("ordering", inputs={"order": str, "amount": int}).step(charge, pivot=True)
    plan = plan_of(first.child("pay", PAYING))
    assert plan.steps[1].compensation is None


def test_in_python_what_is_wrong_with_it_is_said() -> None:
    lacking = Workflow("ordering", inputs={"order": str}).child("pay", PAYING, with_={"no": 1})
    said = wrong(lacking)
    assert "an input of paying: order, amount" in said
    assert "step pay: found nothing that gives amount" in said
    final = PAYING.step(ship, pivot=True, with_={"receipt": "x"})
    assert "pivot=True: what a run did past its pivot" in wrong(ORDERING.child("pay", final))
    assert plan_of(ORDERING.child("pay", final, pivot=True)).steps[0].pivot
    broken = Workflow("paying").step(charge)
    assert "step pay, workflow paying, step charge" in wrong(ORDERING.child("pay", broken))
