"""Dry runs that ask what only reads: what really came is counted at the API, in all faults."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from mcp import Client

from orchestrator.core.exchange import FrozenRequest
from orchestrator.definitions.agent_policies import policy_of
from orchestrator.engine.reading import GatedReads
from orchestrator.errors import NotSent
from orchestrator.mcp.callers import the_same
from orchestrator.mcp.server import make_server
from orchestrator.ports import Agent
from orchestrator.service.agents import Actor
from orchestrator.settings import Settings
from orchestrator.wiring_services import Services, open_services

pytestmark = pytest.mark.broker

DOCUMENT = """
arazzo: 1.0.1
info: {title: Buy, version: "1"}
sourceDescriptions: [{name: shop, url: shop.json, type: openapi}]
workflows:
  - workflowId: buy
    inputs: {type: object, required: [item], properties: {item: {type: string}}}
    x-budget: {amount: 6, currency: EUR}
    steps:
      - stepId: look
        operationId: showItem
        parameters: [{name: item, in: path, value: $inputs.item}]
        successCriteria: [{condition: $statusCode == 200}]
        outputs: {price: $response.body#/price}
      - stepId: charge
        operationId: charge
        requestBody: {contentType: application/json, payload: {amount: $steps.look.outputs.price}}
        outputs: {id: $response.body#/id}
        x-compensation: {none: nothing follows that could fail}
      - stepId: receipt
        operationId: showCharge
        parameters: [{name: id, in: path, value: $steps.charge.outputs.id}]
      - stepId: search
        operationId: search
        x-effects: none
        requestBody: {contentType: application/json, payload: {item: $inputs.item}}
"""
SHOP = {
    "openapi": "3.1.0", "info": {"title": "shop", "version": "1"}, "paths": {
        "/items/{item}": {"get": {
            "operationId": "showItem", "responses": {"200": {"description": "it"}},
            "parameters": [
                {"name": "item", "in": "path", "required": True, "schema": {"type": "string"}}
            ],
        }},
        "/charges": {"post": {"operationId": "charge", "responses": {"201": {"description": "x"}}}},
        "/charges/{id}": {"get": {
            "operationId": "showCharge", "responses": {"200": {"description": "it"}},
            "parameters": [
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
            ],
        }},
        "/search": {"post": {"operationId": "search", "responses": {"200": {"description": "x"}}}},
    },
}  # fmt: skip


class Shop:
    """Counts what comes, and answers as it is told."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.way = "good"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.came.append(f"{request.method} {request.path}")
        if self.way == "reset":
            assert request.transport is not None
            request.transport.abort()
        if self.way == "broken":
            return web.Response(status=500, text="out of order")
        if self.way == "moved":
            raise web.HTTPTemporaryRedirect("/charges")
        return web.json_response({"price": 450, "id": "ch_1"})


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    found = Shop()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (tmp_path / "apis").mkdir()
    (tmp_path / "apis" / "shop.yaml").write_text(
        f"api: shop\nbase_url: http://127.0.0.1:{runner.addresses[0][1]}\n"
        "allow_private_addresses: true\nrate: 50/second\nconcurrency: 2\n"
    )
    yield found
    await runner.cleanup()


@pytest.fixture
async def services(tmp_path: Path, shop: Shop, valkey_url: str) -> AsyncIterator[Services]:
    (tmp_path / "buy.arazzo.yaml").write_text(DOCUMENT)
    (tmp_path / "shop.json").write_text(json.dumps(SHOP))
    settings = Settings(
        config_dir=tmp_path, state_dir=tmp_path, broker_url=valkey_url, dry_run_reads=True
    )
    async with open_services(settings) as opened:
        await opened.workflows.publish(tmp_path / "buy.arazzo.yaml", by="root")
        yield opened


async def dry_run(services: Services, mode: str = "dry_run_reads") -> Any:
    server = make_server(services.agents, the_same(Actor(name="bot")), version="1")
    wish = {"workflow": "buy", "inputs": {"item": "tea"}, "idempotency_key": "k", "mode": mode}
    async with Client(server) as client:
        return await client.call_tool("execute", wish)


async def steps_of(services: Services, mode: str = "dry_run_reads") -> dict[str, Any]:
    answer = await dry_run(services, mode)
    assert answer.structured_content is not None, answer.content
    return {each["step"]: each for each in answer.structured_content["plan"]["steps"]}


async def test_what_only_reads_is_asked_and_stands_in_what_follows(
    services: Services, shop: Shop
) -> None:
    steps = await steps_of(services)
    assert shop.came == ["GET /items/tea"], "neither what has an effect, nor what depends on it"
    assert steps["look"]["read"] == "200"
    assert steps["charge"]["body"] == {"amount": 450}
    assert steps["receipt"]["read"].startswith("not asked:")
    assert steps["receipt"]["sends"].endswith("/charges/{$steps.charge.outputs.id}")
    assert "read" not in steps["search"], "a POST, whatever its document says of effects"


async def test_a_plain_dry_run_asks_nothing(services: Services, shop: Shop) -> None:
    steps = await steps_of(services, "dry_run")
    assert shop.came == []
    assert steps["charge"]["body"] == {"amount": "{$steps.look.outputs.price}"}


@pytest.mark.parametrize(
    ("way", "told"), [("broken", "500, not as wanted"), ("reset", ""), ("moved", "")]
)
async def test_whatever_goes_wrong_nothing_with_an_effect_is_sent(
    services: Services, shop: Shop, way: str, told: str
) -> None:
    shop.way = way
    steps = await steps_of(services)
    assert shop.came == ["GET /items/tea"], "once: no retry, no redirect"
    assert told in steps["look"]["read"]
    assert steps["charge"]["body"] == {"amount": "{$steps.look.outputs.price}"}


async def test_an_api_that_is_held_is_not_asked(services: Services, shop: Shop) -> None:
    await services.apis.hold("shop", by="ada", reason="they are away")
    steps = await steps_of(services)
    assert shop.came == []
    assert "busy" in steps["look"]["read"]


async def test_who_would_be_refused_reads_nothing(services: Services, shop: Shop) -> None:
    policy = policy_of({"budgets": ["5 EUR/day"]}, "test")
    await services.policies.set(Agent("default", "bot"), policy, by="ada", reason="x")
    answer = await dry_run(services)
    assert answer.structured_content is not None
    assert "refused" in answer.structured_content["plan"]
    assert shop.came == []


async def test_where_it_is_not_set_it_is_refused(tmp_path: Path, services: Services) -> None:
    async with open_services(Settings(config_dir=tmp_path, state_dir=tmp_path)) as plain:
        answer = await dry_run(plain)
    assert answer.is_error
    assert "setting dry_run_reads: found false" in str(answer.content)


async def test_the_last_place_lets_nothing_else_through() -> None:
    """Whatever came before was wrong: there is no gate and no client to send it with."""

    class Nothing:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    nothing: Any = Nothing()
    for method in ("POST", "PUT", "PATCH", "DELETE", "get"):
        with pytest.raises(NotSent, match="may have an effect"):
            await GatedReads(nothing, nothing).read(
                "shop", FrozenRequest(method=method, target="/"), operation="x", tenant="t",
                step="s", timeout_seconds=1,
            )  # fmt: skip
