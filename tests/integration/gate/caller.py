"""A process that calls an API with tokens which it shares: `python caller.py '<json>'`.

Prints how its calls went as one line of JSON: answers by status, and what failed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from orchestrator.coordination.connect import connect
from orchestrator.coordination.tokens import RedisTokens
from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.states import Direction
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.auth import Auth, Grant, OAuth2
from orchestrator.engine.http import HttpTransport
from orchestrator.engine.sealing import Sealer
from orchestrator.engine.secret import Secret
from orchestrator.engine.tokens import LOCK_SECONDS, Sharing, TokenDesk
from orchestrator.errors import StepError
from orchestrator.ports import AttemptContext
from tests.integration.gate.token_server import CLIENT, SECRET

CONTEXT = AttemptContext(
    run_id="r", step_id="s", attempt=1, direction=Direction.FORWARD, tenant="default"
)


def oauth2(url: str, **more: Any) -> OAuth2:
    """What the token server wants. The secret is in the environment, under TEST_CLIENT_SECRET."""
    os.environ["TEST_CLIENT_SECRET"] = SECRET
    os.environ["TEST_REFRESH_TOKEN"] = "refresh-0"
    if more.get("grant") is Grant.REFRESH_TOKEN:
        more["refresh_token"] = Secret(reference="env:TEST_REFRESH_TOKEN")
    secret = Secret(reference="env:TEST_CLIENT_SECRET")
    return OAuth2(token_url=f"{url}/token", client_id=CLIENT, client_secret=secret, **more)


def config_of(url: str, auth: Auth) -> ApiConfig:
    """An API at a loopback address."""
    return ApiConfig(
        name="api", base_url=url, allow_private_addresses=True, connections=1000, auth=auth
    )


@asynccontextmanager
async def caller(
    config: ApiConfig, redis_url: str, key: str, lock_seconds: float = LOCK_SECONDS
) -> AsyncIterator[HttpTransport]:
    """One worker's way out. Without a key its tokens are its own."""
    redis = connect(redis_url)
    sharing = None
    if key:
        sharing = Sharing(store=RedisTokens(redis), sealer=Sealer([key]), lock_seconds=lock_seconds)
    transport = HttpTransport({"api": config}, tokens=TokenDesk(sharing))
    try:
        yield transport
    finally:
        await transport.aclose()
        await redis.aclose()


async def call(
    transport: HttpTransport, number: int = 0, *, tenant: str = "default", timeout: float = 30.0
) -> Response:
    """One POST with a key of its own."""
    request = FrozenRequest(
        method="POST", target="/orders?q=1", body=b'{"number": %d}' % number,
        headers=(("Content-Type", "application/json"), ("Idempotency-Key", f"key-{number}")),
    )  # fmt: skip
    context = msgspec.structs.replace(CONTEXT, tenant=tenant)
    return await transport.send("api", request, context, timeout_seconds=timeout)


async def main(
    *,
    url: str,
    redis: str,
    key: str,
    calls: int,
    first: int = 0,
    lock_seconds: float = LOCK_SECONDS,
) -> dict[str, int]:
    """All at once, each after the token is there."""
    went: Counter[str] = Counter()

    async def one(transport: HttpTransport, number: int) -> None:
        try:
            response = await call(transport, number)
            went[str(response.status)] += 1
        except StepError as error:
            went[error.reason] += 1

    config = config_of(url, Auth(default=oauth2(url)))
    async with caller(config, redis, key, lock_seconds) as transport:
        await asyncio.gather(*(one(transport, first + number) for number in range(calls)))
    return dict(went)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(**json.loads(sys.argv[1])))))
