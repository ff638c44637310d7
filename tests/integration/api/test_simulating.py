"""Runs that are played to their end without being sent or kept: over REST, MCP and the command."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import typer
from mcp import Client as McpClient

from orchestrator.cli.submit import submit
from orchestrator.client import AsyncClient, ask
from orchestrator.core.saga import Link
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.definitions.agent_policies import policy_of
from orchestrator.embedded import simulator
from orchestrator.errors import Conflict, InvalidInput, NotAllowed, NotFound, Overloaded
from orchestrator.mcp.callers import the_same
from orchestrator.mcp.server import make_server
from orchestrator.ports import Agent, LinkWrite, Role, RunFilter
from orchestrator.ports.dry_runs import Mode
from orchestrator.ports.simulating import Ending, Simulated
from orchestrator.service.agents import Actor
from orchestrator.simulation.playing import play
from tests.integration.api.conftest import Face
from tests.integration.api.test_commands_elsewhere import address, commands
from tests.store.making import AT

__all__ = ["address"]
WORKFLOW, INPUTS = "buy", {"item": "tea", "password": "hunter2-and-more"}
DOCUMENT = """
arazzo: 1.0.1
info: {title: Buy, version: "1"}
sourceDescriptions:
  - {name: shop, url: shop.json, type: openapi}
  - {name: people, url: "waits:", type: openapi}
workflows:
  - workflowId: buy
    inputs:
      type: object
      properties: {item: {type: string}, password: {type: string, format: password}}
    steps:
      - stepId: reserve
        operationId: post
        x-idempotency: {in: header, name: Idempotency-Key}
        requestBody: {contentType: application/json, payload: {item: $inputs.item}}
        outputs: {id: $response.body#/id}
        x-compensation:
          operationId: undo
          parameters: [{name: id, in: path, value: $steps.reserve.outputs.id}]
      - stepId: ask
        operationId: $sourceDescriptions.people.approval
        requestBody: {payload: {message: "May it?"}}
        successCriteria: [{condition: $statusCode == 200}]
      - stepId: mail
        operationId: post
        x-idempotency: {in: header, name: Idempotency-Key}
        requestBody:
          contentType: application/json
          payload: {of: $steps.reserve.outputs.id, password: $inputs.password}
        x-compensation: {none: a mail cannot be taken back}
      - stepId: charge
        operationId: post
        x-idempotency: {in: header, name: Idempotency-Key}
        requestBody: {contentType: application/json, payload: {of: $steps.reserve.outputs.id}}
        x-compensation: {none: nothing follows}
    outputs: {id: $steps.reserve.outputs.id}
"""
POST = {"operationId": "post", "responses": {"201": {"description": "x"}}}
UNDO = {
    "operationId": "undo", "responses": {"204": {"description": "x"}}, "parameters": [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    ],
}  # fmt: skip
SHOP = {
    "openapi": "3.1.0", "info": {"title": "shop", "version": "1"},
    "servers": [{"url": "https://shop.example"}],
    "paths": {"/things": {"post": POST}, "/things/{id}": {"delete": UNDO}},
}  # fmt: skip
STEPS = ["reserve", "mail", "charge"]
_REAL: Callable[..., Any] = asyncio.create_subprocess_exec
PLAYED = Ending(
    status="succeeded", cause="", seconds=0.0, outputs={}, done=[], undone=[], stays=[], gave={},
    calls=[],
)  # fmt: skip


class Here:
    """Plays in this process what another one would, as it goes over the line."""

    async def play(self, wanted: Simulated) -> Ending:
        line = msgspec.json.decode(msgspec.json.encode(wanted), type=Simulated)
        found = await asyncio.to_thread(play, line)
        return simulator.ending_of(msgspec.json.encode(found))


@pytest.fixture
async def shop(face: Face, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Face:
    (tmp_path / "buy.arazzo.yaml").write_text(DOCUMENT)
    (tmp_path / "shop.json").write_text(json.dumps(SHOP))
    (made,) = await face.services.workflows.publish(tmp_path / "buy.arazzo.yaml", by="root")
    monkeypatch.setattr(simulator.ProcessSimulator, "play", Here.play)
    return dataclasses.replace(face, version=made.version)


@pytest.fixture
async def bot(face: Face) -> AsyncIterator[AsyncClient]:
    """A program with a key of its own."""
    key = await face.key(Role.SUBMITTER, tenant="acme", name="bot")
    async with AsyncClient(
        "http://localhost", key=key, transport=httpx.ASGITransport(face.app)
    ) as opened:
        yield opened


async def told_to_an_agent(face: Face, tenant: str = "acme", **how: Any) -> Any:
    actor = Actor(name="bot", tenant=tenant)
    server = make_server(face.services.agents, the_same(actor), version="1")
    wish = {"workflow": WORKFLOW, "inputs": INPUTS, "idempotency_key": "k", "mode": "simulate"}
    async with McpClient(server) as client:
        return await client.call_tool("execute", wish | how)


async def test_it_is_played_to_its_end_and_nothing_is_kept(shop: Face, bot: AsyncClient) -> None:
    found = await bot(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.SIMULATE))
    assert (found.status, found.ends, found.undone) == ("simulated", "succeeded", [])
    assert [each.step for each in found.steps] == STEPS
    assert {each.answer for each in found.steps} == {"200, made up"}
    assert found.steps[0].sends == "POST https://shop.example/things"
    assert found.steps[0].headers == {"Idempotency-Key": "(made for the run)"}
    assert (found.outputs, found.supposed) == ({"id": "text"}, ["ask: approved"])
    assert "hunter2" not in found.model_dump_json()
    assert await shop.services.runs.list(RunFilter()) == []


async def test_a_step_that_is_refused_shows_what_is_undone(shop: Face, bot: AsyncClient) -> None:
    found = await bot(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.SIMULATE, fail_at="charge"))
    assert (found.ends, found.undone, found.stands) == ("compensated", ["reserve"], ["mail"])
    assert [each.sends for each in found.steps if each.way == "undo"] == [
        "DELETE https://shop.example/things/text"
    ]
    told = await told_to_an_agent(shop, fail_at="charge")
    assert told.structured_content["plan"] == found.as_plan()
    assert told.structured_content["status"] == "simulated"
    rejected = await bot(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.SIMULATE, fail_at="ask"))
    assert (rejected.ends, rejected.supposed) == ("compensated", ["ask: rejected"])
    with pytest.raises(InvalidInput, match="fail_at nothing"):
        await bot(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.SIMULATE, fail_at="nothing"))
    with pytest.raises(InvalidInput, match="only a simulation"):
        await bot(ask.plan_run(WORKFLOW, INPUTS, fail_at="charge"))


async def ended(face: Face, tenant: str) -> str:
    """A run whose first step gave something that no document would."""
    run_id = await face.accepted(tenant=tenant)
    taken = await face.claimed(run_id)
    link = Link(status=LinkStatus.LANDED, attempts=1, first_started_at=AT, sequence=1)
    gave = LinkWrite(
        step=0, direction=Direction.FORWARD, link=link, outputs={"id": "from_before"},
        finished_at=AT,
    )  # fmt: skip
    await face.write(taken, status=RunStatus.COMPENSATED, links=(gave,), release=True)
    return run_id


async def test_answers_of_a_run_that_has_ended_are_taken(shop: Face, bot: AsyncClient) -> None:
    run_id = await ended(shop, "acme")
    found = await bot(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.SIMULATE, recorded=run_id))
    first, second, _ = found.steps
    assert (first.answer, second.answer) == ("200, as recorded", "200, made up")
    assert second.body == {"of": "from_before", "password": "[hidden]"}
    assert found.outputs == {"id": "from_before"}


async def test_another_tenants_run_is_no_recording(shop: Face, bot: AsyncClient) -> None:
    theirs = await ended(shop, "zeta")
    with pytest.raises(NotFound, match="there is no run"):
        await bot(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.SIMULATE, recorded=theirs))
    answer = await told_to_an_agent(shop, recorded=theirs)
    assert answer.is_error
    assert "there is no run" in str(answer.content)
    assert "from_before" not in str(answer.content)
    going_on = await shop.accepted(tenant="acme")
    with pytest.raises(Conflict, match="cannot be taken"):
        await bot(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.SIMULATE, recorded=going_on))


async def test_who_may_not_run_it_may_not_play_it(shop: Face, bot: AsyncClient) -> None:
    key = await shop.key(Role.VIEWER)
    async with AsyncClient(
        "http://localhost", key=key, transport=httpx.ASGITransport(shop.app)
    ) as viewer:
        with pytest.raises(NotAllowed):
            await viewer(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.SIMULATE))
    denied = policy_of({"deny": ["bu*"]}, "test")
    await shop.services.policies.set(Agent("acme", "bot"), denied, by="ada", reason="x")
    with pytest.raises(NotAllowed, match="not for you"):
        await bot(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.SIMULATE))
    answer = await told_to_an_agent(shop)
    assert answer.is_error
    assert "there is no workflow" in str(answer.content)


async def test_the_command_draws_it(shop: Face, address: str) -> None:
    app = typer.Typer()
    app.command()(submit)
    run = commands(address, await shop.key(Role.SUBMITTER, tenant="acme", name="bot"))
    wish = [WORKFLOW, "--inputs", json.dumps(INPUTS), "--dry-run", "--simulate"]
    drawn = await run(app, *wish, drawn=True)
    assert "succeeded after" in drawn
    with pytest.raises(InvalidInput, match="nothing was planned"):
        await run(app, WORKFLOW, "--simulate")


def wanted(**changes: Any) -> Simulated:
    return Simulated(
        **{"plans": [], "document": "", "folder": "", "inputs": {}, "results": {}, **changes}
    )


async def test_it_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is killed, whatever it is at, and nobody waits for it."""
    started = spawned(monkeypatch, "import time, os; time.sleep(600)")
    with pytest.raises(InvalidInput, match=r"not over after 0\.3 s"):
        await simulator.ProcessSimulator(longest_seconds=0.3).play(wanted())
    assert started[0].returncode == -9


async def test_it_says_no_more_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "LARGEST_ANSWER", 1000)
    spawned(monkeypatch, "import sys\nwhile True: sys.stdout.write('x' * 5000)")
    with pytest.raises(InvalidInput, match="more than 1000 bytes"):
        await simulator.ProcessSimulator().play(wanted())
    spawned(monkeypatch, "raise SystemExit(3)")
    with pytest.raises(InvalidInput, match="ended with 3"):
        await simulator.ProcessSimulator().play(wanted())


async def test_no_more_than_a_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "MOST_WAITING", 0)
    with pytest.raises(Overloaded, match="too many simulations"):
        await simulator.ProcessSimulator().play(wanted())


async def test_it_knows_nothing_of_its_parents_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_SECRET_FOR_TESTS", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    says = (
        "import msgspec, os, sys; from orchestrator.ports.simulating import Ending\n"
        "told = msgspec.json.decode(sys.argv[1]); told['outputs'] = dict(os.environ)\n"
        "sys.stdout.buffer.write(msgspec.json.encode(told))"
    )
    spawned(monkeypatch, says, msgspec.json.encode(PLAYED).decode())
    found = await simulator.ProcessSimulator().play(wanted())
    assert set(found.outputs) <= {"PATH", "LC_CTYPE"}


def spawned(
    monkeypatch: pytest.MonkeyPatch, code: str, *more: str
) -> list[asyncio.subprocess.Process]:
    """Another program in place of the simulation; the processes that were started."""
    started = []

    async def start(python: str, *_: str, **how: Any) -> asyncio.subprocess.Process:
        started.append(await _REAL(python, "-I", "-c", code, *more, **how))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    return started
