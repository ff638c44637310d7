"""Real workers whose API wants a token, which ends in the middle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.acceptance.conftest import Deployment, end, wait_until
from tests.integration.gate.token_server import CLIENT, SECRET, TokenServer, token_server

RUNS = 100
API = """\
api: shop
base_url: {url}/v1
allow_private_addresses: true
concurrency: 20
auth:
  oauth2: {{token_url: {url}/token, client_id: '{client}', client_secret: 'env:SHOP_SECRET'}}
"""
SHOP = """\
openapi: 3.1.0
info: {title: shop, version: '1'}
paths:
  /orders:
    post: {operationId: createOrder, responses: {'200': {description: ordered}}}
"""
STEP = """\
      - stepId: {name}
        operationId: createOrder
        x-idempotency: {{in: header, name: Idempotency-Key}}
        requestBody: {{payload: {{item: $inputs.item}}}}
        x-compensation: {{none: nobody takes it back}}
"""
WORKFLOW = """\
arazzo: 1.0.1
info: {title: Order, version: 1.0.0}
sourceDescriptions:
  - {name: shop, url: ./shop.openapi.yaml, type: openapi}
workflows:
  - workflowId: order
    inputs: {type: object, required: [item], properties: {item: {type: integer}}}
    steps:
"""


def lay_out(deployment: Deployment, url: str) -> None:
    config = deployment.folder / "config"
    (config / "apis").mkdir(exist_ok=True)
    (config / "apis" / "shop.yaml").write_text(API.format(url=url, client=CLIENT))
    (config / "workflows" / "shop.openapi.yaml").write_text(SHOP)
    steps = "".join(STEP.format(name=name) for name in ("first", "second", "third"))
    (config / "workflows" / "order.arazzo.yaml").write_text(WORKFLOW + steps)
    lines = [json.dumps({"inputs": {"item": number}}) for number in range(RUNS)]
    (deployment.folder / "runs.jsonl").write_text("\n".join(lines))
    deployment.env["SHOP_SECRET"] = SECRET
    deployment.env["SHOP_KEY"] = Fernet.generate_key().decode()
    deployment.env["ORCHESTRATOR_CREDENTIALS_KEY"] = "env:SHOP_KEY"


def settle(deployment: Deployment, first_object: Callable[[Any], Any]) -> None:
    """Two workers, all runs to their end."""
    process = deployment.start("up", "--workers", "2", "--json")
    try:
        first_object(process)
        deployment.ask("workflows", "publish", "config/workflows")
        deployment.ask("submit", "order", "--file", "runs.jsonl")
        succeeded = ("runs", "list", "--status", "succeeded", "--limit", 1000)
        wait_until(lambda: len(deployment.ask(*succeeded)) == RUNS, "the runs", seconds=100)
        checks = {check["name"]: check for check in deployment.ask("doctor")}
        assert checks["tokens"]["verdict"] == "good"
    finally:
        end(process)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_token_that_ends_in_the_middle_fails_no_run_and_is_renewed_once(
    deployment: Deployment, first_object: Callable[[Any], Any]
) -> None:
    async with token_server(TokenServer(revoke_after=RUNS)) as server:
        lay_out(deployment, server.url)
        await asyncio.to_thread(settle, deployment, first_object)
    assert len(server.calls) == 3 * RUNS
    assert len({key for _, key, _ in server.calls}) == 3 * RUNS
    assert server.issued == 2
    for path in (deployment.folder / ".orchestrator").rglob("*"):
        if path.is_file():
            assert_no_secret_in(path, [SECRET, *server.good_until])


def assert_no_secret_in(path: Path, secrets: list[str]) -> None:
    content = path.read_bytes()
    assert not [secret for secret in secrets if secret.encode() in content], path
