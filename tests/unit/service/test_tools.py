"""Workflows as tools, in the shapes of each provider."""

from __future__ import annotations

import re
from typing import Any

import pytest
from mcp.types import Tool

from orchestrator.service.agents import Described
from orchestrator.service.tools import LONGEST_NAME, ToolShape, tool_name, tools_of

INPUTS = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
REFUND = Described(
    workflow="refund.order", version=3, title="Refund an order.", inputs=INPUTS,
    outputs=["refund"], steps=[],
)  # fmt: skip
SAID = "Refund an order. When a step fails, the steps before it are undone. Gives refund."
NAME = tool_name("refund.order")


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ("openai", {
            "type": "function",
            "function": {"name": NAME, "description": SAID, "parameters": INPUTS},
        }),
        ("openai-responses", {
            "type": "function", "name": NAME, "description": SAID, "parameters": INPUTS,
            "strict": False,
        }),
        ("anthropic", {"name": NAME, "description": SAID, "input_schema": INPUTS}),
        ("mcp", {
            "name": NAME, "title": "Refund an order.", "description": SAID, "inputSchema": INPUTS,
        }),
    ],
)  # fmt: skip
def test_each_shape_is_the_provider_s(shape: str, wanted: dict[str, Any]) -> None:
    (tool,) = tools_of([REFUND], ToolShape(shape))
    assert (tool.schema, tool.workflow, tool.version) == (wanted, "refund.order", 3)
    if shape == "mcp":
        assert Tool.model_validate(tool.schema).input_schema == INPUTS


@pytest.mark.parametrize("workflow", ["a.b", "a_b", "a b", "ž" * 90, "x" * 65, "pay/refund", "-"])
def test_a_name_is_one_that_providers_allow(workflow: str) -> None:
    assert re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST_NAME}}}", tool_name(workflow))


def test_names_that_look_alike_stay_apart() -> None:
    names = ["a.b", "a_b", "a b", "a/b", "x" * 64, "x" * 65, "x" * 66]
    assert len({tool_name(each) for each in names}) == len(names)
    assert tool_name("a_b") == "a_b"


def test_a_workflow_without_a_schema_takes_an_object() -> None:
    bare = Described(workflow="tidy", version=1, title="", inputs={}, outputs=[], steps=[])
    (tool,) = tools_of([bare], ToolShape.ANTHROPIC)
    assert tool.schema["input_schema"] == {"type": "object", "properties": {}}
    assert tool.schema["description"].startswith("tidy. ")
