"""A process whose runs call an API over HTTP through its gate: `python visitor.py '<json>'`.

Prints how it went as one line of JSON at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from orchestrator.coordination.api_health import RedisHealth
from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import RedisLimits
from orchestrator.core.exchange import FrozenRequest, Outcome, Response
from orchestrator.core.health import HealthRules
from orchestrator.core.retry import DEFAULT_RETRY
from orchestrator.core.states import Direction
from orchestrator.engine.apis import ApiConfig, parse_rates
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.http import HttpTransport
from orchestrator.errors import InDoubt, NotLanded
from orchestrator.ports import AttemptContext, GateBusy, Seen, Visit

API = "api"
REQUEST = FrozenRequest(method="GET", target="/x")
CONTEXT = AttemptContext(
    run_id="r", step_id="s", attempt=1, direction=Direction.FORWARD, tenant="default"
)
PATIENCE_SECONDS = 5.0


class Visitors:
    """The runs of this process, each of which calls over and over."""

    def __init__(self, gate: SharedGate, http: HttpTransport, *, seconds: float) -> None:
        self._gate, self._http = gate, http
        self._end = time.monotonic() + seconds
        self.counts = {"calls": 0, "good": 0, "parked": 0, "failed": 0}

    async def run(self, number: int) -> None:
        """As a driver does it: the gate, the call, and after a failure the retry policy's wait."""
        attempts, begun = 0, time.monotonic()
        while time.monotonic() < self._end:
            if await self._once(Visit(api=API, retry=attempts > 0)):
                attempts, begun = 0, time.monotonic()
                continue
            attempts += 1
            delay = DEFAULT_RETRY.next_delay(
                attempts=attempts, elapsed_seconds=time.monotonic() - begun, jitter=number % 97 / 97
            )
            if delay is None:
                self.counts["failed"] += 1
                return
            await self._sleep(delay)

    async def _once(self, visit: Visit) -> bool:
        """Whether the API did it."""
        while True:
            try:
                permit = await self._gate.enter(visit, patience_seconds=PATIENCE_SECONDS)
                break
            except GateBusy as busy:
                self.counts["parked"] += 1
                await self._sleep(busy.seconds)
                if time.monotonic() >= self._end:
                    return True
        begun, response = time.monotonic(), await self._call()
        good = response is not None and response.status == 200
        outcome = Outcome.LANDED if good else Outcome.NOT_LANDED
        self.counts["calls"] += 1
        self.counts["good"] += good
        seconds = time.monotonic() - begun
        permit.release(Seen(outcome=outcome, response=response, seconds=seconds))
        return good

    async def _call(self) -> Response | None:
        try:
            return await self._http.send(API, REQUEST, CONTEXT, timeout_seconds=10.0)
        except (NotLanded, InDoubt):
            return None

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(min(seconds, self._end - time.monotonic()), 0.0))


async def visit(
    *,
    url: str,
    holder: str,
    port: int,
    seconds: float,
    runs: int,
    rate: str | None = None,
    concurrency: int | None = None,
    connections: int = 100,
    rules: dict[str, Any],
) -> dict[str, Any]:
    """`runs` tasks call over and over for so long."""
    config = ApiConfig(
        name=API, base_url=f"http://127.0.0.1:{port}", allow_private_addresses=True,
        rates=parse_rates(rate), concurrency=concurrency, connections=connections,
        health=HealthRules(**rules),
    )  # fmt: skip
    redis = connect(url)
    gate = SharedGate(
        RedisLimits(redis, holder_id=holder), {API: config}, RedisHealth(redis, holder_id=holder)
    )
    http = HttpTransport({API: config})
    visitors = Visitors(gate, http, seconds=seconds)
    await asyncio.gather(*(visitors.run(number) for number in range(runs)))
    await gate.aclose()
    await http.aclose()
    await redis.aclose()
    return dict(visitors.counts)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(visit(**json.loads(sys.argv[1])))))
