"""A dry run tells what would be sent as far as inputs decide; it sends and keeps nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from orchestrator.definitions.agent_policies import policy_of
from orchestrator.mcp.callers import the_same
from orchestrator.mcp.server import make_server
from orchestrator.ports import Agent, RunFilter
from orchestrator.service.agents import Actor
from orchestrator.settings import Settings
from orchestrator.wiring_services import Services, open_services

CONFIG = Path(__file__).parents[3] / "config"
INPUTS = {
    "order_id": "o-1", "name": "Ada Łovelace", "email": "ada@example.org", "item": "a book/2",
    "quantity": 2, "unit_price": 500, "country": "GB",
}  # fmt: skip
SECRET = """
arazzo: 1.0.1
info: {title: log in, version: "1"}
sourceDescriptions:
  - {name: shop, url: shop.json, type: openapi}
  - {name: people, url: "waits:", type: openapi}
workflows:
  - workflowId: login
    inputs:
      type: object
      properties: {password: {type: string, format: password}, amount: {type: number}}
    x-budget: {amount: $inputs.amount, currency: EUR}
    steps:
      - stepId: ask
        operationId: $sourceDescriptions.people.approval
        requestBody: {payload: {message: "May it?", show: {password: $inputs.password}}}
      - stepId: log
        operationId: logIn
        x-compensation: {none: nothing stays}
        parameters: [{name: trace, in: query, value: "{$inputs.password}x"}]
        requestBody: {contentType: application/json, payload: {password: $inputs.password}}
"""
SHOP = """{"openapi": "3.1.0", "info": {"title": "shop", "version": "1"},
"servers": [{"url": "https://shop.example/api"}],
"paths": {"/login": {"post": {"operationId": "logIn",
  "parameters": [{"name": "trace", "in": "query", "schema": {"type": "string"}}],
  "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
  "responses": {"200": {"description": "in"}}}}}}"""


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    """The shipped checkout, and a workflow with a secret; no broker, no worker, no API."""
    (tmp_path / "login.arazzo.yaml").write_text(SECRET)
    (tmp_path / "shop.json").write_text(SHOP)
    async with open_services(Settings(config_dir=CONFIG, state_dir=tmp_path)) as opened:
        for document in (
            CONFIG / "workflows" / "checkout.arazzo.yaml",
            tmp_path / "login.arazzo.yaml",
        ):
            await opened.workflows.publish(document, by="root")
        yield opened


async def dry_run(services: Services, workflow: str, **inputs: Any) -> dict[str, Any]:
    server = make_server(services.agents, the_same(Actor(name="bot")), version="1")
    async with Client(server) as client:
        answer = await client.call_tool(
            "execute",
            {"workflow": workflow, "inputs": inputs, "idempotency_key": "k", "mode": "dry_run"},
        )
    assert answer.structured_content is not None, answer.content
    return answer.structured_content


async def test_requests_are_told_with_names_for_what_is_not_known_yet(services: Services) -> None:
    said = await dry_run(services, "checkout", **INPUTS)
    assert (said["status"], said["run"]) == ("planned", "")
    steps = {step["step"]: step for step in said["plan"]["steps"]}
    assert list(steps)[:4] == ["reserve", "register", "price", "charge"]
    at = "http://127.0.0.1:8888/v1/buckets/shop/collections"
    assert steps["reserve"] == {
        "step": "reserve", "sends": f"PUT {at}/stock-reservations/records/o-1",
        "headers": {"If-None-Match": "*"},
        "body": {"data": {
            "changed_by": "checkout", "item": "a book/2", "order_id": "o-1", "quantity": 2,
        }},
        "undo": f"DELETE {at}/stock-reservations/records/o-1",
    }  # fmt: skip
    assert steps["price"]["body"] == {"quantity": 2, "unit_price": 500}
    assert steps["charge"]["body"]["data"]["amount"] == "{$steps.price.outputs.total}"


async def test_nothing_is_kept_and_nothing_is_counted(services: Services) -> None:
    bot = Agent("default", "bot")
    policy = policy_of({"budgets": ["1 runs/day", "5 EUR/day"]}, "test")
    await services.policies.set(bot, policy, by="ada", reason="x")
    for _ in range(3):
        said = await dry_run(services, "login", password="p", amount=5)
        assert (said["plan"]["spends"], "refused" in said["plan"]) == ("5 EUR", False)
    said = await dry_run(services, "login", password="p", amount=6)
    (refused,) = said["plan"]["refused"]
    assert refused.startswith("policy of agent bot of tenant default, budgets: found 6 EUR beside")
    assert "it would be refused now" in said["meaning"]
    assert await services.runs.list(RunFilter()) == []
    assert [left for _, left in (await services.policies.show(bot)).left] == [1, 5_000_000]


async def test_secrets_are_not_told(services: Services) -> None:
    said = await dry_run(services, "login", password="hunter2-and-more", amount=1)
    assert "hunter2" not in str(said)
    ask, log = said["plan"]["steps"]
    assert (ask["waits_for"], ask["asked"]["message"]) == ("approval", "May it?")
    assert log["sends"].startswith("POST https://shop.example/api/login?trace=")
    assert log["stays"] == "nothing stays"


async def test_nothing_is_sent_not_even_a_connection(services: Services, tmp_path: Path) -> None:
    """An API listens at the very address; a run would reach it."""
    seen = asyncio.Event()

    async def arrived(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set()
        writer.close()

    async with await asyncio.start_server(arrived, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        (tmp_path / "shop.json").write_text(
            SHOP.replace("https://shop.example/api", f"http://127.0.0.1:{port}")
        )
        await services.workflows.publish(tmp_path / "login.arazzo.yaml", by="root")
        said = await dry_run(services, "login", password="hunter2-and-more", amount=1)
        assert said["plan"]["steps"][1]["sends"].startswith(f"POST http://127.0.0.1:{port}/login")
        assert not seen.is_set()
        _, writer = await asyncio.open_connection("127.0.0.1", port)  # it does listen
        writer.close()
        await asyncio.wait_for(seen.wait(), 10)
    assert await services.runs.list(RunFilter()) == []


async def test_who_was_stopped_plans_nothing_either(services: Services) -> None:
    await services.policies.stop(Agent("default", "bot"), by="ada", reason="it is mad")
    server = make_server(services.agents, the_same(Actor(name="bot")), version="1")
    async with Client(server) as client:
        answer = await client.call_tool(
            "execute",
            {"workflow": "login", "inputs": {"password": "p", "amount": 1},
             "idempotency_key": "k", "mode": "dry_run"},
        )  # fmt: skip
    assert answer.is_error
    assert "it is mad" in str(answer.content)


async def test_inputs_are_checked_as_those_of_a_run(services: Services) -> None:
    server = make_server(services.agents, the_same(Actor(name="bot")), version="1")
    async with Client(server) as client:
        answer = await client.call_tool(
            "execute",
            {"workflow": "checkout", "inputs": {}, "idempotency_key": "k", "mode": "dry_run"},
        )
    assert answer.is_error
    assert "'order_id' is a required property" in str(answer.content)
