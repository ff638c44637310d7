"""Wait for something to happen to runs: many who wait cost the database one statement at a time."""

from __future__ import annotations

import asyncio
from collections import Counter

from orchestrator.errors import OrchestratorError
from orchestrator.ports import Progress, RunStore

LOOK_SECONDS = 0.1


class RunWatch:
    """One loop looks for all who wait, while somebody does. Belongs to one event loop."""

    def __init__(self, store: RunStore, *, every_seconds: float = LOOK_SECONDS) -> None:
        self._store, self._every = store, every_seconds
        self._watched: Counter[str] = Counter()
        self._seen: dict[str, Progress] = {}
        self._looked = asyncio.Event()  # replaced at each look: who waits, waits for the next one
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
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while self._watched:
            try:
                self._seen = dict(await self._store.progress(list(self._watched)))
                self._failure = None
            except OrchestratorError as error:  # told to all who wait for it
                self._failure = error
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await asyncio.sleep(self._every)
