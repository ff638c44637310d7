"""Workflows as tools in the shapes that model providers and frameworks know, each one a tool.

A tool's arguments are the workflow's inputs. Whoever is called by a model submits them, with the
id of the model's call as idempotency key, so that a call that is answered twice runs once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.service.agents import Described

LONGEST_NAME = 64
"""Of a tool, for all providers; they allow letters, digits, `_` and `-`."""
_DIGITS = 8
_LONGEST_DESCRIPTION = 1000
_EMPTY: Mapping[str, Any] = {"type": "object", "properties": {}}


class ToolShape(StrEnum):
    """Whose function calling it is made for."""

    OPENAI = "openai"  # {"type": "function", "function": {"name", "description", "parameters"}}
    RESPONSES = "openai-responses"  # the same, flat
    ANTHROPIC = "anthropic"  # {"name", "description", "input_schema"}
    MCP = "mcp"  # {"name", "title", "description", "inputSchema"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """One workflow as a tool."""

    name: str  # as the provider allows it
    workflow: str  # what is submitted
    version: int
    schema: Mapping[str, Any]  # as given to the model
    inputs: Mapping[str, Any]  # JSON Schema of its arguments, in it too


def tools_of(found: Sequence[Described], shape: ToolShape) -> list[Tool]:
    """Each workflow as a tool of this shape, names being unique among them."""
    return [_tool(each, shape) for each in found]


def tool_name(workflow: str) -> str:
    """The workflow's name where it is one of a tool; else what is left of it and a digest."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", workflow)
    if plain == workflow and len(plain) <= LONGEST_NAME:
        return plain
    digest = hashlib.sha256(workflow.encode()).hexdigest()[:_DIGITS]
    return f"{plain[: LONGEST_NAME - _DIGITS - 1]}_{digest}"


def _tool(found: Described, shape: ToolShape) -> Tool:
    name = tool_name(found.workflow)
    # Providers want an object at the top; a workflow whose schema says nothing takes anything.
    inputs = {**_EMPTY, **found.inputs, "type": "object"}
    schema = _SHAPES[shape](name, found, inputs)
    return Tool(
        name=name, workflow=found.workflow, version=found.version, schema=schema, inputs=inputs
    )


def _description(found: Described) -> str:
    gives = f" Gives {', '.join(found.outputs)}." if found.outputs else ""
    undone = " When a step fails, the steps before it are undone."
    said = (found.title or found.workflow).rstrip(".")
    return f"{said[: _LONGEST_DESCRIPTION - len(undone + gives)]}.{undone}{gives}"


def _openai(name: str, found: Described, inputs: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": name, "description": _description(found), "parameters": inputs}
    return {"type": "function", "function": function}


def _responses(name: str, found: Described, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", **_openai(name, found, inputs)["function"], "strict": False}


def _anthropic(name: str, found: Described, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": _description(found), "input_schema": inputs}


def _mcp(name: str, found: Described, inputs: Mapping[str, Any]) -> dict[str, Any]:
    title = found.title or found.workflow
    described = {"name": name, "title": title, "description": _description(found)}
    return {**described, "inputSchema": inputs}


_SHAPES: Mapping[ToolShape, Callable[[str, Described, Mapping[str, Any]], dict[str, Any]]] = {
    ToolShape.OPENAI: _openai, ToolShape.RESPONSES: _responses,
    ToolShape.ANTHROPIC: _anthropic, ToolShape.MCP: _mcp,
}  # fmt: skip
