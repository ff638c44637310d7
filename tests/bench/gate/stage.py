"""Servers for the whole bench, and for each phase workers, tables and limits that begin anew."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from orchestrator.core.states import RunStatus
from orchestrator.embedded.postgres import create_database
from orchestrator.engine.apis import load_apis
from orchestrator.store import migrate, open_store
from orchestrator.store.tables import runs as runs_table
from tests.bench.engine import ours
from tests.bench.engine.ours import Crew
from tests.bench.engine.place import Place, Wish
from tests.bench.gate import flows
from tests.bench.gate.flows import Wanted
from tests.bench.gate.steering import ApiProcess
from tests.faults.chaos.broker import Broker
from tests.faults.chaos.bystander import moment
from tests.faults.chaos.postgres import Postgres

GATE_DATABASE = 1
POLL_SECONDS = 0.05
_SCRIPTS = ("evalsha", "eval", "fcall")
_OPEN = {RunStatus.PENDING, RunStatus.RUNNING, RunStatus.COMPENSATING, RunStatus.WAITING,
         RunStatus.PARKED, RunStatus.PAUSED}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options."""

    seconds: float = 30.0
    workers: tuple[int, ...] = (1, 2, 4)
    runs: int = 10_000
    database: str = "postgres"  # or "sqlite"

    @property
    def usual_workers(self) -> int:
        """Of phases that do not go through all numbers: the first from two on, else the last."""
        return next((count for count in self.workers if count >= 2), self.workers[-1])


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run stands when it is looked at."""

    name: str
    tenant: str
    status: str
    seconds: float | None  # from its acceptance to its end; None: it has not ended


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One phase's workers and tables, and the APIs that they call."""

    crew: Crew
    gate: redis.Redis

    async def submit(self, wanted: Sequence[Wanted]) -> None:
        """Accept all of them."""
        await self.crew.services.submitter.submit([one.submission for one in wanted])

    def scripts(self) -> int:
        """Scripts that the gate's server has evaluated: each is one round trip of some worker.

        That server serves nobody else; what scripts call inside is counted under other names.
        """
        commands: Mapping[str, Any] = self.gate.info("commandstats")
        return sum(int(commands.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in _SCRIPTS)

    def allowances(self, api: str) -> list[int]:
        """Slots that each living worker may fill, as the gate's server has them."""
        seconds, microseconds = self.gate.time()
        holders = self.gate.hvals(f"orchestrator:gate:{api}:holders")
        fields = [[int(part) for part in value.split()] for value in holders]
        now = seconds * 1_000_000 + microseconds
        return sorted(allowance for allowance, _, expires, _ in fields if expires > now)

    def runs(self) -> list[Ended]:
        """All of this phase."""
        table = runs_table.c
        columns = (table.idempotency_key, table.tenant, table.status, table.created_at,
                   table.settled_at)  # fmt: skip
        with self.read() as link:
            rows: Sequence[Any] = link.execute(select(*columns)).all()
        return [
            Ended(
                name=name, tenant=tenant, status=status,
                seconds=None if ended is None else moment(ended) - moment(begun),
            )
            for name, tenant, status, begun, ended in rows
        ]  # fmt: skip

    def in_hands(self, api: str) -> int:
        """Runs over this API that workers keep in memory now."""
        with self.read() as link:
            mine = runs_table.c.workflow.like(f"{api}-%") & runs_table.c.owner.is_not(None)
            return int(link.execute(select(func.count()).where(mine)).scalar_one())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to the tables."""
        with ours.kept_open(self.crew.place) as link:
            yield link


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What stays up from phase to phase."""

    asked: Asked
    folder: Path
    broker: Broker
    gate: Broker  # a server of its own, so that its counters are the gate's
    postgres: Postgres | None
    _numbers: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def scene(
        self, apis: Mapping[ApiProcess, Mapping[str, Any]], *, workers: int, **settings: Any
    ) -> AsyncIterator[Scene]:
        """New tables, workflows published, workers up. `apis`: what config/apis/*.yaml says of each
        beside its address. Raises Unavailable, TimeoutError, InvalidSetting."""
        self._numbers.append(len(self._numbers) + 1)
        folder = self.folder / f"scene-{self._numbers[-1]}"
        (folder / "apis").mkdir(parents=True)
        for api, more in apis.items():
            write_config(folder / "apis", api, more)
        load_apis(folder / "apis")  # what is not valid is said here, not by each worker
        for server in (self.broker, self.gate):
            with redis.Redis.from_url(server.url) as client:
                client.flushall()
        place = self._place(folder, workers, settings)
        await _publish(place, [api.name for api in apis])
        async with ours.workers(place) as crew:
            with redis.Redis.from_url(self._gate_url, decode_responses=True) as client:
                yield Scene(crew=crew, gate=client)

    @property
    def _gate_url(self) -> str:
        return f"{self.gate.url.rpartition('/')[0]}/{GATE_DATABASE}"

    def _place(self, folder: Path, workers: int, settings: Mapping[str, Any]) -> Place:
        own = {
            "state_dir": folder, "config_dir": folder, "broker_url": self.broker.url,
            "gate_url": self._gate_url, **settings,
        }  # fmt: skip
        if self.postgres is not None:
            own["database_url"] = create_database(self.postgres.url, folder.name.replace("-", "_"))
        return Place(
            wish=Wish(workers=workers, database=self.asked.database), folder=folder,
            broker=self.broker, postgres=self.postgres, stub=None, own=own,
        )  # fmt: skip


@contextmanager
def set_up(asked: Asked, folder: Path) -> Iterator[Stage]:
    """Start the servers; end them on leaving. `folder` stays."""
    with ExitStack() as stack:
        (folder / "gate").mkdir()
        (folder / "logs").mkdir()
        servers = []
        for name, where in (("valkey", folder), ("gate", folder / "gate")):
            server = Broker(where, log_path=folder / "logs" / f"{name}.log")
            stack.callback(server.stop)
            servers.append(server)
        postgres = None
        if asked.database == "postgres":
            postgres = Postgres(folder, log_path=folder / "logs" / "postgres.log")
            stack.callback(postgres.stop)
            postgres.start()
            postgres.child.wait_ready()
        yield Stage(
            asked=asked, folder=folder, broker=servers[0], gate=servers[1], postgres=postgres
        )


def write_config(folder: Path, api: ApiProcess, more: Mapping[str, Any]) -> None:
    """config/apis/<name>.yaml; JSON is YAML."""
    text = {
        "api": api.name, "base_url": api.address, "allow_private_addresses": True,
        "connections": 200, "timeouts": {"connect": 2, "read": 5, "total": 5}, **more,
    }  # fmt: skip
    (folder / f"{api.name}.yaml").write_text(json.dumps(text, indent=1))


def failed(wanted: Sequence[Wanted], found: Sequence[Ended]) -> dict[str, int]:
    """By status: runs that have ended, or stand with a person, otherwise than they had to."""
    endings = {one.name: one.ending for one in wanted}
    over = (one for one in found if one.status not in _OPEN)
    return dict(Counter(one.status for one in over if one.status != endings[one.name]))


async def until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Whether it came true within this time; it may block."""
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        if time.monotonic() > end:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


async def _publish(place: Place, apis: Sequence[str]) -> None:
    await migrate(place.settings.database)
    store = open_store(place.settings.database, pool_size=1)
    try:
        for api in apis:
            for flow in flows.flows(api):
                await store.publish(flows.plan(api, flow), document="bench", by="bench")
    finally:
        await store.close()
