"""Waits until all runs of the demo have settled, and reads them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.demo.progress import Ended, LiveProgress
from orchestrator.ports import RunFilter, RunRecord
from orchestrator.service.runs import Runs

STALL_SECONDS = 90.0
"""Without any run settling for this long, what has not settled counts as lost."""

_POLL_SECONDS = 0.2
_PAGE = 1000
_CLOCKS_DIFFER = timedelta(hours=1)  # at most; runs are counted by the times of their ids
_LATEST = 8
_TURNED_BACK = frozenset({RunStatus.COMPENSATED, RunStatus.ESCALATED})


class Watcher:
    """The runs of one tenant, `expected` of them."""

    def __init__(
        self,
        runs: Runs,
        *,
        tenant: str,
        expected: int,
        progress: LiveProgress,
        keep_alive: Callable[[], None],
    ) -> None:
        """`keep_alive` is called every 0.2 s: it watches the processes, or raises to end it all."""
        self._runs, self._tenant, self._expected = runs, tenant, expected
        self._progress, self._keep_alive = progress, keep_alive
        self._earlier: Mapping[RunStatus, int] = {}
        self._since: datetime | None = None
        self._shown: set[str] = set()

    async def begin(self) -> None:
        """Note what earlier demos have left in the same database."""
        self._since = await self._runs.now() - _CLOCKS_DIFFER
        self._earlier = await self._runs.count_by_status(since=self._since)

    async def settled(self) -> dict[str, RunRecord]:
        """All runs by order id, once each has settled or nothing has for STALL_SECONDS."""
        best, moved_at = -1, time.monotonic()
        while time.monotonic() - moved_at < STALL_SECONDS:
            self._keep_alive()
            settled = await self._look()
            if settled >= self._expected:
                runs = await self.read()
                if all(run.status in SETTLED for run in runs.values()):
                    return runs
            if settled > best:
                best, moved_at = settled, time.monotonic()
            await asyncio.sleep(_POLL_SECONDS)
        return await self.read()

    async def read(self) -> dict[str, RunRecord]:
        """All runs by order id, as they are now."""
        found: dict[str, RunRecord] = {}
        before: str | None = None
        while True:
            page = await self._runs.list(RunFilter(tenant=self._tenant, before=before, limit=_PAGE))
            found |= {run.idempotency_key: run for run in page}
            if len(page) < _PAGE:
                return found
            before = page[-1].id

    async def _look(self) -> int:
        """Show where the runs stand; how many have settled."""
        now = await self._runs.count_by_status(since=self._since)
        counts = {status: number - self._earlier.get(status, 0) for status, number in now.items()}
        which = RunFilter(tenant=self._tenant, status=_TURNED_BACK, limit=_LATEST)
        for run in reversed(await self._runs.list(which)):
            if run.id not in self._shown:
                self._shown.add(run.id)
                self._progress.ended(
                    Ended(order_id=run.idempotency_key, status=run.status, cause=run.cause)
                )
        self._progress.update(counts)
        return sum(number for status, number in counts.items() if status in SETTLED)
