"""Refuse new runs early, with a clear answer, while too many wait for a worker.

What waits is counted in the table and not at the broker, since messages may be lost or doubled. A
count looks at no more rows than the limit has, and only at runs that are waiting: finished ones
cost nothing. It is still not for every request: each process remembers its last count and what it
accepted since, and counts again after a second, or after fifty times as long as counting took, so
that this stays below 2 % of the database's time however large the backlog is. Several processes do
not know of each other until they count again. The limits are there to keep a deployment from
drowning, and need not be exact for that.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from orchestrator.errors import Overloaded, Problem
from orchestrator.ports import RunStore

COUNT_EVERY_SECONDS = 1.0
_PAUSE_FOR_EACH_SECOND_OF_COUNTING = 50.0


class Admission:
    """How many runs may wait for a worker, in all and of one tenant (None: as many)."""

    def __init__(
        self, store: RunStore, *, max_pending_runs: int, max_pending_runs_per_tenant: int | None
    ) -> None:
        self._store, self._most = store, max_pending_runs
        self._most_of_tenant = max_pending_runs_per_tenant
        self._waiting: Counter[str] = Counter()  # by tenant
        self._count_again_at = 0.0  # on the loop's clock
        self._counting = asyncio.Lock()

    @asynccontextmanager
    async def room_for(self, wanted: Mapping[str, int]) -> AsyncIterator[None]:
        """Let so many new runs of each tenant in, or none of them; given back when they fail.

        Raises Overloaded with the seconds after which the answer may be another; Unavailable.
        """
        await self._admit(wanted)
        self._waiting.update(wanted)
        try:
            yield
        except BaseException:
            self._waiting.subtract(wanted)
            raise

    async def _admit(self, wanted: Mapping[str, int]) -> None:
        async with self._counting:
            if asyncio.get_running_loop().time() >= self._count_again_at:
                await self._count()
        self._check("max_pending_runs", self._waiting.total(), sum(wanted.values()), self._most)
        if self._most_of_tenant is not None:
            for tenant, more in wanted.items():
                self._check(
                    f"max_pending_runs_per_tenant of tenant {tenant!r}",
                    self._waiting[tenant], more, self._most_of_tenant,
                )  # fmt: skip

    async def _count(self) -> None:
        time = asyncio.get_running_loop().time
        before = time()
        self._waiting = Counter(await self._store.backlog(self._most))
        pause = (time() - before) * _PAUSE_FOR_EACH_SECOND_OF_COUNTING
        self._count_again_at = time() + max(COUNT_EVERY_SECONDS, pause)

    def _check(self, setting: str, waiting: int, more: int, most: int) -> None:
        if waiting + more <= most:
            return
        problem = Problem(
            place=f"setting {setting}",
            found=f"{waiting} runs that wait for a worker, and {more} more",
            wanted=f"at most {most}",
        )
        left = self._count_again_at - asyncio.get_running_loop().time()
        raise Overloaded(
            "too many runs are waiting; nothing was accepted",
            problems=[problem], retry_after_seconds=max(left, 0.1),
        )  # fmt: skip
