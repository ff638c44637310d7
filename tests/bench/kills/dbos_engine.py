"""DBOS: executors on PostgreSQL, which dies; each takes its own runs up when it starts again."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.embedded.process import ChildSpec
from tests.bench.kills.engine import Mortal, Stage
from tests.bench.kills.judging import Ending
from tests.bench.kills.work import FLOW
from tests.bench.peers import installed, names
from tests.bench.peers.peer import said, up

if TYPE_CHECKING:
    from dbos import DBOSClient

_MODULE = "tests.bench.kills.dbos_worker"
_DATABASE = "dbos"
_UNDER_WAY = ("PENDING", "ENQUEUED", "DELAYED")


class Dbos:
    """The peer."""

    system = "dbos"
    promise = "a step is tried at least once, and never again once its result is recorded"
    set_up = (
        "an id for each executor, which takes its own runs up when it starts again (as its"
        " documents say without Conductor, which is a service elsewhere); queue polled every 0.1 s;"
        " the PostgreSQL dies"
    )

    def missing(self) -> str:
        """Its package."""
        return installed.missing_packages(["dbos"])

    def version(self) -> str:
        """Of the library."""
        return installed.versions("dbos")

    def prepare(self) -> None:
        """A package brings all of it."""

    @asynccontextmanager
    async def crew(self, stage: Stage) -> AsyncIterator[_Crew]:
        """Its workers; the first one makes the tables."""
        from dbos import DBOSClient

        postgres = stage.place.postgres
        assert postgres is not None
        url, logs = f"{postgres.url.rpartition('/')[0]}/{_DATABASE}", stage.place.folder / "logs"
        specs = [_spec(stage, logs, url, f"w{n}") for n in range(1, stage.workers + 1)]
        with up(specs, logs) as workers:
            client = DBOSClient(system_database_url=url)
            mortals = [Mortal(child=child) for child in workers]
            server = Mortal(child=postgres.child, signal=signal.SIGQUIT)
            try:
                yield _Crew(client, mortals, [server])
            finally:
                client.destroy()


def _spec(stage: Stage, logs: Path, url: str, name: str) -> ChildSpec:
    own = {names.DBOS_URL: url, names.DBOS_NAME: name}
    return ChildSpec(
        name=name, argv=(sys.executable, "-m", _MODULE), env={**stage.env, **own},
        ready=lambda: said(logs / f"{name}.log", "ready"),
    )  # fmt: skip


class _Crew:
    def __init__(
        self, client: DBOSClient, workers: Sequence[Mortal], servers: Sequence[Mortal]
    ) -> None:
        self._client, self.workers, self.servers = client, workers, servers

    async def submit(self, run: str) -> None:
        await asyncio.to_thread(self._enqueue, run)

    def _enqueue(self, run: str) -> None:
        self._client.enqueue(
            {
                "queue_name": names.QUEUE, "workflow_name": FLOW, "workflow_id": run,
                "application_name": names.APPLICATION,
            },
            run,
        )  # fmt: skip

    async def endings(self, runs: Sequence[str]) -> Mapping[str, Ending]:
        found = await asyncio.to_thread(self._client.list_workflows, load_input=False)
        return {one.workflow_id: _ending(one.status, one.error) for one in found}


def _ending(status: str, error: BaseException | None) -> Ending:
    if status in _UNDER_WAY:
        return Ending.OPEN
    if status == "SUCCESS":
        return Ending.SUCCEEDED
    undone = status == "ERROR" and names.REFUSED in str(error)
    return Ending.UNDONE if undone else Ending.FAILED
