"""Steps with `x-each`: read, pinned to what is published with them, and refused by place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator import Workflow, task
from orchestrator.core.exchange import Facts, FrozenRequest
from orchestrator.core.plan import CHILD, OnCancel, Plan
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.core.states import Direction
from orchestrator.definitions.authoring import begun_by
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.children import children_of
from orchestrator.definitions.maps import asked_of, without_items
from orchestrator.definitions.program import Program
from orchestrator.errors import InvalidDefinition, RefusedError
from tests.unit.definitions.test_children import PAYMENT, load, refused

PIVOT = PAYMENT.replace("x-compensation: UNDO", "x-pivot: true")


def order(each: str, *more: str) -> str:
    lines = [
        "  - workflowId: order",
        "    inputs: {type: object, properties: {rows: {type: array}, n: {type: integer}}}",
        "    steps:",
        "      - stepId: pay",
        "        workflowId: payment",
        f"        x-each: {each}",
        *(f"        {line}" for line in more),
        "    outputs: {done: $steps.pay.outputs.succeeded}",
    ]
    return "\n".join(lines)


def prepared(plan: Plan, **inputs: Any) -> FrozenRequest:
    facts = Facts(run_id="r", inputs=inputs, outputs={})
    found = Program(plan).prepare(0, Direction.FORWARD, facts)
    assert isinstance(found, FrozenRequest)
    return found


def test_a_map_is_pinned_to_the_version_of_its_document(tmp_path: Path) -> None:
    said = "{items: $inputs.rows, as: item, parallel: 5, maxFailures: 1%, undo: {parallel: 3}}"
    plans = load(tmp_path, order(said, "outputs: {all: $response.body#/total}"), PAYMENT)
    (step,) = plans["order"].steps
    assert (step.call.api, step.call.on_cancel, plans["order"].maps) == (
        CHILD, OnCancel.CANCEL, True,
    )  # fmt: skip
    assert list(children_of(plans["order"])) == [("payment", plans["payment"].digest)]
    template = step.call.template
    assert (template["parallel"], template["most_failures"]) == (5, "1%")
    assert sorted(template["outputs"]) == ["all", "failed", "outcome", "succeeded", "total"]
    assert step.compensation is not None
    assert step.compensation.call.template == {"kind": "undo-map", "parallel": 3}
    assert plan_from_json(plan_to_json(plans["order"])) == plans["order"]


def test_items_are_asked_for_and_kept_with_the_map_alone(tmp_path: Path) -> None:
    plan = load(tmp_path, order("{items: $inputs.rows, as: item}"), PAYMENT)["order"]
    request = prepared(plan, rows=["a", "b"])
    assert asked_of(request) == ({}, ["a", "b"], 2)
    slim = without_items(request)
    assert b'"a"' not in slim.body
    assert asked_of(slim) == ({}, None, 2)
    counted = load(tmp_path, order("{count: 3, as: item}"), PAYMENT)["order"]
    assert asked_of(without_items(prepared(counted))) == ({}, None, 3)


@pytest.mark.parametrize(
    ("each", "inputs", "found"),
    [("{items: $inputs.rows, as: item}", {"rows": {"a": 1}}, "an object"),
     ("{items: $inputs.rows, as: item}", {"rows": "abc"}, "a str"),
     ("{count: $inputs.n, as: item}", {"n": -1}, "-1"),
     ("{count: $inputs.n, as: item}", {"n": 1.5}, "1.5")],
)  # fmt: skip
def test_what_is_no_array_is_refused_with_what_it_is(
    tmp_path: Path, each: str, inputs: dict[str, Any], found: str
) -> None:
    plan = load(tmp_path, order(each), PAYMENT)["order"]
    with pytest.raises(RefusedError) as caught:
        prepared(plan, **inputs)
    assert found in str(caught.value)


EACH = "/workflows/0/steps/0/x-each"


@pytest.mark.parametrize(
    ("each", "place", "wanted"),
    [
        ("{as: item}", EACH, "either items"),
        ("{items: $inputs.rows, count: 3, as: item}", EACH, "either items"),
        ("{items: [1], as: item}", f"{EACH}/items", "an expression"),
        ("{count: -1, as: item}", f"{EACH}/count", "a whole number from 0"),
        ("{count: 3}", EACH, "as"),
        ("{count: 3, as: what}", f"{EACH}/as", "an input of workflow payment: item"),
        ("{count: 3, as: item, index: item}", f"{EACH}/index", "another input"),
        ("{count: 3, as: item, parallel: 0}", f"{EACH}/parallel", "1"),
        ("{count: 3, as: item, parallel: 5000}", f"{EACH}/parallel", "at most 1000"),
        ("{count: 3, as: item, maxFailures: 101%}", f"{EACH}/maxFailures", "a share"),
        ("{count: 3, as: item, maxFailures: -1}", f"{EACH}/maxFailures", "a share"),
        ("{count: 3, as: item, undo: {parallel: 0}}", f"{EACH}/undo/parallel", "1"),
        ("{count: 3, as: item, onCancel: leave}", f"{EACH}/onCancel", "cancel"),
        ("{count: 3, as: item, what: 1}", f"{EACH}/what", ""),
        ("{items: $inputs.cows, as: item}", f"{EACH}/items", "rows"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, each: str, place: str, wanted: str
) -> None:
    found = refused(tmp_path, order(each), PAYMENT)
    assert any(at == place and wanted in what for at, what in found), found


@pytest.mark.parametrize(
    ("more", "wanted"),
    [("x-pivot: true", "no x-pivot"), ("onFailure: [{name: a, type: end}]", "no onFailure"),
     ("successCriteria: [{condition: $statusCode == 200}]", "no successCriteria"),
     ("x-child: {}", "either x-child"),
     ("parameters: [{name: item, value: b}]", "none of what x-each gives")],
)  # fmt: skip
def test_what_does_not_go_with_it_is_refused(tmp_path: Path, more: str, wanted: str) -> None:
    found = refused(tmp_path, order("{count: 3, as: item}", more), PAYMENT)
    assert any(wanted in what for _, what in found), found


def test_what_cannot_be_undone_needs_an_undo_of_its_own(tmp_path: Path) -> None:
    each = "{count: 3, as: item}"
    found = refused(tmp_path, order(each), PIVOT)
    assert any("an x-compensation" in what for _, what in found), found
    plans = load(tmp_path, order(each, "x-compensation: UNDO"), PIVOT)
    (step,) = plans["order"].steps
    assert step.compensation is not None
    assert step.compensation.call.label == "order.pay.undo"


def test_a_workflow_that_leads_back_to_itself_is_refused(tmp_path: Path) -> None:
    itself = order("{count: 3, as: n}").replace("workflowId: payment", "workflowId: order")
    found = refused(tmp_path, itself)
    assert any("does not lead back to itself" in what for _, what in found), found


@task(effects="keyed")
def book(row: str, currency: str) -> None: ...


@task(effects="keyed")
def cancel(row: str) -> None: ...


ITEM = Workflow("item", inputs={"row": str, "currency": str}).step(book, compensate=cancel)


def test_in_python_inputs_that_are_the_same_for_all_are_found_by_name() -> None:
    inputs = {"rows": list[str], "currency": str}
    made = Workflow("order", inputs=inputs).each(
        "all", ITEM, items="$inputs.rows", item="row", parallel=3, max_failures="2%"
    )
    plan = plan_of(made)
    (step,) = plan.steps
    assert plan.maps
    assert list(children_of(plan)) == [("item", plan_of(ITEM).digest)]
    assert step.call.template["arguments"] == {"currency": "$inputs.currency"}
    assert (step.call.template["most_failures"], step.call.template["as"]) == ("2%", "row")
    assert list(begun_by(made)) == [ITEM]


def test_in_python_what_is_wrong_is_said_all_at_once() -> None:
    made = Workflow("order", inputs={"rows": list[str]}).each(
        "all", ITEM, items="rows", item="what", parallel=0, max_failures="x", on_cancel="leave"
    )
    with pytest.raises(InvalidDefinition) as caught:
        plan_of(made)
    said = str(caught.value)
    for wanted in ("an expression", "1 to 1000", "a share", "cancel or wait",
                   "an input of item: row, currency", "nothing that gives currency"):  # fmt: skip
        assert wanted in said
