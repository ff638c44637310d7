"""A process whose runs call an API over HTTP through its gate: `python visitor.py '<json>'`.

Prints how it went as one line of JSON at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import uvloop

from orchestrator.coordination.api_health import RedisHealth
from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import RedisLimits
from orchestrator.core.exchange import FrozenRequest, Outcome, Response
from orchestrator.core.health import HealthRules
from orchestrator.core.retry import DEFAULT_RETRY
from orchestrator.core.states import Direction
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.http import HttpTransport
from orchestrator.engine.rates import parse_rates
from orchestrator.errors import InDoubt, NotLanded
from orchestrator.ports import AttemptContext, GateBusy, Seen, Visit
from tests.integration.gate.processes import wait_for_the_word

API = "api"
REQUEST = FrozenRequest(method="GET", target="/x")
CONTEXT = AttemptContext(
    run_id="r", step_id="s", attempt=1, direction=Direction.FORWARD, tenant="default"
)
PATIENCE_SECONDS = 5.0


class Visitors:
    """The runs of this process, each of which calls over and over."""

    def __init__(
        self,
        gate: SharedGate,
        http: HttpTransport,
        asleep: dict[str, asyncio.Event],
    ) -> None:
        self._gate, self._http, self.asleep = gate, http, asleep
        self.counts = {"calls": 0, "good": 0, "parked": 0, "failed": 0}

    async def run(self, number: int) -> None:
        """As a driver does it: the gate, the call, and after a failure the retry policy's wait."""
        attempts, begun = 0, time.monotonic()
        while True:
            visit = Visit(api=API, run_id=str(number), retry=attempts > 0)
            if await self._once(visit):
                attempts, begun = 0, time.monotonic()
                continue
            attempts += 1
            delay = DEFAULT_RETRY.next_delay(
                attempts=attempts, elapsed_seconds=time.monotonic() - begun, jitter=number % 97 / 97
            )
            if delay is None:
                self.counts["failed"] += 1
                return
            await asyncio.sleep(delay)

    async def _once(self, visit: Visit) -> bool:
        """Whether the API did it."""
        while True:
            try:
                permit = await self._gate.enter(visit, patience_seconds=PATIENCE_SECONDS)
                break
            except GateBusy as busy:
                self.counts["parked"] += 1
                await self._park(visit.run_id, busy.seconds)
                visit = msgspec.structs.replace(visit, parked=True)
        begun, response = time.monotonic(), await self._call()
        good = response is not None and response.status == 200
        outcome = Outcome.LANDED if good else Outcome.NOT_LANDED
        self.counts["calls"] += 1
        self.counts["good"] += good
        seconds = time.monotonic() - begun
        permit.release(Seen(outcome=outcome, response=response, seconds=seconds))
        return good

    async def _park(self, run_id: str, seconds: float) -> None:
        called = self.asleep[run_id] = asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await called.wait()

    async def _call(self) -> Response | None:
        try:
            return await self._http.send(API, REQUEST, CONTEXT, timeout_seconds=10.0)
        except (NotLanded, InDoubt):
            return None


async def visit(
    *,
    url: str,
    holder: str,
    port: int,
    runs: int,
    rate: str | None = None,
    concurrency: int | None = None,
    connections: int = 100,
    rules: dict[str, Any],
) -> dict[str, Any]:
    """`runs` tasks call over and over, until it is told that it is over."""
    config = ApiConfig(
        name=API, base_url=f"http://127.0.0.1:{port}", allow_private_addresses=True,
        rates=parse_rates(rate), concurrency=concurrency, connections=connections,
        health=HealthRules(**rules),
    )  # fmt: skip
    redis = connect(url)
    asleep: dict[str, asyncio.Event] = {}

    async def recall(run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            asleep[run_id].set()

    gate = SharedGate(
        RedisLimits(redis, holder_id=holder), {API: config}, RedisHealth(redis, holder_id=holder),
        recall=recall,
    )  # fmt: skip
    http = HttpTransport({API: config})
    visitors = Visitors(gate, http, asleep)
    running = [asyncio.create_task(visitors.run(number)) for number in range(runs)]
    await asyncio.to_thread(sys.stdin.readline)
    for run in running:
        run.cancel()
    ended = await asyncio.gather(*running, return_exceptions=True)
    assert all(each is None or isinstance(each, asyncio.CancelledError) for each in ended), ended
    await gate.aclose()
    await http.aclose()
    await redis.aclose()
    return dict(visitors.counts)


if __name__ == "__main__":
    wait_for_the_word()
    print(json.dumps(uvloop.run(visit(**json.loads(sys.argv[1])))))
