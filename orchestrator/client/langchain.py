"""Workflows as LangChain tools: `pip install 'saga-orchestrator[langchain]'`.

from orchestrator.client.langchain import workflow_tools

model.bind_tools(workflow_tools(client, question=goal))
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

from langchain_core.tools import BaseTool, ToolException
from pydantic import PrivateAttr

from orchestrator.client.clients import Client
from orchestrator.client.offering import REFUSALS, Offer, Offering

_CALL: ContextVar[str | None] = ContextVar("id of the model's call", default=None)
"""Set around a run of a tool: `_run` is not told, but through an argument in the model's schema."""


class WorkflowTool(BaseTool):
    """One workflow. A refusal is an answer with the status `error`."""

    handle_tool_error: bool = True
    _offering: Offering = PrivateAttr()
    _offer: Offer = PrivateAttr()

    @classmethod
    def of(cls, offering: Offering, offer: Offer) -> WorkflowTool:
        """Calls what is offered."""
        made = cls(name=offer.name, description=offer.description, args_schema=offer.inputs)
        made._offering, made._offer = offering, offer
        return made

    def run(self, *args: Any, tool_call_id: str | None = None, **more: Any) -> Any:
        """As LangChain's."""
        token = _CALL.set(tool_call_id)
        try:
            return super().run(*args, tool_call_id=tool_call_id, **more)
        finally:
            _CALL.reset(token)

    async def arun(self, *args: Any, tool_call_id: str | None = None, **more: Any) -> Any:
        """As LangChain's."""
        token = _CALL.set(tool_call_id)
        try:
            return await super().arun(*args, tool_call_id=tool_call_id, **more)
        finally:
            _CALL.reset(token)

    def _run(self, /, **arguments: Any) -> str:
        try:
            return self._offering.call(self._offer, arguments, call_id=_CALL.get())
        except REFUSALS as error:
            raise ToolException(str(error)) from error

    async def _arun(self, /, **arguments: Any) -> str:
        return await asyncio.to_thread(self._run, **arguments)


def workflow_tools(
    client: Client, *, question: str = "", limit: int = 20, **options: Any
) -> list[BaseTool]:
    """Those that fit the question, and `run_status`. `options`: those of `Offering`.

    The key's tenant and the policies of its agent say what is offered. Raises an error of
    `orchestrator.errors`.
    """
    offering = Offering(client, **options)
    return [WorkflowTool.of(offering, each) for each in offering.offers(question, limit=limit)]
