"""What is quickly called fitting is what the validator calls fitting, for any schema and value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orchestrator.definitions.plain_schemas import plain_check

names = st.sampled_from(["a", "b", "c"])
few = st.integers(min_value=0, max_value=4)
bounds = st.integers(min_value=-3, max_value=3) | st.sampled_from([0.5, -0.0, 1e16])
KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    "title": st.text(),
    "format": st.sampled_from(["email", "date"]),
    "default": st.none(),
    "minLength": few,
    "maxLength": few,
    "pattern": st.sampled_from(["^a", "b$", "\\d", "[^\\w]"]),
    "minimum": bounds,
    "maximum": bounds,
    "exclusiveMinimum": bounds,
    "minItems": few,
    "maxItems": few,
    "uniqueItems": st.booleans(),
    "enum": st.lists(st.sampled_from(["a", "ab", 0, 1, False, None, 1.0]), min_size=1),
    "required": st.lists(names, max_size=2),
    "additionalProperties": st.booleans() | st.just({"type": "string"}),
}
KINDS = ["string", "integer", "number", "boolean", "null", "array", "object"]


def schema_of(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    nested = {"items": parts, "properties": st.dictionaries(names, parts, max_size=3)}
    kinds = {"type": st.sampled_from(KINDS) | st.just(["string", "null"])}
    return st.fixed_dictionaries({}, optional={**kinds, **nested, **KEYWORDS})


# Keywords of one kind, most of which are plain; and a mixture, most of which is not.
RELATED = {
    "string": ("minLength", "maxLength", "pattern", "title", "format"),
    "integer": ("minimum", "maximum", "default"),
    "number": ("minimum", "maximum"),
    "boolean": ("title",),
    "null": (),
    "array": ("minItems", "maxItems"),
    "object": ("required",),
}


def plain_of(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def of(kind: str) -> st.SearchStrategy[dict[str, Any]]:
        more = {name: KEYWORDS[name] for name in RELATED[kind]}
        if kind == "array":
            more["items"] = parts
        if kind == "object":
            more["properties"] = st.dictionaries(names, parts, max_size=3)
            more["additionalProperties"] = st.booleans()
        if kind == "string":
            more |= {"enum": KEYWORDS["enum"]}
        return st.fixed_dictionaries({"type": st.just(kind)}, optional=more)

    return st.sampled_from(KINDS).flatmap(of)


schemas = st.recursive(
    st.just({}) | plain_of(st.just({})), lambda parts: plain_of(parts) | schema_of(parts),
    max_leaves=4,
)  # fmt: skip
scalars = st.sampled_from(
    ["", "a", "ab", "ba", "1", "é", 0, 1, -2, 2**70, 1.0, 0.5, -0.0, 1e16, True, False, None]
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@given(schemas, st.lists(values, min_size=1, max_size=5))
def test_a_quick_yes_is_the_validators(schema: dict[str, Any], some: list[Any]) -> None:
    check = plain_check(schema)
    event(f"plain: {check is not None}")
    if check is None:
        return
    validator = Draft202012Validator(schema)
    for value in some:
        if check(value):
            event("a quick yes")
            assert validator.is_valid(value), (schema, value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
          "additionalProperties": False}, {"n": 2**70}),
        ({"type": "object", "properties": {"to": {"type": "string", "format": "email"}}},
         {"to": "ada@example.org", "more": [1]}),
        ({"type": "array", "items": {"type": "number", "minimum": 0}}, [0, 0.5]),
        ({"type": "string", "enum": ["a", "b"]}, "b"),
        ({"type": "string", "pattern": "^[a-z]+$"}, "abc"),
        ({"title": "anything"}, {"a": object()}),
    ],
)  # fmt: skip
def test_the_commonest_are_plain(schema: Any, value: Any) -> None:
    check = plain_check(schema)
    assert check is not None
    assert check(value)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"$ref": "#/$defs/a"},
        {"oneOf": [{}]},
        {"type": ["string", "null"]},
        {"type": "integer", "multipleOf": 2},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {"not": {}}}},
        {"minimum": 3},
        {"type": "string", "minimum": 3},
    ],
)
def test_all_else_is_left_to_the_validator(schema: Any) -> None:
    assert plain_check(schema) is None
