"""What tells one version from another, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.differing import Change, differences
from orchestrator.core.plan import Call, CompensationKind, Effects, Plan, PlanStep
from tests.unit.core.plans import call, plan, step

RESERVE, PAY, SHIP = step("reserve"), step("pay"), step("ship")
BEFORE = plan(RESERVE, PAY, SHIP)


def said(before: Plan, after: Plan) -> list[str]:
    return [
        f"{'▲ ' if each.weighs else ''}{each.where}: {each.what}"
        for each in differences(before, after)
    ]


def with_inputs(schema: dict[str, Any]) -> Plan:
    return replace(BEFORE, inputs_schema=schema)


def test_nothing_differs_in_one_plan() -> None:
    assert differences(BEFORE, BEFORE) == []


def test_steps_come_go_and_move() -> None:
    mail = step("mail", undo=None)
    assert said(BEFORE, plan(PAY, RESERVE, mail)) == [
        "▲ step ship: is gone; it called ship (effects: keyed), ship.undo undoes it",
        "▲ step pay: comes first now",
        "▲ step mail: is new, after reserve: it calls mail (effects: keyed), nothing undoes it",
    ]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (
            replace(PAY, call=replace(PAY.call, effects=Effects.UNKEYED)),
            "▲ step pay: effects: keyed → unkeyed: it is never repeated while it is in doubt",
        ),
        (
            replace(PAY, call=replace(PAY.call, verify=call("ask", Effects.NONE))),
            "▲ step pay: in doubt, the API is asked whether it is there, by ask",
        ),
        (
            replace(PAY, pivot=True),
            "▲ step pay: is the pivot now: once it is done, a run no longer turns back",
        ),
        (
            replace(PAY, compensation=None, no_compensation_reason="too late"),
            "▲ undo of pay: is gone: what the step does stays (too late); it was pay.undo",
        ),
        (step("pay", attempts=5), "step pay: attempts: 3 → 5"),
    ],
)
def test_what_a_step_promises(after: PlanStep, words: str) -> None:
    assert said(BEFORE, plan(RESERVE, after, SHIP)) == [words]


def test_the_other_way_round() -> None:
    without = replace(PAY, compensation=None, no_compensation_reason="too late")
    assert said(plan(RESERVE, without, SHIP), BEFORE) == [
        "▲ undo of pay: is new: pay.undo (reverse)"
    ]
    assert said(plan(RESERVE, replace(PAY, pivot=True), SHIP), BEFORE) == [
        "▲ step pay: is not the pivot any more"
    ]


def http(**template: Any) -> Call:
    whole = {"method": "POST", "path": "/charges", "parameters": [], **template}
    return replace(PAY.call, template=whole)


def test_another_operation_and_another_request() -> None:
    before = plan(RESERVE, replace(PAY, call=http()), SHIP)
    moved = replace(PAY, call=http(method="PUT", path="/charges/{id}"))
    assert said(before, plan(RESERVE, moved, SHIP)) == [
        "▲ step pay: it calls POST /charges → PUT /charges/{id}"
    ]
    more = http(parameters=[{"name": "currency", "in": "query", "value": "$inputs.currency"}])
    (found,) = said(before, plan(RESERVE, replace(PAY, call=more), SHIP))
    assert found.startswith("step pay: /parameters")
    one, two = (
        http(requestBody={"payload": {"amount": amount, "note": "x"}})
        for amount in ("$inputs.amount", "$inputs.total")
    )
    assert said(
        plan(RESERVE, replace(PAY, call=one), SHIP), plan(RESERVE, replace(PAY, call=two), SHIP)
    ) == ["step pay: /requestBody/payload/amount: $inputs.amount → $inputs.total"]


def test_named_things_are_compared_by_their_names() -> None:
    a, b = ({"name": name, "in": "query", "value": name} for name in "ab")
    before, after = (
        plan(RESERVE, replace(PAY, call=http(parameters=parameters)), SHIP)
        for parameters in ([a, b], [{**b, "value": 7}])
    )
    assert said(before, after) == [
        'step pay: /parameters/a is gone; it was {"name": "a", "in": "query", "value": "a"}',
        "step pay: /parameters/b/value: b → 7",
    ]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ([{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}], "in another order"),
        ([1], [True], "1 → true"),
        ([1], [1, 2], "is new: 2"),
        ({}, {"b": None}, "is new: null"),
    ],
)
def test_what_python_holds_for_equal_is_told(before: Any, after: Any, words: str) -> None:
    one, two = (plan(replace(PAY, call=http(requestBody=body))) for body in (before, after))
    (found,) = said(one, two)
    assert words in found


def test_inputs_and_outputs() -> None:
    old = {
        "type": "object", "required": ["item"],
        "properties": {"item": {"type": "string"}, "note": {"type": "string"}},
    }  # fmt: skip
    new = {
        "type": "object", "required": ["item", "amount"],
        "properties": {
            "item": {"type": "string", "maxLength": 9}, "amount": {"type": "integer"},
            "gift": {"type": "boolean"},
        },
    }  # fmt: skip
    assert said(with_inputs(old), with_inputs(new)) == [
        "▲ inputs: item/maxLength is new: 9",
        "▲ inputs: note is gone",
        "▲ inputs: amount is new and required: who does not give it is refused",
        "inputs: gift is new, and optional",
    ]
    outputs = replace(BEFORE, outputs={"id": "$steps.pay.outputs.id"})
    assert said(outputs, BEFORE) == ["▲ outputs: id is gone"]
    assert said(BEFORE, outputs) == ["outputs: id is new: $steps.pay.outputs.id"]


def test_the_workflow_as_a_whole() -> None:
    after = replace(BEFORE, deadline_seconds=90.0, lane="slow", slo={"success": {"target": 0.9}})
    assert said(BEFORE, after) == [
        "▲ the workflow: deadline: none → 90 s",
        "the workflow: /lane: default → slow",
        'the workflow: /slo/success is new: {"target": 0.9}',
    ]


def test_a_follow_up_is_no_reverse() -> None:
    assert PAY.compensation is not None
    follow_up = replace(PAY.compensation, kind=CompensationKind.FOLLOW_UP)
    after = replace(PAY, compensation=follow_up)
    assert differences(BEFORE, plan(RESERVE, after, SHIP)) == [
        Change(where="undo of pay", what="kind: reverse → follow-up", weighs=True)
    ]


def test_long_values_are_cut() -> None:
    (found,) = differences(BEFORE, replace(BEFORE, title="x" * 500))
    assert len(found.what) < 120
