"""Workflows as tools of Pydantic AI: `pip install 'saga-orchestrator[pydantic-ai]'`.

from orchestrator.client.pydantic_ai import workflow_tools

Agent(model, tools=workflow_tools(client, question=goal))
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_ai import ModelRetry, RunContext, Tool

from orchestrator.client.clients import Client
from orchestrator.client.offering import REFUSALS, Offer, Offering


def workflow_tools(
    client: Client, *, question: str = "", limit: int = 20, **options: Any
) -> list[Tool[Any]]:
    """Those that fit the question, and `run_status`. `options`: those of `Offering`.

    The key's tenant and the policies of its agent say what is offered. A refusal asks the model to
    try again. Raises an error of `orchestrator.errors`.
    """
    offering = Offering(client, **options)
    return [_tool(offering, each) for each in offering.offers(question, limit=limit)]


def _tool(offering: Offering, offer: Offer) -> Tool[Any]:
    async def called(context: RunContext[Any], /, **arguments: Any) -> str:
        try:
            return await asyncio.to_thread(
                offering.call, offer, arguments, call_id=context.tool_call_id
            )
        except REFUSALS as error:
            raise ModelRetry(str(error)) from error

    return Tool.from_schema(
        called, name=offer.name, description=offer.description, json_schema=offer.inputs,
        takes_ctx=True,
    )  # fmt: skip
