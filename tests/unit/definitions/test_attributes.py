"""By which attributes a run is looked up: what a workflow declares, and what a submission gives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.definitions.attribute_texts import LONGEST_VALUE, MOST_ATTRIBUTES, parse_pairs
from orchestrator.definitions.attributes import Attributes, attribute_problems
from orchestrator.definitions.authoring import Workflow
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.program import Program
from orchestrator.definitions.secrets import Secrets
from orchestrator.errors import InvalidDefinition, InvalidInput
from tests.unit.definitions.conftest import Load
from tests.unit.definitions.small_api import GET, MAKE, price, registry

SCHEMA = {
    "properties": {
        "customer": {"type": "integer"},
        "who": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "pin": {"format": "password"}},
        },
        "card": {"type": "string", "writeOnly": True},
        "api_key": {"type": "string"},
        "lines": {"type": "array", "items": {"type": "object"}},
        "dotted.name": {"type": "string"},
    }
}
PLAN = Plan(workflow="w", steps=(), inputs_schema=SCHEMA)
SECRETS = Secrets(PLAN)


def kept(declared: dict[str, str], inputs: dict[str, Any], **more: Any) -> dict[str, str]:
    return dict(Attributes(declared, SECRETS).of(inputs, more))


@pytest.mark.parametrize(
    ("said", "inputs", "wanted"),
    [
        ("$inputs.customer", {"customer": 42}, "42"),
        ("$inputs.customer", {"customer": True}, "true"),
        ("$inputs.customer", {"customer": 1.5}, "1.5"),
        ("$inputs.who.name", {"who": {"name": "Ada"}}, "Ada"),
        ("$inputs.dotted.name", {"dotted.name": "x"}, "x"),
        ("c-{$inputs.customer}", {"customer": 42}, "c-42"),
        ("c-{$inputs.customer}", {}, None),
        ("$inputs.customer", {}, None),
        ("$inputs.customer", {"customer": None}, None),
        ("$inputs.who.name", {"who": {"name": ""}}, None),
    ],
)
def test_what_becomes_of_what_is_declared(
    said: str, inputs: dict[str, Any], wanted: str | None
) -> None:
    assert kept({"a": said}, inputs) == ({} if wanted is None else {"a": wanted})


def test_given_ones_come_beside_the_declared_in_order_of_names() -> None:
    found = Attributes({"m": "$inputs.customer"}, SECRETS).of({"customer": 1}, {"z": "z", "a": 7})
    assert found == (("a", "7"), ("m", "1"), ("z", "z"))
    assert kept({"m": "$inputs.customer"}, {"customer": 1}, m="1") == {"m": "1"}


@pytest.mark.parametrize(
    ("inputs", "more", "place", "wanted"),
    [
        ({"customer": [1]}, {}, "'m'", "printable text"),
        ({"customer": "x" * (LONGEST_VALUE + 1)}, {}, "'m'", f"1 to {LONGEST_VALUE}"),
        ({"customer": "a\nb"}, {}, "'m'", "printable text"),
        ({"customer": 1}, {"m": "2"}, "'m'", "as the workflow declares it"),
        ({}, {"Upper": "x"}, "'Upper'", "small letters"),
        ({}, {"a": ""}, "'a'", "printable text"),
        ({}, {"a": {"b": 1}}, "'a'", "printable text"),
        ({}, {"session_token": "x"}, "'session_token'", "no secret"),
        ({"api_key": "s3cret"}, {"a": "s3cret"}, "'a'", "no secret"),
        ({"who": {"pin": 1234}}, {"a": "1234"}, "'a'", "no secret"),
        ({"card": "4111"}, {"a": "4111"}, "'a'", "no secret"),
        ({"lines": [{"password": "pw"}]}, {"a": "pw"}, "'a'", "no secret"),
        ({}, {f"a{n}": "x" for n in range(MOST_ATTRIBUTES + 1)}, "attributes", "at most 16"),
    ],
)
def test_what_cannot_be_kept(
    inputs: dict[str, Any], more: dict[str, Any], place: str, wanted: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        Attributes({"m": "$inputs.customer"}, SECRETS).of(inputs, more)
    (problem,) = refused.value.problems
    assert place in problem.place
    assert wanted in problem.wanted
    if "secret" in wanted:
        assert problem.found == "[hidden]"


@pytest.mark.parametrize(
    ("said", "path", "wanted"),
    [
        ("customer", (), "an object"),
        ({"A": "$inputs.customer"}, ("A",), "small letters"),
        ({1: "$inputs.customer"}, ("1",), "small letters"),
        ({"password": "$inputs.customer"}, ("password",), "nothing secret"),
        ({"a": 3}, ("a",), "an expression over the inputs"),
        ({"a": "always"}, ("a",), "an expression over the inputs"),
        ({"a": "$inputs."}, ("a",), ""),
        ({"a": "$steps.s.outputs.x"}, ("a",), "inputs alone"),
        ({"a": "$inputs.custmer"}, ("a",), "one of the inputs: api_key, card, customer"),
        ({"a": "$inputs.card"}, ("a",), "no secret input"),
        ({"a": "$inputs.api_key"}, ("a",), "no secret input"),
        ({"a": "x-{$inputs.who.pin}"}, ("a",), "no secret input"),
        ({"a": "$inputs.lines[0].password"}, ("a",), "no secret input"),
        ({"a": "$inputs.lines"}, ("a",), "a text or a number"),
        ({f"a{n}": "$inputs.customer" for n in range(MOST_ATTRIBUTES + 1)}, (), "at most 16"),
    ],
)
def test_what_is_wrong_with_a_declaration(said: Any, path: tuple[str, ...], wanted: str) -> None:
    ((at, found, needed),) = attribute_problems(said, PLAN)
    assert at == path
    assert found
    assert wanted in needed


def test_an_input_that_goes_into_a_secret_field_is_secret(load: Load) -> None:
    secret = MAKE.replace("{id: $inputs.id}", "{id: $inputs.id, password: $inputs.note}")
    more = ", x-compensation: {none: 'gone'}}\n    x-attributes: "
    with pytest.raises(InvalidDefinition, match="no secret input"):
        load(secret + more + "{note: $inputs.note}")
    plan = load(secret + more + "{thing: $inputs.id}").plan
    with pytest.raises(InvalidInput, match="hidden"):
        Program(plan).attributes.of({"id": "i", "note": "n0te"}, {"a": "n0te"})


def test_in_python_and_kept_with_the_plan() -> None:
    workflow = Workflow(
        "w", inputs={"sku": str, "amount": int}, attributes={"sku": "$inputs.sku"}
    ).step(price)
    plan = plan_of(workflow, tasks=registry())
    assert plan_from_json(plan_to_json(plan)) == plan
    assert Program(plan).attributes.of({"sku": "x", "amount": 1}, {}) == (("sku", "x"),)
    with pytest.raises(InvalidDefinition, match="attributes /sku"):
        plan_of(Workflow("w", attributes={"sku": "$inputs.no"}).step(price), tasks=registry())


def test_a_run_that_follows_another_has_what_is_declared_now() -> None:
    known = {"customer": "old", "ticket": "T-7"}
    declared = Attributes({"customer": "$inputs.customer"}, SECRETS)
    assert dict(declared.again({"customer": 42}, known)) == {"customer": "42", "ticket": "T-7"}


def test_as_they_are_typed() -> None:
    assert parse_pairs("--attribute", ["a=b=c", "n=42"]) == {"a": "b=c", "n": "42"}
    for pairs in (["a"], ["=b"], ["a="], ["a=1", "a=2"], ["A=1"]):
        with pytest.raises(InvalidInput):
            parse_pairs("--attribute", pairs)


texts = st.text(max_size=LONGEST_VALUE + 5)


@given(st.dictionaries(texts, st.one_of(texts, st.integers(), st.none()), max_size=20))
def test_what_is_kept_is_bounded_and_printable_whatever_is_given(more: dict[str, Any]) -> None:
    try:
        found = Attributes({}, SECRETS).of({}, more)
    except InvalidInput:
        assert more
        return
    assert len(found) <= MOST_ATTRIBUTES
    assert [name for name, _ in found] == sorted(more)
    assert all(value.isprintable() and 0 < len(value) <= LONGEST_VALUE for _, value in found)


def test_in_a_document(load: Load) -> None:
    plan = load(
        GET + "}\n    x-attributes: {thing: $inputs.id, both: '{$inputs.id}/{$inputs.note}'}"
    ).plan
    attributes = Program(plan).attributes
    assert attributes.of({"id": "i", "note": "n"}, {}) == (("both", "i/n"), ("thing", "i"))
    assert attributes.of({"id": "i"}, {}) == (("thing", "i"),)
