"""Wait for something to happen to runs: many who wait cost the database one statement at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Protocol

from orchestrator.errors import OrchestratorError
from orchestrator.ports import Progress

LOOK_SECONDS = 0.1
SOONEST_SECONDS = 0.005
"""Whoever has just begun to wait is looked for so soon, then ever less often: most runs take some
milliseconds, and those that take seconds do not need it to the millisecond."""
SHARE = 0.25
"""A pause is this part of how long the latest one has waited, within these bounds."""
REST = 1.0
"""A pause is so many times as long as the look before it took: half of a connection at most."""


class ProgressStore(Protocol):
    """Where it is looked."""

    async def progress(self, run_ids: Collection[str]) -> Mapping[str, Progress]:
        """See RunStore."""


class RunWatch:
    """One loop looks for all who wait, while somebody does. Belongs to one event loop."""

    def __init__(self, store: ProgressStore, *, every_seconds: float = LOOK_SECONDS) -> None:
        self._store, self._every = store, every_seconds
        self._watched: Counter[str] = Counter()
        self._seen: dict[str, Progress] = {}
        self._looked = asyncio.Event()  # replaced at each look: who waits, waits for the next one
        self._came = asyncio.Event()  # set when somebody begins to wait
        self._latest = 0.0  # when the latest one did, on the loop's clock
        self._failure: OrchestratorError | None = None
        self._looking: asyncio.Task[None] | None = None

    async def changed(self, run_id: str, *, after: int, seconds: float) -> Progress | None:
        """The run's progress once it has an audit record above `after`; None when time is over.

        `after` counts as audit_seq does. Raises Unavailable. An unknown run never changes.
        """
        self._watched[run_id] += 1
        self._look_on()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    looked = self._looked
                    await looked.wait()
                    if self._failure is not None:
                        raise self._failure
                    found = self._seen.get(run_id)
                    if found is not None and found.audit_seq > after:
                        return found
        except TimeoutError:
            return None
        finally:
            self._watched[run_id] -= 1
            if not self._watched[run_id]:
                del self._watched[run_id]

    def _look_on(self) -> None:
        self._latest = asyncio.get_running_loop().time()
        self._came.set()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        time = asyncio.get_running_loop().time
        while self._watched:
            self._came.clear()
            began = time()
            try:
                self._seen = dict(await self._store.progress(list(self._watched)))
                self._failure = None
            except OrchestratorError as error:  # told to all who wait for it
                self._failure = error
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await self._pause(time() - began)

    async def _pause(self, took: float) -> None:
        """Shorter where somebody has come just now, or comes meanwhile."""
        time = asyncio.get_running_loop().time
        least = max(SOONEST_SECONDS, REST * took)
        await asyncio.sleep(least)
        left = min(self._every, SHARE * (time() - self._latest)) - least
        if left > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._came.wait()
