"""Restate: its server from npm on this machine, and services of its Python SDK.

Runs are concurrent calls through its ingress, each answered when the run has ended; `/send` and a
later attach cost it two requests a run and were slower.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

from orchestrator.embedded.address import LOOPBACK, answers, free_port
from orchestrator.embedded.process import ChildSpec
from tests.bench.engine.place import Place, Wish
from tests.bench.peers import installed, names
from tests.bench.peers.peer import Bulk, Variant, all_of, check, flow_of, new_folder, up, worker_env

_APP = "tests.bench.peers.restate_worker:app"
HYPERCORN, GRANIAN = "hypercorn", "granian"
_FEW_PARTITIONS = 4  # its default is for a cluster that grows; the number cannot be changed later
GRANIAN_FEW_PARTITIONS = f"{GRANIAN}, {_FEW_PARTITIONS} partitions"
_AT_ONCE = 500  # calls; more only wait in the server
_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.05
# What its documents recommend for Hypercorn.
_HYPERCORN = (
    "h2_max_concurrent_streams = 2147483647", "keep_alive_max_requests = 2147483647",
    "keep_alive_timeout = 2147483647",
)  # fmt: skip
_SHOWN = {
    "partitions": ("default-num-partitions",),
    "replication": ("default-replication",),
    "log": ("bifrost", "default-provider"),
    "log_server_wal_disabled": ("log-server", "rocksdb-disable-wal"),
    "log_server_fsync_disabled": ("log-server", "rocksdb-disable-wal-fsync"),
    "invocations_at_once": ("worker", "invoker", "concurrent-invocations-limit"),
}


class Restate:
    """The peer."""

    system = "restate"
    durability = (
        "each journal entry in its log with one replica: RocksDB's write-ahead log, fsync on, many"
        " entries a sync; its tables are written behind"
    )
    most_runs: int | None = None

    def missing(self) -> str:
        """Its SDK, a server for that, and the server or npm to bring it."""
        absent = installed.missing_packages(["restate", "granian", "hypercorn"])
        if absent or installed.restate_server() is not None or installed.can_install_restate():
            return absent
        return (
            f"restate-server is not on the path, and no npm to bring {installed.RESTATE_PACKAGE}:"
            " install Node"
        )

    def version(self) -> str:
        """Of server and SDK."""
        shown = server_version()
        return f"{shown}, {installed.versions('restate-sdk')}"

    def prepare(self) -> None:
        """The server."""
        if installed.restate_server() is None:
            installed.install_restate()

    def variants(self, wish: Wish) -> Sequence[Variant]:
        """Hypercorn, which its documents show; Granian; Granian and a server of few partitions."""
        counts = sorted({1, wish.workers})
        return [
            Variant(way=way, workers=count)
            for way in (HYPERCORN, GRANIAN, GRANIAN_FEW_PARTITIONS)
            for count in counts
        ]

    def settings(self, place: Place) -> Mapping[str, Any]:
        """As the server itself says them."""
        done = subprocess.run(
            [program(), "--dump-config"], env=environment(place.folder / "restate", (0, 0, 0)),
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        found = tomllib.loads(done.stdout)
        return {name: _at(found, path) for name, path in _SHOWN.items()}

    @asynccontextmanager
    async def crew(self, place: Place, variant: Variant, runs: int) -> AsyncIterator[_Crew]:
        """Server and workers; the server keeps its data from round to round, and its ports."""
        few = variant.way == GRANIAN_FEW_PARTITIONS
        data = place.folder / ("restate-few" if few else "restate")
        folder, ports, served = new_folder(place, "r"), _ports(data), free_port()
        more = {"RESTATE_DEFAULT_NUM_PARTITIONS": str(_FEW_PARTITIONS)} if few else {}
        specs = (_workers(place, variant, folder, served), server_spec(data, ports, more))
        with up(specs, folder) as (workers, server):
            parts = {"workers": [workers.pid], "server": [server.pid]}
            connector = aiohttp.TCPConnector(limit=0)
            limits = aiohttp.ClientTimeout(total=None)
            async with aiohttp.ClientSession(connector=connector, timeout=limits) as session:
                await registered(session, ports[1], served)
                yield _Crew(place.wish, parts, session, ports[0])


class _Crew:
    def __init__(
        self, wish: Wish, parts: Mapping[str, Sequence[int]], session: aiohttp.ClientSession,
        ingress: int,
    ) -> None:  # fmt: skip
        self.parts = parts
        self._wish, self._session = wish, session
        self._url = f"http://{LOOPBACK}:{ingress}/{names.SERVICE}/{flow_of(wish)}"

    async def bulk(self, numbers: Sequence[int]) -> Bulk:
        return await all_of(numbers, self._call, self._wish, at_once=_AT_ONCE)

    async def warmed(self) -> None:
        """Nothing else is needed."""

    async def one(self, number: int) -> None:
        check([await self._call(number)], self._wish)

    async def _call(self, number: int) -> str:
        """How it ended: the words of its error, or nothing."""
        wish = {"number": number, "steps": self._wish.steps}
        async with self._session.post(self._url, json=wish) as answer:
            if answer.status < 300:
                await answer.read()
                return ""
            return str((await answer.json())["message"])


async def registered(session: aiohttp.ClientSession, admin: int, served: int) -> None:
    """The server has looked at the services, and calls reach it."""
    wish = {"uri": f"http://{LOOPBACK}:{served}", "force": True}
    async with asyncio.timeout(_WAIT_SECONDS):
        while not await _registers(session, admin, wish):  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(_POLL_SECONDS)


async def _registers(session: aiohttp.ClientSession, admin: int, wish: object) -> bool:
    try:
        async with session.post(f"http://{LOOPBACK}:{admin}/deployments", json=wish) as answer:
            return answer.status < 300
    except aiohttp.ClientError:
        return False


def _workers(place: Place, variant: Variant, folder: Path, port: int) -> ChildSpec:
    if variant.way == HYPERCORN:
        config = folder / "hypercorn.toml"
        lines = (f'bind = "{LOOPBACK}:{port}"', *_HYPERCORN, f"workers = {variant.workers}")
        config.write_text("\n".join(lines) + "\n")
        argv: tuple[str, ...] = ("hypercorn", "--config", str(config), "-k", "uvloop", _APP)
    else:
        argv = (
            *("granian", "--interface", "asginl", "--http", "2", "--no-ws", "--loop", "uvloop"),
            *("--host", LOOPBACK, "--port", str(port), "--workers", str(variant.workers)),
            *("--log-level", "warning", _APP),
        )
    return ChildSpec(
        name="services", argv=(sys.executable, "-m", *argv), address=f"{LOOPBACK}:{port}",
        env=worker_env(place), ready=lambda: answers(port),
    )  # fmt: skip


def server_spec(data: Path, ports: tuple[int, int, int], more: Mapping[str, str]) -> ChildSpec:
    """The server, with its data in this folder; `ports` of ingress, admin and node."""
    return ChildSpec(
        name="restate", argv=(program(), "--no-logo"), address=f"{LOOPBACK}:{ports[0]}",
        env={**environment(data, ports), **more}, ready_seconds=_WAIT_SECONDS,
        ready=lambda: answers(ports[0]) and answers(ports[1]),
    )  # fmt: skip


def environment(data: Path, ports: tuple[int, int, int]) -> dict[str, str]:
    """Its defaults on ports of our own; nothing is reported to anybody."""
    ingress, admin, node = (f"{LOOPBACK}:{port}" for port in ports)
    return {
        "RESTATE_BASE_DIR": str(data), "RESTATE_NODE_NAME": "bench",
        "RESTATE_LISTEN_MODE": "tcp", "RESTATE_BIND_ADDRESS": node,
        "RESTATE_INGRESS__BIND_ADDRESS": ingress, "RESTATE_ADMIN__BIND_ADDRESS": admin,
        "RESTATE_ADMIN__DISABLE_WEB_UI": "true", "RESTATE_LOG_FILTER": "warn",
        "RESTATE_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1",
    }  # fmt: skip


@cache
def _ports(data: Path) -> tuple[int, int, int]:
    """Ingress, admin and node of one call: what it keeps on disk names the last one."""
    return free_port(), free_port(), free_port()


def program() -> str:
    """Its path, where it has been brought."""
    found = installed.restate_server()
    assert found is not None
    return str(found)


@cache
def server_version() -> str:
    """As the server says it."""
    done = subprocess.run(
        [program(), "--version"], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip().splitlines()[0]


def _at(found: Mapping[str, Any], path: Sequence[str]) -> Any:
    for name in path[:-1]:
        found = found.get(name, {})
    return found.get(path[-1])
