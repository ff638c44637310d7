"""CPU cost of one small call by HTTP client: the numbers of docs/decisions/0004-http-client.md.

    python tests/bench/http_clients.py [client …] [--calls 20000] [--rounds 3]

A stub in a process of its own answers a fixed JSON object on loopback; 64 calls are in flight on
keep-alive connections, each a PUT with a body of 200 bytes. Printed per 1,000 calls: CPU seconds
of the client's process (all its threads) and wall seconds. Clients that are not installed are
left out.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import multiprocessing
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvloop

IN_FLIGHT = 64
BODY = json.dumps({"data": {"item": "a-17", "quantity": 2, "note": "x" * 150}}).encode()
HEADERS = {"Content-Type": "application/json", "If-None-Match": "*"}
ANSWER_BODY = json.dumps(
    {"data": {"id": "0123456789abcdef", "last_modified": 1700000000000}}
).encode()
ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: "1"\r\n'
    b"Content-Length: %d\r\n\r\n%s" % (len(ANSWER_BODY), ANSWER_BODY)
)

Call = Callable[[], Awaitable[int]]


class Stub(asyncio.Protocol):
    """Answers every request whose head and body have arrived."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.transport.write(ANSWER)


def serve(listener: socket.socket) -> None:
    """Body of the stub's process."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Stub, sock=listener)
        await server.serve_forever()

    uvloop.run(run())


@asynccontextmanager
async def aiohttp_call(url: str) -> AsyncIterator[Call]:
    import aiohttp

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def call() -> int:
            async with session.put(
                url, data=BODY, headers=HEADERS, allow_redirects=False
            ) as answer:
                await answer.read()
                return answer.status

        yield call


@asynccontextmanager
async def httpx_call(url: str) -> AsyncIterator[Call]:
    import httpx

    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def call() -> int:
            return (await client.put(url, content=BODY, headers=HEADERS)).status_code

        yield call


@asynccontextmanager
async def niquests_call(url: str) -> AsyncIterator[Call]:
    import niquests

    async with niquests.AsyncSession(pool_connections=1, pool_maxsize=IN_FLIGHT) as session:
        session.trust_env = False

        async def call() -> int:
            answer = await session.put(url, data=BODY, headers=HEADERS, allow_redirects=False)
            return int(answer.status_code or 0)

        yield call


@asynccontextmanager
async def pyreqwest_call(url: str) -> AsyncIterator[Call]:
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().build() as client:

        async def call() -> int:
            answer = await client.put(url).headers(HEADERS).body_bytes(BODY).build().send()
            await answer.bytes()
            return answer.status

        yield call


@asynccontextmanager
async def ours_call(url: str) -> AsyncIterator[Call]:
    """Our transport: aiohttp's connector and protocol without its session."""
    from orchestrator.core.exchange import FrozenRequest
    from orchestrator.core.states import Direction
    from orchestrator.engine.apis import ApiConfig
    from orchestrator.engine.http import HttpTransport
    from orchestrator.ports import AttemptContext

    config = ApiConfig(name="stub", base_url=url, allow_private_addresses=True)
    transport = HttpTransport({"stub": config})
    headers = tuple(HEADERS.items())
    context = AttemptContext(
        run_id="r", step_id="s", direction=Direction.FORWARD, attempt=1, tenant="default"
    )

    async def call() -> int:
        request = FrozenRequest(method="PUT", target="/1", headers=headers, body=BODY)
        return (await transport.send("stub", request, context, timeout_seconds=None)).status

    yield call
    await transport.aclose()


CLIENTS = {
    "saga-orchestrator": ours_call,
    "aiohttp": aiohttp_call,
    "httpx": httpx_call,
    "niquests": niquests_call,
    "pyreqwest": pyreqwest_call,
}


async def in_flight(call: Call, calls: int) -> None:
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            assert await call() == 200

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def measure(name: str, url: str, calls: int) -> tuple[float, float]:
    """CPU and wall seconds per 1,000 calls, after a warm-up of a tenth as many."""
    async with CLIENTS[name](url) as call:
        await in_flight(call, calls // 10)
        cpu, wall = time.process_time(), time.perf_counter()
        await in_flight(call, calls)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu * 1000 / calls, wall * 1000 / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clients", nargs="*", default=list(CLIENTS), metavar="client")
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/buckets/b/collections/c/records/r"
    stub = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
    stub.start()
    try:
        for name in args.clients:
            try:
                version = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                print(f"{name:10} is not installed")
                continue
            best = min(uvloop.run(measure(name, url, args.calls)) for _ in range(args.rounds))
            print(
                f"{name:10} {version:9} CPU {best[0]:.3f} s  wall {best[1]:.3f} s per 1,000 calls"
            )
    finally:
        stub.terminate()
        stub.join()


if __name__ == "__main__":
    main()
