"""Dry runs over REST, by the client and the command: the same as an agent is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import typer
from mcp import Client as McpClient

from orchestrator.cli.submit import submit
from orchestrator.client import AsyncClient, ask
from orchestrator.definitions.agent_policies import policy_of
from orchestrator.errors import InvalidInput, NotAllowed, NotFound
from orchestrator.mcp.callers import the_same
from orchestrator.mcp.server import make_server
from orchestrator.ports import Agent, Role, RunFilter
from orchestrator.ports.dry_runs import Mode
from orchestrator.service.agents import Actor
from tests.integration.api.conftest import INPUTS, WORKFLOW, Face
from tests.integration.api.test_commands_elsewhere import address, commands

__all__ = ["address"]
BOT = Agent("acme", "bot")


@pytest.fixture
async def bot(face: Face) -> AsyncIterator[AsyncClient]:
    """A program with a key of its own."""
    key = await face.key(Role.SUBMITTER, tenant="acme", name="bot")
    async with client_of(face, key) as opened:
        yield opened


def client_of(face: Face, key: str) -> AsyncClient:
    return AsyncClient("http://localhost", key=key, transport=httpx.ASGITransport(face.app))


async def told_to_an_agent(face: Face) -> dict[str, Any]:
    server = make_server(
        face.services.agents, the_same(Actor(name="bot", tenant="acme")), version="1"
    )
    wish = {"workflow": WORKFLOW, "inputs": INPUTS, "idempotency_key": "k", "mode": "dry_run"}
    async with McpClient(server) as client:
        answer = await client.call_tool("execute", wish)
    assert answer.structured_content is not None, answer.content
    return answer.structured_content["plan"]


async def test_it_is_what_an_agent_is_told_and_nothing_is_kept(
    face: Face, bot: AsyncClient
) -> None:
    found = await bot(ask.plan_run(WORKFLOW, INPUTS))
    assert (found.workflow, found.version, found.status) == (WORKFLOW, 1, "planned")
    assert found.as_plan() == await told_to_an_agent(face)
    assert any(each.undo for each in found.steps)
    assert await face.services.runs.list(RunFilter()) == []


async def test_what_is_not_said_is_left_out_of_the_answer(face: Face) -> None:
    async with await face.asker(Role.SUBMITTER) as http:
        answer = await http.post("/v1/runs:plan", json={"workflow": WORKFLOW, "inputs": INPUTS})
    assert answer.status_code == 200
    assert "null" not in answer.text
    assert set(answer.json()) == {"workflow", "version", "status", "meaning", "steps"}


async def test_a_policy_is_shown_or_in_the_way(face: Face, bot: AsyncClient) -> None:
    policies = face.services.policies
    await policies.set(BOT, policy_of({"budgets": ["0 runs/day"]}, "test"), by="ada", reason="x")
    found = await bot(ask.plan_run(WORKFLOW, INPUTS))
    assert "it would be refused now" in found.meaning
    assert found.refused[0].startswith("policy of agent bot of tenant acme, budgets: found")
    denied = policy_of({"deny": ["pay*"]}, "test")
    await policies.set(BOT, denied, by="ada", reason="x")
    with pytest.raises(NotAllowed, match="not for you"):
        await bot(ask.plan_run(WORKFLOW, INPUTS))
    await policies.stop(BOT, by="ada", reason="it is mad")
    with pytest.raises(NotAllowed, match="it is mad"):
        await bot(ask.plan_run(WORKFLOW, INPUTS))


async def test_who_names_another_as_the_actor_is_under_their_own_policy_still(
    face: Face, bot: AsyncClient
) -> None:
    denied = policy_of({"deny": ["pay*"]}, "test")
    await face.services.policies.set(BOT, denied, by="ada", reason="x")
    with pytest.raises(NotAllowed, match="not for you"):
        await bot(ask.plan_run(WORKFLOW, INPUTS, actor="somebody"))
    with pytest.raises(NotAllowed, match="policy of agent bot"):
        await bot(ask.submit(WORKFLOW, INPUTS, actor="somebody"))
    assert await face.services.runs.list(RunFilter()) == []


async def test_the_policy_of_a_tenant_is_not_for_people(face: Face, bot: AsyncClient) -> None:
    everybody = Agent("acme", "*")
    none = policy_of({"budgets": ["0 runs/day"]}, "test")
    await face.services.policies.set(everybody, none, by="ada", reason="x")
    assert (await bot(ask.plan_run(WORKFLOW, INPUTS))).refused == []


async def test_what_is_wrong_is_refused(face: Face, bot: AsyncClient) -> None:
    with pytest.raises(InvalidInput, match="required property"):
        await bot(ask.plan_run(WORKFLOW, {}))
    with pytest.raises(NotFound):
        await bot(ask.plan_run(WORKFLOW, INPUTS, version=7))
    with pytest.raises(NotAllowed, match="dry runs read nothing here"):
        await bot(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.READS))
    async with client_of(face, await face.key(Role.VIEWER)) as viewer:
        with pytest.raises(NotAllowed):
            await viewer(ask.plan_run(WORKFLOW, INPUTS))
    with pytest.raises(NotAllowed):
        await bot(ask.plan_run(WORKFLOW, INPUTS, tenant="zeta"))


async def test_the_command_tells_it_from_elsewhere(face: Face, address: str) -> None:
    app = typer.Typer()
    app.command()(submit)
    run = commands(address, await face.key(Role.SUBMITTER, tenant="acme", name="bot"))
    wish = [WORKFLOW, "--inputs", json.dumps(INPUTS), "--dry-run"]
    told = await run(app, *wish)
    assert told["status"] == "planned"
    assert told["steps"] == (await told_to_an_agent(face))["steps"]
    drawn = await run(app, *wish, drawn=True)
    assert f"{WORKFLOW} v1: Nothing was done. Submit it to have it done." in drawn
    assert "  undo DELETE " in drawn or "  undo POST " in drawn
    for wrong in (["--reads"], ["--dry-run", "--wait"]):
        with pytest.raises(InvalidInput, match="nothing was planned"):
            await run(app, WORKFLOW, *wrong)
