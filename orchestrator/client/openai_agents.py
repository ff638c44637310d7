"""Workflows as tools of the OpenAI Agents SDK: `pip install 'saga-orchestrator[openai-agents]'`.

from orchestrator.client.openai_agents import workflow_tools

Agent(name="support", tools=workflow_tools(client, question=goal))
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from agents import FunctionTool
from agents.tool_context import ToolContext

from orchestrator.client.clients import Client
from orchestrator.client.offering import REFUSALS, Offer, Offering


def workflow_tools(
    client: Client, *, question: str = "", limit: int = 20, **options: Any
) -> list[FunctionTool]:
    """Those that fit the question, and `run_status`. `options`: those of `Offering`.

    The key's tenant and the policies of its agent say what is offered. A refusal is the text that
    the model is given. Raises an error of `orchestrator.errors`.
    """
    offering = Offering(client, **options)
    return [_tool(offering, each) for each in offering.offers(question, limit=limit)]


def _tool(offering: Offering, offer: Offer) -> FunctionTool:
    async def invoked(context: ToolContext[Any], written: str) -> str:
        try:
            arguments = json.loads(written or "{}")
        except ValueError:
            return f"arguments: found {written[:100]!r}; wanted JSON"
        try:
            return await asyncio.to_thread(
                offering.call, offer, arguments, call_id=context.tool_call_id
            )
        except REFUSALS as error:
            return f"Refused: {error}"

    # Strict schemas want all names to be required and none besides: inputs of workflows are freer.
    return FunctionTool(
        name=offer.name, description=offer.description, params_json_schema=offer.inputs,
        on_invoke_tool=invoked, strict_json_schema=False,
    )  # fmt: skip
