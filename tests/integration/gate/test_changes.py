"""Configurations that change under a gate and a transport at work, on a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import RedisLimits
from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.engine.api_book import ApiBook
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.http import HttpTransport
from orchestrator.engine.rates import parse_rates
from orchestrator.ports import AttemptContext, GateBusy, Permit, Visit
from tests.integration.gate.raw_server import body, raw_server, says

API = ApiConfig(name="api", allow_private_addresses=True)
CONTEXT = AttemptContext(
    run_id="r", step_id="s", attempt=1, direction=Direction.FORWARD, tenant="default"
)
GET = FrozenRequest(method="GET", target="/")


def visit(number: int = 0, *, undo: bool = False, parked: bool = False) -> Visit:
    return Visit(api="api", run_id=f"run-{number}", undo=undo, parked=parked)


@dataclass
class Process:
    """A gate, and what decides how it lets in."""

    book: ApiBook
    gate: SharedGate
    recalled: list[str] = field(default_factory=list)
    back: asyncio.Event = field(default_factory=asyncio.Event)

    def turn_to(self, **changes: Any) -> None:
        self.book.take({"api": replace(self.book.now("api"), **changes)})

    async def enter(self, patience: float = 10.0, which: Visit | None = None) -> Permit:
        return await self.gate.enter(which or visit(), patience_seconds=patience)


Make = Callable[..., Process]


@pytest.fixture
async def make(valkey_url: str) -> AsyncIterator[Make]:
    """Makes processes that share one server."""
    async with AsyncExitStack() as stack:

        def process(holder: str = "one", rate: str = "", concurrency: int | None = None) -> Process:
            client = connect(valkey_url)
            stack.push_async_callback(client.aclose)
            config = replace(API, rates=parse_rates(rate), concurrency=concurrency)
            book = ApiBook({"api": config})

            async def recall(run_ids: Sequence[str]) -> None:
                made.recalled += run_ids
                made.back.set()

            gate = SharedGate(RedisLimits(client, holder_id=holder), book, recall=recall)
            made = Process(book=book, gate=gate)
            stack.push_async_callback(gate.aclose)
            return made

        yield process


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the gate has no event for it
            await asyncio.sleep(0.01)


async def test_who_waits_for_a_rate_is_let_in_by_a_higher_one(make: Make) -> None:
    process = make(rate="2/minute")
    for _ in range(2):
        (await process.enter()).release()
    waiting = asyncio.create_task(process.enter(100.0))
    await until(lambda: process.gate.snapshot()["api"].waiting == 1)
    process.turn_to(rates=parse_rates("3/minute"))
    (await asyncio.wait_for(waiting, 30)).release()
    with pytest.raises(GateBusy):
        await process.enter(2.5)  # the first two count


async def test_a_lower_rate_counts_those_before(make: Make) -> None:
    process = make(rate="40/second")
    for _ in range(5):
        (await process.enter()).release()
    process.turn_to(rates=parse_rates("5/minute"))
    with pytest.raises(GateBusy):
        await process.enter(2.5)


async def test_a_rate_for_an_api_that_had_none_waits_a_window(make: Make) -> None:
    process = make()
    (await process.enter()).release()
    changed_at = time.monotonic()
    process.turn_to(rates=parse_rates("5/second"))
    (await process.enter()).release()
    assert time.monotonic() - changed_at >= 1.0


async def test_slots_follow_the_limit_and_calls_in_flight_go_on(make: Make) -> None:
    process = make(concurrency=1)
    first = await process.enter()
    waiting = asyncio.create_task(process.enter())
    await until(lambda: process.gate.snapshot()["api"].waiting == 1)
    process.turn_to(concurrency=2)
    second = await asyncio.wait_for(waiting, 30)
    process.turn_to(concurrency=1)
    assert process.gate.try_enter(visit()) is None
    first.release()
    assert process.gate.try_enter(visit()) is None, "one is in flight"
    second.release()
    (await process.enter()).release()


async def test_limits_can_be_taken_away_and_given(make: Make) -> None:
    process = make(concurrency=1)
    held = [await process.enter()]
    process.turn_to(concurrency=None)
    held += [await process.enter(0.1) for _ in range(3)]
    process.turn_to(concurrency=2)
    assert process.gate.try_enter(visit()) is None
    for permit in held[:3]:
        permit.release()
    (await process.enter()).release()
    held[3].release()


async def test_a_held_api_lets_nobody_in_and_calls_those_back_whom_it_turned_away(
    make: Make,
) -> None:
    process = make(concurrency=1)
    in_flight = await process.enter()
    waiting = [asyncio.create_task(process.enter(60.0, visit(n))) for n in range(1, 3)]
    await until(lambda: process.gate.snapshot()["api"].waiting == 2)
    process.turn_to(held=True)
    for turned_away in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(turned_away, GateBusy)
        assert 30 <= turned_away.seconds <= 60
    assert not in_flight.fresh, "what has not left yet stays"
    in_flight.release()
    assert process.gate.try_enter(visit(3)) is None
    with pytest.raises(GateBusy):
        await process.enter(60.0, visit(3, undo=True))
    assert process.recalled == []
    process.turn_to(held=False)
    await asyncio.wait_for(process.back.wait(), 30)
    await until(lambda: set(process.recalled) == {"run-1", "run-2", "run-3"})
    (await process.enter(which=visit(1, parked=True))).release()


async def test_weights_change_who_is_next(make: Make) -> None:
    process = make(concurrency=1)
    permit = await process.enter()
    served: list[str] = []

    async def go(tenant: str) -> None:
        wanted = Visit(api="api", tenant=tenant)
        entered = await process.gate.enter(wanted, patience_seconds=20)
        served.append(tenant)
        entered.release()

    goers = [asyncio.create_task(go(tenant)) for tenant in ["a"] * 8 + ["b"] * 8]
    await until(lambda: process.gate.snapshot()["api"].waiting == 16)
    process.turn_to(weights={"b": 7.0})
    permit.release()
    await asyncio.wait_for(asyncio.gather(*goers), 30)
    assert served[:9].count("b") >= 6


# --- the transport --------------------------------------------------------------------------------


@asynccontextmanager
async def transport(book: ApiBook) -> AsyncIterator[HttpTransport]:
    made = HttpTransport(book)
    try:
        yield made
    finally:
        await made.aclose()


async def test_what_is_sent_goes_on_and_what_follows_goes_elsewhere() -> None:
    answer_now = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer_now.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
        await writer.drain()
        writer.close()

    asked = asyncio.Event()
    old = await asyncio.start_server(slow, "127.0.0.1", 0)
    port = old.sockets[0].getsockname()[1]
    async with raw_server(says(body(b"new"))) as new, old:
        book = ApiBook({"api": replace(API, base_url=f"http://127.0.0.1:{port}")})
        async with transport(book) as http:
            sending = asyncio.create_task(http.send("api", GET, CONTEXT, timeout_seconds=20))
            await asyncio.wait_for(asked.wait(), 30)
            book.take({"api": replace(API, base_url=new.url, headers=(("X-New", "1"),))})
            response = await http.send("api", GET, CONTEXT, timeout_seconds=20)
            assert response.body == b"new"
            assert b"X-New: 1" in new.requests[0]
            answer_now.set()
            assert (await asyncio.wait_for(sending, 30)).body == b"old"
            assert not http._retired


async def test_connections_are_kept_when_only_limits_change() -> None:
    async with raw_server(says(body(b"1"))) as server:
        book = ApiBook({"api": replace(API, base_url=server.url)})
        async with transport(book) as http:
            await http.send("api", GET, CONTEXT, timeout_seconds=5)
            client = http._clients["api"]
            rates = parse_rates("5/second")
            book.take({"api": replace(book.now("api"), rates=rates, weights={"a": 2.0})})
            await http.send("api", GET, CONTEXT, timeout_seconds=5)
            assert http._clients["api"] is client
            book.take({"api": replace(book.now("api"), total_seconds=7.0)})
            assert http._clients["api"] is not client
