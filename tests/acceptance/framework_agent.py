"""An agent without a model, made with a framework: it calls its tools as it is told.

    python framework_agent.py FRAMEWORK URL KEY < calls.json > answers.json

Calls are `[id, tool, arguments]`; RUN in an argument stands for the run of the answer before. It is
run by an interpreter that has the framework, which the one of the tests has not.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from orchestrator.client import Client

Call = tuple[str, str, dict[str, Any]]


class Script:
    """Gives one call after the other, and takes what each was answered."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls: Iterator[Call] = iter(calls)
        self.answers: list[str] = []

    def next(self) -> Call | None:
        call = next(self._calls, None)
        if call is None or not self.answers:
            return call
        run = json.loads(self.answers[-1])["run"] if "RUN" in call[2].values() else ""
        return call[0], call[1], {k: run if v == "RUN" else v for k, v in call[2].items()}


def with_langchain(tools: list[Any], script: Script) -> None:
    """Tools are called with what a chat model's message carries; langchain-core has no loop."""
    by_name = {tool.name: tool for tool in tools}
    while (call := script.next()) is not None:
        number, name, arguments = call
        wanted = {"type": "tool_call", "id": number, "name": name, "args": arguments}
        # Now in a loop, now in none: both ways are in use.
        waits = len(script.answers) % 2 == 0
        tool = by_name[name]
        message = tool.invoke(wanted) if waits else asyncio.run(tool.ainvoke(wanted))
        assert message.tool_call_id == number
        script.answers.append(str(message.content))


def with_openai_agents(tools: list[Any], script: Script) -> None:
    """The SDK's own loop, over a model that is the script."""
    from agents import Agent, Model, ModelResponse, Runner, Usage, set_tracing_disabled
    from openai.types.responses import (
        ResponseFunctionToolCall,
        ResponseOutputMessage,
        ResponseOutputText,
    )

    set_tracing_disabled(True)

    class Scripted(Model):
        async def get_response(self, *_: Any, **told: Any) -> Any:
            said = told["input"]
            if isinstance(said, list) and said[-1].get("type") == "function_call_output":
                script.answers.append(said[-1]["output"])
            call = script.next()
            if call is None:
                text = ResponseOutputText(text="done", type="output_text", annotations=[])
                out: Any = ResponseOutputMessage(
                    id="m", content=[text], role="assistant", status="completed", type="message"
                )
            else:
                out = ResponseFunctionToolCall(
                    call_id=call[0], name=call[1], arguments=json.dumps(call[2]),
                    type="function_call",
                )  # fmt: skip
            return ModelResponse(output=[out], usage=Usage(), response_id=None)

        def stream_response(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError("nobody streams here")

    agent = Agent(name="scripted", model=Scripted(), tools=tools)
    assert Runner.run_sync(agent, "go", max_turns=20).final_output == "done"


def with_pydantic_ai(tools: list[Any], script: Script) -> None:
    """The framework's own loop, over a model that is the script."""
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    def say(messages: list[Any], _: Any) -> Any:
        part = messages[-1].parts[-1]
        if part.part_kind in ("tool-return", "retry-prompt"):
            script.answers.append(str(part.content))
        call = script.next()
        if call is None:
            return ModelResponse(parts=[TextPart("done")])
        return ModelResponse(parts=[ToolCallPart(call[1], call[2], tool_call_id=call[0])])

    agent = Agent(FunctionModel(say), tools=tools, retries=3)
    assert agent.run_sync("go").output == "done"


PLAYERS = {
    "langchain": with_langchain, "openai_agents": with_openai_agents,
    "pydantic_ai": with_pydantic_ai,
}  # fmt: skip


def main() -> None:
    framework, url, key = sys.argv[1:]
    module = importlib.import_module(f"orchestrator.client.{framework}")
    script = Script(json.load(sys.stdin))
    with Client(url, key=key) as client:
        tools = module.workflow_tools(client, scope=framework, wait_seconds=40)
        PLAYERS[framework](tools, script)
    json.dump(script.answers, sys.stdout)


if __name__ == "__main__":
    main()
