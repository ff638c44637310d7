"""Temporal: its development server with a file, which dies, and workers. For orientation."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from orchestrator.embedded.address import LOOPBACK, free_port
from orchestrator.embedded.process import ChildSpec
from tests.bench.kills.engine import Mortal, Stage
from tests.bench.kills.judging import Ending
from tests.bench.kills.work import FLOW
from tests.bench.peers import names
from tests.bench.peers.peer import said, up
from tests.bench.peers.temporal_peer import Temporal as Peer
from tests.bench.peers.temporal_peer import connected, server_spec

if TYPE_CHECKING:
    from temporalio.client import Client

_MODULE = "tests.bench.kills.temporal_worker"


class Temporal:
    """The peer."""

    system = Peer.system
    promise = "an activity is tried at least once (by default until it succeeds)"
    set_up = (
        "development server with a file (nobody runs it in production); activities may take 3 s,"
        " which is how a lost worker is noticed; the server dies"
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
        """Server and workers."""
        logs, port = stage.place.folder / "logs", free_port()
        server = server_spec(port, file=stage.place.folder / "temporal.db")
        workers = [_worker(stage, port, f"w{n}") for n in range(1, stage.workers + 1)]
        with up([server, *workers], logs) as (first, *crew):
            mortals = [Mortal(child=child) for child in crew]
            yield _Crew(await connected(port), mortals, [Mortal(child=first)])


def _worker(stage: Stage, port: int, name: str) -> ChildSpec:
    log = stage.place.folder / "logs" / f"{name}.log"
    return ChildSpec(
        name=name, argv=(sys.executable, "-m", _MODULE, f"{LOOPBACK}:{port}"), env=stage.env,
        ready=lambda: said(log, "ready"),
    )  # fmt: skip


class _Crew:
    def __init__(
        self, client: Client, workers: Sequence[Mortal], servers: Sequence[Mortal]
    ) -> None:
        self._client, self.workers, self.servers = client, workers, servers

    async def submit(self, run: str) -> None:
        from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
        from temporalio.exceptions import WorkflowAlreadyStartedError

        try:
            await self._client.start_workflow(
                FLOW, run, id=run, task_queue=names.QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )  # fmt: skip
        except WorkflowAlreadyStartedError:
            return  # its first answer was lost, and it has ended since

    async def endings(self, runs: Sequence[str]) -> Mapping[str, Ending]:
        return {run: await self._ending(run) for run in runs}

    async def _ending(self, run: str) -> Ending:
        from temporalio.client import WorkflowExecutionStatus as Status
        from temporalio.client import WorkflowFailureError

        handle = self._client.get_workflow_handle(run)
        match (await handle.describe()).status:
            case Status.RUNNING:
                return Ending.OPEN
            case Status.COMPLETED:
                return Ending.SUCCEEDED
        try:
            await handle.result()
        except WorkflowFailureError as error:
            return Ending.UNDONE if names.REFUSED in str(error.cause) else Ending.FAILED
        return Ending.FAILED
