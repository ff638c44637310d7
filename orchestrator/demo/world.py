"""The outside world of the demo: a Kinto server in a process of its own, and the shop in it."""

from __future__ import annotations

import asyncio
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.demo.kinto import KintoClient
from orchestrator.demo.schemas import BUCKET, COLLECTIONS, ITEMS
from orchestrator.embedded.address import LOOPBACK, free_port
from orchestrator.embedded.process import Child, ChildSpec, stop_all
from orchestrator.errors import InvalidSetting, Problem, Unavailable

_STARTS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One entry of the server's own journal. `position` orders all changes strictly."""

    position: int
    action: str  # "create", "update" or "delete"
    collection: str
    record: str
    user: str  # opaque, the same for the same user


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldState:
    """What the server holds: live records by (collection, record id), and how they came about."""

    records: Mapping[tuple[str, str], Mapping[str, Any]]
    changes: tuple[Change, ...]  # oldest first


def start_kinto(log_path: Path) -> Child:
    """Start the server on a free loopback port; it listens when this returns.

    Its child's `spec.address` is the base URL. Raises Unavailable, InvalidSetting.
    """
    _require_packages()
    for attempt in range(1, _STARTS + 1):
        child = Child(_spec(free_port()), log_path)
        child.start()
        try:
            child.wait_ready()
        except Unavailable:
            stop_all([child])
            if attempt == _STARTS:
                raise
            continue  # the port may have been taken between looking and listening
        return child
    raise AssertionError("unreachable")


def _require_packages() -> None:
    missing = [name for name in ("kinto", "granian") if find_spec(name) is None]
    if missing:
        problem = Problem(
            place="Python packages",
            found=f"no {' and no '.join(missing)}",
            wanted="pip install 'saga-orchestrator[demo]'",
        )
        raise InvalidSetting("the demo's server cannot be started", problems=[problem])


def _spec(port: int) -> ChildSpec:
    """One worker with one thread: the memory backend lives in one process, and more threads only
    fight for its lock (8 threads: a third fewer requests a second)."""
    address = f"http://{LOOPBACK}:{port}/v1"
    options = {
        "interface": "wsgi",
        "host": LOOPBACK,
        "port": str(port),
        "workers": "1",
        "blocking-threads": "1",
        "log-level": "error",
    }
    return ChildSpec(
        name="kinto",
        argv=(
            *(sys.executable, "-W", "ignore", "-m", "granian"),
            *(f"--{name}={value}" for name, value in options.items()),
            *("--factory", "orchestrator.demo.kinto_app:build"),
        ),
        address=address,
        ready=lambda: _answers(address),
        ready_seconds=60.0,
        grace_seconds=5.0,
        # It has a worker process below it, which only an orderly end takes along.
        orphan_signal=signal.SIGTERM,
    )


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/", timeout=2) as answer:  # noqa: S310 - ours  # nosec B310
            return b'"kinto"' in answer.read()
    except (urllib.error.URLError, OSError):
        return False


async def open_shop(client: KintoClient) -> None:
    """Create bucket, collections with their schemas, and the catalogue. Repeatable."""
    bucket = {"permissions": {"write": ["system.Authenticated"]}}
    await client.expect({200, 201}, "PUT", f"/buckets/{BUCKET}", bucket)
    for name, schema in COLLECTIONS.items():
        path = f"/buckets/{BUCKET}/collections/{name}"
        await client.expect({200, 201}, "PUT", path, {"data": {"schema": schema}})
    for item, price_cents in ITEMS.items():
        body = {"data": {"price_cents": price_cents}}
        await client.expect({200, 201}, "PUT", record_path("items", item), body)


def record_path(collection: str, record: str) -> str:
    """Path of one record below the base URL."""
    return f"{records_path(collection)}/{record}"


def records_path(collection: str) -> str:
    """Path of a collection's records below the base URL."""
    return f"/buckets/{BUCKET}/collections/{collection}/records"


async def read_world(client: KintoClient) -> WorldState:
    """Read all records and the journal. Meaningful once nobody writes any more."""
    names = [name for name in COLLECTIONS if name != "items"]
    lists = await asyncio.gather(*(_records(client, name) for name in names))
    records = {key: record for part in lists for key, record in part.items()}
    return WorldState(records=records, changes=await _changes(client))


async def _records(client: KintoClient, collection: str) -> dict[tuple[str, str], Any]:
    listed = client.listed(records_path(collection))
    return {(collection, record["id"]): record async for record in listed}


async def _changes(client: KintoClient) -> tuple[Change, ...]:
    fields = "action,collection_id,record_id,user_id,last_modified"
    path = f"/buckets/{BUCKET}/history?resource_name=record&_fields={fields}"
    changes = [
        Change(
            position=entry["last_modified"],  # unique within the journal, and only ever grows
            action=entry["action"],
            collection=entry["collection_id"],
            record=entry["record_id"],
            user=entry["user_id"],
        )
        async for entry in client.listed(path)
        if entry["collection_id"] != "items"
    ]
    return tuple(sorted(changes, key=lambda change: change.position))
