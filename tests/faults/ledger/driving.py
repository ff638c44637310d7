"""Calls a ledger in either of its forms as an engine does, for its own tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.states import Direction
from orchestrator.engine.apis import load_apis
from orchestrator.engine.http import HttpTransport
from orchestrator.errors import InDoubt
from orchestrator.ports import AttemptContext, Transport
from tests.faults.ledger.desk import Desk, Settings
from tests.faults.ledger.faults import Fate
from tests.faults.ledger.limits import Limit
from tests.faults.ledger.records import Records, Request
from tests.faults.ledger.running import LedgerProcess
from tests.faults.ledger.writing import MemoryWriter
from tests.faults.workload import API, KEY_HEADER

TOKEN = "let-me-in"
CONTEXT = AttemptContext(
    run_id="r", step_id="s1", attempt=1, direction=Direction.FORWARD, tenant="t"
)


class Steering(Protocol):
    """What both kinds of ledger can be told and asked."""

    def will(self, run: str, step: str, direction: str, *fates: Fate, question: bool) -> None: ...

    def limits(self, *limits: Limit) -> None: ...

    def statistics(self) -> dict[str, Any]: ...

    def records(self) -> Records: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """One of the two, with a caller."""

    steering: Steering
    transport: Transport

    async def send(
        self, method: str, target: str, *, key: str | None = None, body: bytes = b"",
        patience: float = 5.0,
    ) -> Response:  # fmt: skip
        """One request, as an engine sends it. Raises InDoubt."""
        headers = () if key is None else ((KEY_HEADER, key),)
        request = FrozenRequest(method=method, target=target, headers=headers, body=body)
        return await self.transport.send(API, request, CONTEXT, timeout_seconds=patience)

    async def status(self, method: str, target: str, **more: Any) -> int | None:
        """Of the answer; None when there was no whole one."""
        try:
            return (await self.send(method, target, **more)).status
        except InDoubt:
            return None

    def will(self, run: str, *fates: Fate, direction: str = "do", question: bool = False) -> None:
        """Decide about step s1."""
        self.steering.will(run, "s1", direction, *fates, question=question)

    async def quiet(self) -> None:
        """Wait until nothing is under way."""
        await until(lambda: not self._under_way())

    async def arrived(self, run: str) -> None:
        """Wait until a request of this run has come in."""
        await until(lambda: bool(self.requests(run)))

    def requests(self, run: str) -> list[Request]:
        """Of one run."""
        return [request for request in self.steering.records().requests if request.run == run]

    def effects(self, run: str) -> list[str]:
        """Of one run, as "s1 do"."""
        found = [effect for effect in self.steering.records().effects if effect.run == run]
        return [f"{effect.step} {effect.direction}" for effect in found]

    def _under_way(self) -> int:
        counts = self.steering.statistics()
        return int(counts["in_flight"]) + int(counts["to_come"])


class InProcess:
    """Implements Steering for a desk of this process."""

    def __init__(self) -> None:
        self.writer = MemoryWriter()
        self.desk = Desk(self.writer, time.time, settings=Settings(token=TOKEN))

    def will(self, run: str, step: str, direction: str, *fates: Fate, question: bool) -> None:
        self.desk.faults.will(run, step, direction, *fates, question=question)

    def limits(self, *limits: Limit) -> None:
        self.desk.limits.replace(limits)

    def statistics(self) -> dict[str, Any]:
        return self.desk.statistics()

    def records(self) -> Records:
        return self.writer.records()


def http_transport(process: LedgerProcess, folder: Path) -> HttpTransport:
    """The engine's own, configured as workers are."""
    (folder / "ledger.yaml").write_text(process.config())
    return HttpTransport(load_apis(folder))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that takes no more than ten seconds."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within ten seconds")
