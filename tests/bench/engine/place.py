"""The servers that both systems share, private to one call: broker, database, stub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
import redis

from orchestrator.settings import Settings, load_settings
from tests.bench.engine.steps import MODULE
from tests.bench.engine.stub import Stub
from tests.faults.chaos.broker import Broker
from tests.faults.chaos.postgres import Postgres
from tests.faults.ledger.running import api_config
from tests.faults.workload import API

ROOT = Path(__file__).parents[3]
CHAIN_DATABASE = 3
_SHOWN = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method",
    "commit_delay", "shared_buffers", "max_wal_size",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The options."""

    load: str = "noop"
    runs: int = 2000
    steps: int = 5
    workers: int = 2
    database: str = "postgres"  # or "sqlite"
    batch: int = 0  # runs accepted by one call; 0: all of them
    settings: Mapping[str, Any] = field(default_factory=dict)  # of our workers, beside defaults
    gated: bool = False  # the stub's API has limits, wide enough to make nothing wait
    count_keys: bool = False  # the stub knows what was asked for twice


@dataclass(frozen=True, kw_only=True)
class Place:
    """All of it, up; workers are not."""

    wish: Wish
    folder: Path
    broker: Broker
    postgres: Postgres | None
    stub: Stub | None
    own: Mapping[str, Any]  # settings of our workers that are not their defaults
    modules: tuple[str, ...] = (MODULE,)  # of tasks, which workers import

    @cached_property
    def settings(self) -> Settings:
        """Of our workers, and of the services that feed them."""
        return load_settings(**self.own, task_modules=(MODULE,))

    @property
    def env(self) -> Mapping[str, str]:
        """The same as the environment of workers."""
        return {**_as_environment(self.own, self.modules), "PYTHONPATH": str(ROOT)}

    @property
    def servers(self) -> dict[str, list[int]]:
        """Process ids by part."""
        database = [] if self.postgres is None else [self.postgres.child.pid]
        return {"broker": [self.broker.child.pid], "database": database}

    @property
    def chain_url(self) -> str:
        """The chain's database of the same broker."""
        return f"{self.broker.url.rpartition('/')[0]}/{CHAIN_DATABASE}"

    def on_database(self, url: str) -> Place:
        """The same with another database of the same server; without an address it is SQLite."""
        own = {**self.own, "database_url": url}
        if not url:
            own.pop("database_url")
        return replace(
            self,
            wish=replace(self.wish, database="postgres" if url else "sqlite"),
            postgres=self.postgres if url else None,
            own=own,
        )

    def with_wish(self, **changed: Any) -> Place:
        """The same for other options; the servers are what they are."""
        wish = replace(self.wish, **changed)
        return replace(self, wish=wish, own={**self.own, **wish.settings})

    def with_modules(self, *more: str) -> Place:
        """The same whose workers import these as well."""
        return replace(self, modules=(*self.modules, *more))

    def empty_broker(self) -> None:
        """Nothing of an earlier round is left there."""
        with redis.Redis.from_url(self.broker.url) as client:
            client.flushall()

    def described(self) -> dict[str, Any]:
        """What was not chosen here and matters: the servers' own settings."""
        with redis.Redis.from_url(self.broker.url) as client:
            server = {
                "version": client.info("server").get("valkey_version", "redis"),
                **client.config_get("append*"),
            }
        return {"db": self.wish.database, "database": self._database(), "broker": server}

    def _database(self) -> dict[str, str]:
        if self.postgres is None:
            return {"journal_mode": "wal", "synchronous": "as the store opens it"}
        with psycopg.connect(self.postgres.url) as link:
            rows = {name: link.execute(f"SHOW {name}").fetchone() for name in _SHOWN}
        return {name: str(row[0]) for name, row in rows.items() if row is not None}


@contextmanager
def set_up(wish: Wish, folder: Path, **settings: Any) -> Iterator[Place]:
    """Start the servers; end them on leaving. `folder` stays. `settings` are of our workers."""
    with ExitStack() as stack:
        logs = folder / "logs"
        logs.mkdir()
        broker = Broker(folder, log_path=logs / "valkey.log")
        stack.callback(broker.stop)
        postgres = _postgres(wish, folder, stack)
        stub = _stub(wish, folder, stack)
        own = {
            "state_dir": folder, "config_dir": folder / "config", "broker_url": broker.url,
            **({} if postgres is None else {"database_url": postgres.url}),
            **wish.settings, **settings,
        }  # fmt: skip
        _write_config(folder / "config", stub, wish)
        yield Place(wish=wish, folder=folder, broker=broker, postgres=postgres, stub=stub, own=own)


def _postgres(wish: Wish, folder: Path, stack: ExitStack) -> Postgres | None:
    if wish.database != "postgres":
        return None
    postgres = Postgres(folder, log_path=folder / "logs" / "postgres.log")
    stack.callback(postgres.stop)
    postgres.start()
    postgres.child.wait_ready()
    return postgres


WIDE_RATE = "20000/second"
WIDE_CONCURRENCY = 2000
_LATENCIES = {"io20": 0.02, "io200": 0.2, "inflight": 600.0}


def _stub(wish: Wish, folder: Path, stack: ExitStack) -> Stub | None:
    if wish.load not in _LATENCIES:
        return None
    latency = _LATENCIES[wish.load]
    return stack.enter_context(Stub(folder, latency_seconds=latency, count_keys=wish.count_keys))


def _write_config(folder: Path, stub: Stub | None, wish: Wish) -> None:
    apis = folder / "apis"
    apis.mkdir(parents=True)
    if stub is not None:
        slow = wish.load == "inflight"
        text = api_config(
            stub.address, token=False, connections=wish.runs if slow else 500,
            total_seconds=1200.0 if slow else 5.0,
            rate=WIDE_RATE if wish.gated else None,
            concurrency=WIDE_CONCURRENCY if wish.gated else None,
        )  # fmt: skip
        (apis / f"{API}.yaml").write_text(text)


def _as_environment(settings: Mapping[str, object], modules: tuple[str, ...]) -> dict[str, str]:
    own = {f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in settings.items()}
    return {**own, "ORCHESTRATOR_TASK_MODULES": json.dumps(modules)}
