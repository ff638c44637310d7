"""Restate: its server, which dies, and one service process, which all of its calls go to."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp

from orchestrator.embedded.address import LOOPBACK, answers, free_port
from orchestrator.embedded.process import ChildSpec
from tests.bench.kills.engine import Mortal, Stage
from tests.bench.kills.judging import Ending
from tests.bench.kills.work import FLOW
from tests.bench.peers import names
from tests.bench.peers.peer import up
from tests.bench.peers.restate_peer import Restate as Peer
from tests.bench.peers.restate_peer import registered, server_spec

_APP = "tests.bench.kills.restate_worker:app"
_SECONDS = 10.0  # for one request of this bench
_QUESTION = (
    "SELECT idempotency_key, status, completion_result, completion_failure FROM sys_invocation"
)


class Restate:
    """The peer."""

    system = Peer.system
    promise = "an action (`ctx.run`) is tried at least once, and never again once it is journalled"
    set_up = (
        "server with defaults, its service in one process (Granian, HTTP/2: all of its calls go"
        " over one connection), which is what is killed; the server dies"
    )

    def missing(self) -> str:
        """As for `bench peers`."""
        return Peer().missing()

    def version(self) -> str:
        """As for `bench peers`."""
        return Peer().version()

    def prepare(self) -> None:
        """As for `bench peers`. Raises Unavailable."""
        Peer().prepare()

    @asynccontextmanager
    async def crew(self, stage: Stage) -> AsyncIterator[_Crew]:
        """Server and service, which know each other."""
        folder, served = stage.place.folder, free_port()
        ports = (free_port(), free_port(), free_port())
        specs = (_service(stage, served), server_spec(folder / "restate", ports, {}))
        limits = aiohttp.ClientTimeout(total=_SECONDS)
        with up(specs, folder / "logs") as (service, server):
            async with aiohttp.ClientSession(timeout=limits) as session:
                await registered(session, ports[1], served)
                yield _Crew(session, ports, [Mortal(child=service)], [Mortal(child=server)])


def _service(stage: Stage, port: int) -> ChildSpec:
    argv = (
        *("granian", "--interface", "asginl", "--http", "2", "--no-ws", "--loop", "uvloop"),
        *("--host", LOOPBACK, "--port", str(port), "--log-level", "warning", _APP),
    )
    return ChildSpec(
        name="service", argv=(sys.executable, "-m", *argv), address=f"{LOOPBACK}:{port}",
        env=stage.env, ready=lambda: answers(port),
    )  # fmt: skip


class _Crew:
    def __init__(
        self, session: aiohttp.ClientSession, ports: tuple[int, int, int],
        workers: Sequence[Mortal], servers: Sequence[Mortal],
    ) -> None:  # fmt: skip
        self.workers, self.servers = workers, servers
        self._session = session
        self._send = f"http://{LOOPBACK}:{ports[0]}/{names.SERVICE}/{FLOW}/send"
        self._query = f"http://{LOOPBACK}:{ports[1]}/query"

    async def submit(self, run: str) -> None:
        headers = {"Idempotency-Key": run}
        async with self._session.post(self._send, json=run, headers=headers) as answer:
            if answer.status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
                raise RuntimeError(f"{run}: {answer.status} {await answer.text()}")

    async def endings(self, runs: Sequence[str]) -> Mapping[str, Ending]:
        headers = {"Accept": "application/json"}
        async with self._session.post(
            self._query, json={"query": _QUESTION}, headers=headers
        ) as answer:
            answer.raise_for_status()
            rows = (await answer.json())["rows"]
        return {row["idempotency_key"]: _ending(row) for row in rows}


def _ending(row: Mapping[str, str | None]) -> Ending:
    if row["status"] != "completed":
        return Ending.OPEN
    if row.get("completion_result") == "success":
        return Ending.SUCCEEDED
    undone = names.REFUSED in str(row.get("completion_failure"))
    return Ending.UNDONE if undone else Ending.FAILED
