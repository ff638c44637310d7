"""`orchestrator demo --agent`: an agent's side of it, over the real MCP server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.output import print_json, stderr, stdout
from orchestrator.cli.up import up_options
from orchestrator.demo.wish import Wish
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from orchestrator.demo.agent import Turn
    from orchestrator.demo.stage import Stage

_RECORDS = {1: 6, 2: 1, 3: 6}
"""Of each order: a checkout that is done has written six. A mail that was sent cannot be unsent: of
an order that was undone it is left, and says so."""


def demo_agent(*, as_json: bool) -> None:
    """Play it. Exits with 1 when the shop does not have what it should. Raises InvalidSetting."""
    _require("mcp", "tiktoken")
    from orchestrator.demo.stage import set_up
    from orchestrator.demo.transcript import draw_end, draw_turn

    base = load_settings()
    wish = Wish(runs=3, concurrency=10, seed=1, workers=1)
    stderr.print("starting server, broker and a worker …", style="dim")
    out = stderr if as_json else stdout
    options = replace(up_options(base, workers=1), flower=False)
    with set_up(wish, options, base) as stage:
        turns, standing = asyncio.run(_play(stage, lambda turn: out.print(draw_turn(turn))))
    out.print(draw_end(turns, standing))
    if as_json:
        print_json({"turns": turns, "records": standing})
    raise typer.Exit(0 if standing == _RECORDS else 1)


def _require(*packages: str) -> None:
    for name in packages:
        if find_spec(name) is None:
            problem = Problem(
                place="packages", found=f"no {name}",
                wanted="the extras: pip install 'saga-orchestrator[demo,embedded,mcp]'",
            )  # fmt: skip
            raise InvalidSetting("an agent needs more packages", problems=[problem])


async def _play(stage: Stage, tell: Callable[[Turn], None]) -> tuple[list[Turn], dict[int, int]]:
    from orchestrator.demo.agent import play
    from orchestrator.wiring_services import open_services

    name = f"agent-{secrets.token_hex(3)}"
    async with open_services(stage.settings) as services:
        return await play(stage, services.workflows, services.waiting, name, tell)
