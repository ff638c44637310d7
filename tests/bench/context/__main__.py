"""`orchestrator bench context`: what a long workflow costs an agent, beside plain tool calls.

A workflow of `--steps` calls, each answered with `--kilobytes`, runs on a real worker. The SDK's
own client speaks to `orchestrator mcp` over standard input and output, and everything that a
model would read or write of that is counted: the tools and instructions, the search, the
description, the call and its answer, and a look at what was too large to be shown. Beside it the
same calls made by the model itself: a tool for each operation, each answer read whole, each once
(a model reads all of it again at every turn). Exit code 1 above `--most` tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, TextContent

from orchestrator.demo.tokens import TABLE, tokens, tokens_of
from orchestrator.settings import load_settings
from tests.bench.context import office
from tests.bench.context.office import Office, open_office, write_documents
from tests.integration.stripe.stack import ROOT, stack

COMMAND = str(Path(sys.executable).with_name("orchestrator"))
WAIT_SECONDS = 60.0


class Counted:
    """A client whose every call and answer is counted."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.tokens: dict[str, int] = {}

    async def offered(self) -> None:
        """What stands in each of the model's contexts before anything is said."""
        offered = [
            {"name": t.name, "description": t.description, "input_schema": t.input_schema}
            for t in (await self._client.list_tools()).tools
        ]
        self.tokens["tools"] = tokens_of(offered)
        self.tokens["instructions"] = tokens(self._client.instructions or "")

    async def call(self, tool: str, **arguments: Any) -> Any:
        """The answer as data; it must be one."""
        answer = await self._client.call_tool(tool, arguments)
        text = text_of(answer)
        assert not answer.is_error, text
        asked = tokens_of({"name": tool, "input": arguments})
        self.tokens[tool] = self.tokens.get(tool, 0) + asked + tokens(text)
        return json.loads(text)


def text_of(answer: CallToolResult) -> str:
    """What a client puts before its model."""
    return "".join(each.text for each in answer.content if isinstance(each, TextContent))


async def by_workflow(folder: Path, options: argparse.Namespace, there: Office) -> Counted:
    """Find the workflow, look at it, have it run, and look into what it has given."""
    config, state = folder / "config", folder / "state"
    write_documents(config, there.address, options.steps)
    async with stack(state, config, [office.DOCUMENT], {}):
        settings = load_settings(state_dir=state, config_dir=config)
        env = {
            **os.environ, "PYTHONPATH": str(ROOT), "ORCHESTRATOR_STATE_DIR": str(state),
            "ORCHESTRATOR_CONFIG_DIR": str(config), "ORCHESTRATOR_BROKER_URL": settings.broker_url,
        }  # fmt: skip
        command = StdioServerParameters(command=COMMAND, args=["mcp"], env=env, cwd=folder)
        async with Client(command, read_timeout_seconds=2 * WAIT_SECONDS) as client:
            counted = Counted(client)
            await counted.offered()
            (found,) = await counted.call("search", question=office.QUESTION)
            await counted.call("describe", workflow=found["workflow"])
            run = await counted.call(
                "execute", workflow=found["workflow"], inputs=office.INPUTS,
                idempotency_key="supplier-acme", wait_seconds=WAIT_SECONDS,
            )  # fmt: skip
            assert run["status"] == "succeeded", run
            assert run["done"] == f"{options.steps} of {options.steps} steps", run
            (left,) = run["left_out"]
            part = await counted.call("get_output", run=run["run"], path=f"{left['path']}/0")
            assert part["value"]["status"] == "checked", part
            return counted


def by_tools(there: Office, steps: int) -> dict[str, int]:
    """The same calls, made by the model; the answers are those that the office gave."""
    asked = 0
    for tool in office.tools(steps):
        arguments = {**office.INPUTS, "previous": "registry-1"}
        asked += tokens_of({"name": tool["name"], "input": arguments})
    return {
        "tools": tokens_of(office.tools(steps)), "calls": asked,
        "answers": sum(tokens(body.decode()) for body in there.bodies),
    }  # fmt: skip


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both, one after the other."""
    with tempfile.TemporaryDirectory() as name, open_office(options.kilobytes * 1000) as there:
        counted = asyncio.run(by_workflow(Path(name), options, there))
        sizes = [len(body) for body in there.bodies]
        assert len(sizes) == options.steps, "each department was asked once"
        plain = by_tools(there, options.steps)
    ours, theirs = counted.tokens, sum(plain.values())
    talk = sum(cost for part, cost in ours.items() if part not in {"tools", "instructions"})
    return {
        "tokens": sum(ours.values()), "tokens_without_tools": talk, "by_part": ours,
        "plain_tokens": theirs, "plain_by_part": plain,
        "times_less": round(theirs / sum(ours.values())), "steps": options.steps,
        "answer_bytes": sum(sizes) // len(sizes), "table": TABLE,
    }  # fmt: skip


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="orchestrator bench context", description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--kilobytes", type=int, default=200, help="of each answer")
    parser.add_argument("--most", type=int, default=1500, help="tokens, everything counted")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' '):22}{value}")
    sys.exit(1 if found["tokens"] > options.most else 0)


if __name__ == "__main__":
    main()
