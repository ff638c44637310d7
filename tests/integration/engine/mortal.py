"""A house whose worker dies at one of its writes: before it, or when it stands and nobody knows.

Whatever a worker tells the database goes through its store, by whichever task of its process; so
each of its calls that write is a place to die at, twice. The process is gone as a whole then: all
its tasks end where they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from orchestrator.store import SqlStore
from tests.integration.engine.house import House, Worker

WRITES = frozenset({
    "admit", "await_answers", "cancel_forsaken", "claim", "record", "request_cancel", "stop_map",
    "tell_map", "tell_parents",
})  # fmt: skip
"""Of a store, what changes something and is called by workers."""


class _Mortal:
    """A store, all but for what happens at the `nth` place."""

    def __init__(self, store: SqlStore, nth: int, died: asyncio.Event) -> None:
        self._store, self._nth, self._died = store, nth, died
        self._places = 0
        self.at = ""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._deadly(name, found) if name in WRITES else found

    def _deadly(
        self, name: str, call: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        async def wrapped(*given: Any, **more: Any) -> Any:
            await self._place(f"before {name}")
            answer = await call(*given, **more)
            await self._place(f"after {name}")
            return answer

        return wrapped

    async def _place(self, at: str) -> None:
        self._places += 1
        if self._places == self._nth:
            self.at = at
            self._died.set()
            await asyncio.Event().wait()  # what this process would do next it never does


class MortalHouse(House):
    """Its first worker dies at its `nth` place; `died_at` says where, if there was such a place."""

    def __init__(self, url: str, nth: int) -> None:
        super().__init__(url)
        self._died = asyncio.Event()
        self._mortal = _Mortal(self.store, nth, self._died)

    @property
    def died_at(self) -> str:
        """In words; empty: it lived."""
        return self._mortal.at

    async def worker(self) -> Worker:
        if self._worker is None:
            store = cast("SqlStore", self._mortal)
            self._worker = Worker(store, self.shop, self.broker, limits=self.limits)
            await self._worker.join()
        return self._worker

    async def work(self) -> None:
        while self.broker.hints:
            await self._mortally(super().work())

    async def sweep(self) -> None:
        await self._mortally(super().sweep())

    async def _mortally(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it, unless the worker dies of it."""
        if self._died.is_set():  # it has been buried, and dies only once
            await work
            return
        doing, death = asyncio.create_task(work), asyncio.create_task(self._died.wait())
        await asyncio.wait({doing, death}, return_when=asyncio.FIRST_COMPLETED)
        if not self._died.is_set():
            death.cancel()
            await doing
            return
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._worker is not None:
            self.bury(self._worker)
