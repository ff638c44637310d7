"""`x-parallel`: which steps are branches, what each can know, and what is refused, by place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import pytest

from orchestrator import Workflow, task
from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.definitions.blocks import branches_of
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.program import Program
from orchestrator.errors import InvalidDefinition

API = """openapi: 3.1.0
info: {title: s, version: "1"}
servers: [{url: "http://localhost"}]
paths:
  /do: {post: {operationId: do, parameters: [{name: id, in: query, schema: {type: string}}],
    responses: {"200": {description: ok}}}}
  /undo: {post: {operationId: undo, parameters: [{name: id, in: query, schema: {type: string}}],
    responses: {"200": {description: ok}}}}
"""
HEAD = """arazzo: 1.0.1
info: {title: t, version: "1"}
sourceDescriptions: [{name: shop, url: shop.yaml, type: openapi}]
workflows:
  - workflowId: order
    inputs: {type: object, properties: {item: {type: string}}}
"""


class Given(TypedDict):
    at: str


class Paid(TypedDict):
    paid: str


class Packed(TypedDict):
    packed: str


UNDO = "x-compensation: {operationId: undo}"


def step(name: str, *more: str, uses: str = "") -> str:
    given = f", parameters: [{{name: id, in: query, value: $steps.{uses}.outputs.id}}]" * bool(uses)
    fields = "".join(f", {each}" for each in more or (UNDO,))
    return (
        f"      - {{stepId: {name}, operationId: do, outputs: {{id: $response.body#/id}}"
        f"{given}{fields}}}\n"
    )


FAN = "[{block: fan, branches: {pay: [charge, receipt], stock: [reserve]}}]"
STEPS = (
    step("first") + step("charge", uses="first") + step("receipt", uses="charge")
    + step("reserve") + step("ship", uses="reserve")
)  # fmt: skip


def text(parallel: str = FAN, steps: str = STEPS) -> str:
    return f"{HEAD}    x-parallel: {parallel}\n    steps:\n{steps}"


def load(folder: Path, document: str) -> Plan:
    (folder / "shop.yaml").write_text(API)
    (folder / "w.arazzo.yaml").write_text(document)
    return load_document(folder / "w.arazzo.yaml")[-1].plan


def refused(folder: Path, document: str) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidDefinition) as caught:
        load(folder, document)
    return [
        (problem.place.partition("(")[2].rstrip(")"), problem.found, problem.wanted)
        for problem in caught.value.problems
    ]


def test_branches_stand_behind_the_chain(tmp_path: Path) -> None:
    plan = load(tmp_path, text())
    assert [each.id for each in plan.steps] == [
        "first", "fan", "ship", "fan/pay", "charge", "receipt", "fan/stock", "reserve",
    ]  # fmt: skip
    assert [each.id for each in plan.steps if each.last] == ["ship", "receipt"]
    assert branches_of(plan) == {3: (3, 4, 5), 6: (6, 7)}
    assert plan.steps[1].call.template["given"] == {"fan/pay": ["first"], "fan/stock": []}
    assert (plan.blocks, plan.children) == (True, True)
    assert plan_from_json(plan_to_json(plan)) == plan
    Program(plan)


def test_without_it_a_document_is_the_chain_that_it_was(tmp_path: Path) -> None:
    plan = load(tmp_path, text().replace(f"    x-parallel: {FAN}\n", ""))
    assert [each.id for each in plan.steps] == ["first", "charge", "receipt", "reserve", "ship"]
    assert "blocks" not in plan_to_json(plan)
    assert "heads" not in plan_to_json(plan)


def test_blocks_within_branches(tmp_path: Path) -> None:
    inner = "{block: in, fail: collect, branches: {x: [receipt], y: [reserve]}}"
    steps = STEPS + step("late")
    plan = load(tmp_path, text(
        f"[{{block: fan, branches: {{a: [charge, in], b: [ship]}}}}, {inner}]",
        steps.replace("$steps.reserve.outputs.id", "$steps.first.outputs.id"),
    ))  # fmt: skip
    assert [each.id for each in plan.steps] == [
        "first", "fan", "late", "fan/a", "charge", "in", "fan/b", "ship", "in/x", "receipt",
        "in/y", "reserve",
    ]  # fmt: skip
    given = {each.id: each.call.template.get("given") for each in plan.steps}
    assert given["fan"] == {"fan/a": ["first"], "fan/b": ["first"]}
    assert given["in"] == {"in/x": ["charge"], "in/y": []}


def test_an_undo_is_given_what_it_uses(tmp_path: Path) -> None:
    undo = UNDO.replace(
        "undo}", "undo, parameters: [{name: id, in: query, value: $steps.first.outputs.id}]}"
    )
    plan = load(tmp_path, text(steps=STEPS.replace(step("reserve"), step("reserve", undo))))
    assert plan.steps[1].call.template["given"]["fan/stock"] == ["first"]


def test_a_branch_knows_nothing_of_another(tmp_path: Path) -> None:
    found = refused(tmp_path, text(steps=STEPS.replace(
        step("reserve"), step("reserve", uses="charge"),
    )))  # fmt: skip
    ((place, what, wanted),) = found
    assert place == "/workflows/0/steps/3/parameters/0/value"
    assert what == "$steps.charge.outputs.id, which is not known yet"
    assert wanted == "an earlier step: first"


PIVOT = "x-pivot: true"


@pytest.mark.parametrize(
    ("parallel", "place", "wanted"),
    [
        ("7", "", "an array"),
        ("[7]", "/0", "an object"),
        ("[{branches: {a: [charge], b: [receipt]}}]", "/0", "the field block"),
        ("[{block: ship, branches: {a: [charge], b: [receipt]}}]", "/0/block",
         "an id that no step and no other block has"),
        ("[{block: fan}]", "/0", "branches: names, each with the steps of one branch"),
        ("[{block: fan, branches: {a: [charge]}}]", "/0/branches", "2 to 100 branches"),
        ("[{block: fan, branches: {a: [charge], b: []}}]", "/0/branches/b",
         "an array of at least one stepId"),
        ("[{block: fan, branches: {a b: [charge], b: [receipt]}}]", "/0/branches/a b",
         "a name of letters, digits, - and _, at most 100"),
        ("[{block: fan, fail: slow, branches: {a: [charge], b: [receipt]}}]", "/0/fail",
         "one of: fast, collect"),
        ("[{block: fan, max: 3, branches: {a: [charge], b: [receipt]}}]", "/0/max",
         "one of: block, branches, fail"),
        ("[{block: fan, branches: {a: [charge], b: [charge]}}]", "/0/branches/b/0",
         "a step or block that stands in no other branch"),
        ("[{block: fan, branches: {a: [charge], b: [nothing]}}]", "/0/branches/b/0",
         "the stepId of a step of this workflow, or the id of a block"),
        ("[{block: fan, branches: {a: [receipt, charge], b: [reserve]}}]", "/0/branches/a/1",
         "the order in which they stand in steps"),
        ("[{block: fan, branches: {a: [charge], b: [reserve]}}]", "/0",
         "steps of a block that follow each other"),
        ("[{block: fan, branches: {a: [charge], b: [fan]}}]", "/0",
         "blocks that do not stand in each other"),
    ],
)  # fmt: skip
def test_what_is_no_block(tmp_path: Path, parallel: str, place: str, wanted: str) -> None:
    found = refused(tmp_path, text(parallel))
    assert (f"/workflows/0/x-parallel{place}", wanted) in [(at, want) for at, _, want in found]


@pytest.mark.parametrize(
    ("old", "new", "place", "wanted"),
    [
        (step("reserve"), step("reserve", PIVOT), "/steps/3/x-pivot",
         "a pivot outside of all blocks: other branches may fail after it"),
        (step("reserve"), step("reserve", "x-undoes: [charge]"), "/steps/3/x-undoes",
         "a step of the same branch: what a block did is undone with it"),
        (step("reserve"), step("reserve", UNDO, "dependsOn: [charge]"), "/steps/3/dependsOn/0",
         "a step that stands before this one: first"),
        (step("reserve"),
         step("reserve", UNDO, "onSuccess: [{name: n, type: goto, stepId: charge}]"),
         "/steps/3/onSuccess/0/stepId", "a step of this workflow: reserve"),
        (step("reserve"),
         step("reserve", UNDO, "onSuccess: [{name: n, type: goto, workflowId: order, "
              "criteria: [{condition: $statusCode == 201}]}]"),
         "/steps/3/onSuccess/0", "no workflowId: an action leads to a step of its branch"),
        (step("ship", uses="reserve"), step("ship", uses="fan"), "/steps/4/parameters/0/value",
         "an output of step fan: it has none"),
    ],
)  # fmt: skip
def test_branches_do_not_reach_into_each_other(
    tmp_path: Path, old: str, new: str, place: str, wanted: str
) -> None:
    assert old in STEPS
    found = refused(tmp_path, text(steps=STEPS.replace(old, new)))
    assert (f"/workflows/0{place}", wanted) in [(at, want) for at, _, want in found]


# --- in Python ------------------------------------------------------------------------------------


@task(effects="keyed")
def begin(item: str) -> Given:
    return {"at": item}


@task(effects="keyed")
def pay(at: str) -> Paid:
    return {"paid": at}


@task(effects="keyed")
def pack(at: str) -> Packed:
    return {"packed": at}


@task(effects="keyed")
def send(paid: str, packed: str) -> None: ...


def forked(**branches: Workflow) -> Workflow:
    return (
        Workflow("order", inputs={"item": str})
        .step(begin, no_compensation="a test")
        .parallel("fan", branches, fail="collect")
        .step(send, no_compensation="a test")
    )


def branch(function: Callable[..., object], **options: object) -> Workflow:
    return Workflow("b").step(function, **{"no_compensation": "a test", **options})


def test_branches_in_python(tmp_path: Path) -> None:
    plan = plan_of(forked(money=branch(pay), goods=branch(pack)))
    assert [each.id for each in plan.steps] == [
        "begin", "fan", "send", "fan/money", "pay", "fan/goods", "pack",
    ]  # fmt: skip
    assert plan.steps[1].call.template["given"] == {"fan/money": ["begin"], "fan/goods": ["begin"]}
    assert plan.steps[1].call.template["fail"] == "collect"
    assert plan.steps[2].call.template["arguments"] == {
        "paid": "$steps.pay.outputs.paid", "packed": "$steps.pack.outputs.packed",
    }  # fmt: skip
    inner = Workflow("b").parallel("in", {"x": branch(pay), "y": branch(pack)})
    nested = plan_of(forked(one=inner, two=branch(pay, id="pay2")))
    assert [each.id for each in nested.steps][3:] == [
        "fan/one", "in", "in/x", "pay", "in/y", "pack", "fan/two", "pay2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("branches", "found", "wanted"),
    [
        ({"a": branch(pay)}, "1 branches in the block fan", "2 to 100 branches"),
        ({"a": branch(pay), "b": Workflow("b")}, "the branch b without a step", "at least one"),
        ({"a": branch(pay), "b c": branch(pack)}, "the branch 'b c'", "a name of letters"),
        ({"a": branch(pay), "b": branch(pack, pivot=True)}, "the pivot in the branch fan/b",
         "a pivot outside of all blocks"),
        ({"a": branch(pay), "b": branch(pay)}, "the step pay again", "each step id once"),
    ],
)  # fmt: skip
def test_what_python_cannot_fork(branches: dict[str, Workflow], found: str, wanted: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        plan_of(replace(forked(**branches), steps=forked(**branches).steps[:2]))
    assert [each.found for each in caught.value.problems] == [found]
    assert caught.value.problems[0].wanted.startswith(wanted)


def test_a_workflow_with_blocks_is_called_as_a_child(tmp_path: Path) -> None:
    outer = "  - {workflowId: outer, steps: [{stepId: call, workflowId: order}]}\n"
    ((place, found, wanted),) = refused(tmp_path, text() + outer)
    assert (place, found) == ("/workflows/0/x-parallel", "blocks in order")
    assert wanted.startswith("none in a workflow that is called without x-child")
    load(tmp_path, text() + outer.replace("workflowId: order", "workflowId: order, x-child: {}"))
