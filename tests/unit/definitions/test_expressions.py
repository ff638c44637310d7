"""Runtime expressions, alone and inside of values."""

from typing import Any

import pytest

from orchestrator.core.exchange import Facts
from orchestrator.definitions.expressions import compile_value, parse_expression
from orchestrator.definitions.problems import ExpressionError, UnresolvedExpression
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT

FACTS = Facts(
    run_id="r",
    inputs={
        "id": "x", "n": 3, "deep": {"a": [{"b/c": 1}]}, "a.b": "dotted", "none": None, "t": True,
    },
    outputs={"make": {"id": "m1", "whole": {"k": ["v"]}}},
)  # fmt: skip


def resolve(value: Any) -> Any:
    return compile_value(value).resolve(Scope(FACTS))


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        ("$inputs.id", "x"),
        ("$inputs.n", 3),
        ("$inputs.t", True),
        ("$inputs.none", None),
        ("$inputs.deep.a[0]", {"b/c": 1}),
        ("$inputs.deep#/a/0/b~1c", 1),
        ("$inputs.a.b", "dotted"),
        ("$steps.make.outputs.id", "m1"),
        ("$steps.make.outputs.whole#/k/0", "v"),
        ("$5.00", "$5.00"),
        ("plain", "plain"),
        ("{not an expression}", "{not an expression}"),
        ("{$inputs.id}", "x"),
        ("n={$inputs.n}, t={$inputs.t}; {$steps.make.outputs.id}!", "n=3, t=true; m1!"),
        ("{$inputs.deep}", '{"a": [{"b/c": 1}]}'),
        ({"a": ["$inputs.n", 1, {"b": "$inputs.id"}]}, {"a": [3, 1, {"b": "x"}]}),
        (None, None),
        ([], []),
    ],
)
def test_resolves(value: Any, resolved: Any) -> None:
    assert resolve(value) == resolved


def test_absent_inputs_leave_fields_out() -> None:
    assert resolve({"a": "$inputs.gone", "b": 1}) == {"b": 1}
    assert resolve("$inputs.gone") is ABSENT


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": {"b": "$steps.make.outputs.gone"}}, "/a/b"),
        ({"a": ["$inputs.gone"]}, "/a/0"),
        ({"a": "x{$inputs.gone}"}, "/a"),
        ({"a": "x{$inputs.none}"}, "/a"),
        ("$steps.other.outputs.id", "the value"),
    ],
)
def test_what_leads_nowhere_is_named_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(UnresolvedExpression) as caught:
        resolve(value)
    assert caught.value.problems[0].place == place


@pytest.mark.parametrize(
    "text",
    [
        "$input.x", "$inputs", "$inputs.", "$inputs.a[x]", "$steps.a",
        "$steps.a.id",
        "$steps.a.outputs.", "$response.body/id", "$response.body#id", "$response.header.",
        "$response.header.a b", "$response.status", "$outputs.x", "$inputs.a#b", "$statuscode",
        "$inputs." + "x" * 3000, "{$inputs.x", "a {$} b", "{$nothing}",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_value(text)
    assert caught.value.wanted


def test_the_parts_of_an_expression() -> None:
    found = parse_expression("$steps.make-it.outputs.thing.id[2]#/a~1b")
    assert (found.step, found.name, found.accessors) == ("make-it", "thing", ("id", 2, "a/b"))
