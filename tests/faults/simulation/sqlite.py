"""The real SQL store in a simulation, on a file of SQLite, for faults that only SQL can have.

The store lives on an ordinary event loop in a thread of its own. The simulation stands still while
a call is under way there, so a call is one moment of virtual time, as in memory, and everything
repeats. The database's clock is the simulation's.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.ports import Store
from orchestrator.store import SqlStore, codec, migrate
from orchestrator.store import engine as sql_engine
from orchestrator.store.engine import Database, open_database
from orchestrator.testing.ids import moment
from orchestrator.testing.loop import VirtualLoop
from orchestrator.testing.memory.locks import MemoryLocks
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.faults.simulation.backing import Line
from tests.faults.simulation.weather import Weather, store_away

T = TypeVar("T")
LONGEST_CALL_SECONDS = 60.0


class SqliteBacking:
    """Implements Backing. Times of the store's own waits are real, and there are none."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._outside = _Outside()
        self._folder = tempfile.TemporaryDirectory(prefix="simulated-")
        path = Path(self._folder.name) / "orchestrator.db"
        shutil.copy(_template(), path)
        self._locks = MemoryDatabase(lambda: moment(loop.time()))  # only for its locks
        self._clock = sql_engine._microseconds
        sql_engine._microseconds = lambda: codec.micros(moment(loop.time()))
        self._database = _LossyDatabase(f"sqlite:///{path}")
        self._plain = self._made()

    def view(self, weather: Weather | None = None, loop: VirtualLoop | None = None) -> Store:
        """See Backing."""
        if weather is None or loop is None:
            return cast("Store", self._plain)
        return cast("Store", self._made(Line(weather, loop)))

    def lock(self) -> MemoryLocks:
        """See Backing."""
        return MemoryLocks(self._locks)

    def unsettled(self) -> int:
        """See Backing."""
        counts = self._outside.wait_for(self._plain.store.count_by_status())
        return sum(count for status, count in counts.items() if status not in SETTLED)

    def escalated(self) -> int:
        """See Backing."""
        counts = self._outside.wait_for(self._plain.store.count_by_status())
        return int(counts.get(RunStatus.ESCALATED, 0))

    def close(self) -> None:
        """See Backing."""
        self._outside.wait_for(self._database.database.close())
        self._outside.close()
        sql_engine._microseconds = self._clock
        self._folder.cleanup()

    def _made(self, line: Line | None = None) -> _View:
        return _View(SqlStore(self._database.database), self._outside, self._database, line)


class _Outside:
    """A real event loop in a thread, which is only ever busy while the simulation waits for it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sqlite", daemon=True)
        self._thread.start()

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result. Raises what it raises, TimeoutError after a minute."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LONGEST_CALL_SECONDS)

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LONGEST_CALL_SECONDS)
        self._loop.close()


class _LossyDatabase:
    """A database that loses the answer to a commit when it is told to."""

    def __init__(self, url: str) -> None:
        self.database: Database = open_database(url, pool_size=1)
        self.loses_answers = False
        for name in ("write", "write_rows"):
            setattr(self.database, name, self._lossy(getattr(self.database, name)))

    def _lossy(self, commit: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def committed(*args: Any, **kwargs: Any) -> Any:
            answer = await commit(*args, **kwargs)
            if self.loses_answers:
                raise store_away("the connection was lost after the commit")
            return answer

        return committed


class _View:
    """One process's way to the store: every method of `ports.Store`, through the weather."""

    def __init__(
        self, store: SqlStore, outside: _Outside, database: _LossyDatabase, line: Line | None
    ) -> None:
        self.store, self._outside, self._database, self._line = store, outside, database, line

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        work = getattr(self.store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._pass(name, work, args, kwargs)

        self.__dict__[name] = call
        return call

    async def _pass(
        self, name: str, work: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        line = self._line
        if line is None:
            return self._outside.wait_for(work(*args, **kwargs))
        await cast("Awaitable[None]", line("before", name))
        self._database.loses_answers = line.loses_answer()
        try:
            answer = self._outside.wait_for(work(*args, **kwargs))
        finally:
            lost, self._database.loses_answers = self._database.loses_answers, False
        await line.back(lost=lost)
        return answer


@lru_cache(maxsize=1)
def _template() -> Path:
    """An empty, migrated database, made once in this process."""
    path = Path(_folder().name) / "empty.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="simulated-")  # removed when the process ends
