"""Schemas without what says nothing, and what all of it costs a model."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from orchestrator.demo.tokens import tokens_of
from orchestrator.mcp.server import make_server
from orchestrator.mcp.terse import plain_schema

TEXT = {"type": "string"}
MOST_TOKENS = 705


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"title": "Limit", "type": "integer", "default": 5}, {"type": "integer", "default": 5}),
        (
            {"properties": {"title": {"title": "Title", **TEXT}}, "required": ["title"]},
            {"properties": {"title": TEXT}, "required": ["title"]},
        ),
        ({"$defs": {"title": {"title": "T", **TEXT}}}, {"$defs": {"title": TEXT}}),
        (
            {"anyOf": [{"title": "X", **TEXT}, {"type": "null"}], "default": None, "title": "X"},
            TEXT,
        ),
        ({"anyOf": [TEXT, {"type": "integer"}]}, {"anyOf": [TEXT, {"type": "integer"}]}),
        ({"anyOf": [TEXT, {"type": "null"}], "default": "x"}, {**TEXT, "default": "x"}),
        ({"items": [{"title": "A", **TEXT}]}, {"items": [TEXT]}),
        ({**TEXT, "minLength": 1, "maxLength": 9, "default": ""}, TEXT),
        ({"properties": {"maxLength": TEXT}}, {"properties": {"maxLength": TEXT}}),
        ({"type": "object", "additionalProperties": True}, {"type": "object"}),
        ({"additionalProperties": {"title": "A", **TEXT}}, {"additionalProperties": TEXT}),
    ],
)
def test_what_says_nothing_is_left_out(schema: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert plain_schema(schema) == wanted


async def test_what_tools_cost_is_bounded() -> None:
    """Each context of a model pays for them: beside them there is room for a talk in 1,500."""
    server = make_server(Mock(), Mock(), version="1")
    offered = [
        {"name": each.name, "description": each.description, "input_schema": each.input_schema}
        for each in await server.list_tools()
    ]
    assert tokens_of(offered) <= MOST_TOKENS
