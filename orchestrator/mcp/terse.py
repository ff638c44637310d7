"""A server of few words: what it says stands in the context of a model, at every turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, InputRequiredResult, Tool
from pydantic import ValidationError

from orchestrator.errors import OrchestratorError
from orchestrator.mcp.refusals import arguments_told

_NAMED = frozenset({"properties", "$defs"})
"""Under these stand names, not words of JSON schema."""


class TerseServer(MCPServer):
    """The SDK's, but for titles in schemas, and what its refusals say besides."""

    async def list_tools(self) -> list[Tool]:
        """As the SDK's, with schemas that say each thing once."""
        return [
            tool.model_copy(
                update={
                    "input_schema": plain_schema(tool.input_schema),
                    "output_schema": tool.output_schema and plain_schema(tool.output_schema),
                }
            )
            for tool in await super().list_tools()
        ]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """As the SDK's. Raises ToolError."""
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, ValidationError):
                raise ToolError(arguments_told(name, cause)) from cause
            if isinstance(cause, ToolError) and isinstance(cause.__cause__, OrchestratorError):
                raise ToolError(str(cause)) from cause
            raise


_UNTOLD = ("title", "minLength", "maxLength")
_USUAL = (("default", ""), ("additionalProperties", True))


def plain_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without what a model need not read, since each of its contexts pays for that.

    Titles repeat names; null and the empty text stand for what may be left out; how long a text may
    be is told by the refusal of one that is longer. Members of any name are the rule.
    """
    found = {
        word: _named(value) if word in _NAMED else _plain(value)
        for word, value in schema.items()
        if word not in _UNTOLD and (word, value) not in _USUAL
    }
    options = found.get("anyOf")
    if isinstance(options, list) and len(options) == 2 and options[1] == {"type": "null"}:
        del found["anyOf"]
        found = {**options[0], **found}
        if found.get("default", 0) is None:
            del found["default"]
    return found


def _named(schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(schema) for name, schema in schemas.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain_schema(value)
    return [_plain(each) for each in value] if isinstance(value, list) else value
