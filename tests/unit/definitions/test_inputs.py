"""Inputs against their schema: defaults, places, and no network."""

from typing import Any

import pytest

from orchestrator.definitions.inputs import (
    InputsSchema,
    certain_inputs,
    declared_inputs,
    schema_problems,
    with_defaults,
)
from orchestrator.errors import InvalidInput

SCHEMA = {
    "type": "object",
    "required": ["id"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z]+$"},
        "n": {"type": "integer", "minimum": 1, "default": 3},
        "deep": {"type": "object", "properties": {"list": {"type": "array", "default": []}}},
    },
}


def test_defaults_at_every_level_and_never_shared() -> None:
    schema = InputsSchema(SCHEMA)
    first = schema.check("w", {"id": "a", "deep": {}})
    assert first == {"id": "a", "n": 3, "deep": {"list": []}}
    first["deep"]["list"].append(1)
    assert schema.check("w", {"id": "a", "deep": {}})["deep"]["list"] == []
    assert schema.check("w", {"id": "a", "n": 7}) == {"id": "a", "n": 7}


@pytest.mark.parametrize(
    ("inputs", "place", "found", "wanted"),
    [
        ({}, "/", "'id' is a required property", "all of: id"),
        ({"id": 5}, "/id", "5", "type string"),
        ({"id": "A"}, "/id", "'A'", "pattern '^[a-z]+$'"),
        ({"id": "a", "n": 0}, "/n", "0", "minimum 1"),
        ({"id": "a", "x": 1}, "/", "{'id': 'a', 'x': 1, 'n': 3}", "'x' was unexpected"),
        ({"id": "a", "deep": {"list": 5}}, "/deep/list", "5", "type array"),
        ("text", "/", "'text'", "an object"),
        ({"id": "a" * 5000 + "!"}, "/id", "...", "pattern"),
    ],
)
def test_refused(inputs: Any, place: str, found: str, wanted: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        InputsSchema(SCHEMA).check("w", inputs)
    problem = caught.value.problems[0]
    assert problem.place == place
    assert found in problem.found
    assert wanted in problem.wanted
    assert len(str(caught.value)) < 500


def test_references_inside_the_schema_resolve_and_others_are_refused() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "integer"}}}
    assert list(schema_problems(schema)) == []
    assert InputsSchema(schema).check("w", {"a": 1}) == {"a": 1}
    for reference in ("#/$defs/y", "https://example.org/schema", "other.json"):
        found = list(schema_problems({"properties": {"a": {"$ref": reference}}}))
        assert found[0][0] == ("properties", "a", "$ref")


def test_declared_inputs_of_combined_schemas() -> None:
    schema = {"properties": {"a": True}, "allOf": [{"properties": {"b": {"type": "string"}}}]}
    assert declared_inputs(schema) == {"a": {}, "b": {"type": "string"}}


def test_defaults_leave_what_is_no_object_alone() -> None:
    assert with_defaults({"properties": {"a": {"default": 1}}}, [1]) == [1]
    assert with_defaults(True, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("schema", "certain"),
    [
        ({"required": ["a"], "properties": {"b": {"default": 1}, "c": {}}}, {"a", "b"}),
        ({"required": "a", "properties": "b"}, set()),  # refused elsewhere, with its place
        ({"required": [[], 7, "a"], "properties": {"b": 1}}, {"a"}),
    ],
)
def test_inputs_that_every_run_has(schema: dict[str, Any], certain: set[str]) -> None:
    assert certain_inputs(schema) == certain
