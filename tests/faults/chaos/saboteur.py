"""Does what the schedule says, notes when, and makes everything whole again.

One thread does all of it, since children must be started from a thread that outlives them; what
blocks for long (locks, dead servers) waits in tasks and threads of its own.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.embedded.process import Child
from tests.faults.chaos.broker import UNREACHED
from tests.faults.chaos.schedule import Kind, Planned
from tests.faults.chaos.stage import Stage

READY_SECONDS = 30.0


@dataclass(kw_only=True)
class Happened:
    """A fault as it was. Times in seconds: `began` and `ended` of this process's monotonic clock
    since the first fault could come, `database_time` UNIX seconds by the database's clock."""

    planned: Planned
    began: float
    ended: float | None = None
    said: str = ""
    database_time: float | None = None  # kills: just before
    worker: str | None = None  # kills: the id of the dead one
    held: tuple[str, ...] = ()  # kills: runs in its hands
    skipped: bool = False


@dataclass(kw_only=True)
class Saboteur:
    """One fault window."""

    stage: Stage
    say: Callable[[str], None]
    began_at: float = field(default_factory=time.monotonic)
    happened: list[Happened] = field(default_factory=list)
    _lasting: set[asyncio.Task[None]] = field(default_factory=set)
    _database_busy: bool = False
    _broker_busy: bool = False
    _api_ill: bool = False

    @property
    def seconds(self) -> float:
        """Since the first fault could come."""
        return time.monotonic() - self.began_at

    async def play(self, planned: Sequence[Planned]) -> None:
        """All of them in time; those that last go on beside. Returns with the last one's end."""
        for fault in planned:
            await asyncio.sleep(max(0.0, self.began_at + fault.at - time.monotonic()))
            happened = Happened(planned=fault, began=self.seconds)
            self.happened.append(happened)
            task = asyncio.create_task(self._do(happened))
            self._lasting.add(task)
            task.add_done_callback(self._lasting.discard)
        await asyncio.gather(*self._lasting)

    async def heal(self) -> None:
        """Whatever was under way is undone: nobody is frozen, every server is up."""
        for task in list(self._lasting):
            task.cancel()
        await asyncio.gather(*self._lasting, return_exceptions=True)
        for worker in self.stage.supervisor.workers:
            worker.signal(signal.SIGCONT)
        self.stage.broker.mend()
        for child in self.stage.broker.children:
            await self._up(child)
        if self.stage.postgres is not None:
            await self._up(self.stage.postgres.child)
        await asyncio.to_thread(self.stage.broker.drain)

    async def _do(self, happened: Happened) -> None:
        act = _ACTS[happened.planned.kind]
        try:
            happened.said = await act(self, happened)
        except (*UNREACHED, psycopg.Error, SQLAlchemyError, _Busy) as error:
            happened.skipped, happened.said = True, f"not possible now: {str(error)[:80]}"
        finally:
            happened.ended = self.seconds
            self._tell(happened)

    # --- workers ----------------------------------------------------------------------------------

    async def _kill(self, happened: Happened) -> str:
        child = await self._worker(happened)
        return await kill_worker(self.stage, child, happened)

    async def _freeze(self, happened: Happened) -> str:
        child = await self._worker(happened)
        child.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(happened.planned.lasts)
        finally:
            child.signal(signal.SIGCONT)
        return f"{child.spec.name} for {happened.planned.lasts:g} s"

    async def _worker(self, happened: Happened) -> Child:
        """The one that was planned, or the next one that is at work."""
        workers = self.stage.supervisor.workers
        first = happened.planned.worker
        in_turn = [child for child in (*workers[first:], *workers[:first]) if child.running]
        with suppress(SQLAlchemyError):  # away: then it is any that runs
            living = await asyncio.to_thread(self.stage.tables.living)
            in_turn = [child for child in in_turn if child.pid in living]
        if not in_turn:
            raise _Busy("all are being started again")
        return in_turn[0]

    # --- broker -----------------------------------------------------------------------------------

    async def _flush(self, _: Happened) -> str:
        await asyncio.to_thread(self.stage.broker.flush)
        return ""

    async def _purge(self, _: Happened) -> str:
        return f"{await asyncio.to_thread(self.stage.broker.purge)} messages"

    async def _restart_broker_empty(self, happened: Happened) -> str:
        return await self._restart_broker(happened, self.stage.broker.kill)

    async def _crash_broker(self, happened: Happened) -> str:
        return await self._restart_broker(happened, self.stage.broker.crash)

    async def _restart_broker(self, happened: Happened, end: Callable[[], None]) -> str:
        async with self._alone_with_broker():
            try:
                end()
                await asyncio.sleep(happened.planned.lasts)
            finally:
                self.stage.broker.start_again()
            await self._up(self.stage.broker.child)
        return f"away for {self.seconds - happened.began:.1f} s"

    async def _cut_broker(self, happened: Happened) -> str:
        self.stage.broker.cut()
        try:
            await asyncio.sleep(happened.planned.lasts)
        finally:
            self.stage.broker.mend()
        return f"for {happened.planned.lasts:g} s"

    async def _fill_broker(self, happened: Happened) -> str:
        async with self._alone_with_broker():
            await asyncio.to_thread(self.stage.broker.fill)
            try:
                await asyncio.sleep(happened.planned.lasts)
            finally:
                await asyncio.to_thread(self.stage.broker.drain)
        return f"for {self.seconds - happened.began:.1f} s"

    @asynccontextmanager
    async def _alone_with_broker(self) -> AsyncIterator[None]:
        if self._broker_busy:
            raise _Busy("it is being started again, or full")
        self._broker_busy = True
        try:
            yield
        finally:
            self._broker_busy = False

    # --- database ---------------------------------------------------------------------------------

    async def _terminate_sessions(self, _: Happened) -> str:
        assert self.stage.postgres is not None
        return f"{await asyncio.to_thread(self.stage.postgres.terminate_sessions)} of them"

    async def _restart_database(self, happened: Happened) -> str:
        postgres = self.stage.postgres
        assert postgres is not None
        if self._database_busy:
            raise _Busy("it is being started again")
        self._database_busy = True
        try:
            postgres.shut_down_immediately()
            await asyncio.sleep(happened.planned.lasts)
        finally:
            postgres.start()
            self._database_busy = False
        await self._up(postgres.child)
        return f"away for {self.seconds - happened.began:.1f} s"

    async def _lock_database(self, happened: Happened) -> str:
        link = sqlite3.connect(
            self.stage.sqlite_path, timeout=10, isolation_level=None, check_same_thread=False
        )
        with closing(link):
            try:
                await asyncio.to_thread(link.execute, "BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise _Busy(str(error)) from None
            await asyncio.sleep(happened.planned.lasts)
        return f"for {happened.planned.lasts:g} s"

    # --- the API ----------------------------------------------------------------------------------

    async def _api_away(self, happened: Happened) -> str:
        return await self._weather(happened, away=True)

    async def _api_busy(self, happened: Happened) -> str:
        return await self._weather(happened, retry_after=f"{happened.planned.lasts:.0f}")

    async def _api_limit_lowered(self, happened: Happened) -> str:
        rate = self.stage.scene.limits.rate
        assert rate is not None
        return await self._weather(happened, most_per_second=rate // 2)

    async def _weather(self, happened: Happened, **wish: Any) -> str:
        if self._api_ill:
            raise _Busy("it is ill already")
        self._api_ill = True
        ledger = self.stage.ledger
        try:
            await asyncio.to_thread(ledger.weather, **wish)
            await asyncio.sleep(happened.planned.lasts)
        finally:
            await asyncio.to_thread(ledger.weather)
            self._api_ill = False
        return f"for {happened.planned.lasts:g} s"

    async def _end_tokens(self, _: Happened) -> str:
        await asyncio.to_thread(self.stage.ledger.end_tokens)
        return ""

    # --- small things -----------------------------------------------------------------------------

    async def _up(self, child: Child) -> None:
        """Wait for it; start it again where it has given up."""
        seconds = max(READY_SECONDS, child.spec.ready_seconds)
        end = time.monotonic() + seconds
        while not await asyncio.to_thread(child.spec.ready):
            if not child.running:
                child.start()
            if time.monotonic() > end:
                raise TimeoutError(f"{child.spec.name}: not ready after {seconds:g} s")
            await asyncio.sleep(0.05)

    def _tell(self, happened: Happened) -> None:
        kind = happened.planned.kind.value.replace("_", " ")
        self.say(f"{happened.began:7.1f} s  {kind:<24}{happened.said}")


async def kill_worker(stage: Stage, child: Child, happened: Happened) -> str:
    """SIGKILL, and note what it had in its hands by the tables."""
    pid = child.pid
    with suppress(SQLAlchemyError):  # away: nothing can be measured, the kill is as good
        happened.database_time = await asyncio.to_thread(stage.tables.now)
    child.signal(signal.SIGKILL)
    if happened.database_time is not None:
        try:
            held = await asyncio.to_thread(stage.tables.held_by, pid)
            happened.worker, happened.held = held.worker, held.runs
        except SQLAlchemyError:
            happened.database_time = None
    return f"{child.spec.name} with {len(happened.held)} runs"


class _Busy(Exception):
    """The fault cannot be done now: what it concerns is not there."""


_ACTS: dict[Kind, Callable[[Saboteur, Happened], Awaitable[str]]] = {
    Kind.KILL: Saboteur._kill,
    Kind.FREEZE: Saboteur._freeze,
    Kind.FLUSH: Saboteur._flush,
    Kind.PURGE: Saboteur._purge,
    Kind.CRASH: Saboteur._crash_broker,
    Kind.CUT: Saboteur._cut_broker,
    Kind.FULL: Saboteur._fill_broker,
    Kind.EMPTY_RESTART: Saboteur._restart_broker_empty,
    Kind.SESSIONS: Saboteur._terminate_sessions,
    Kind.RESTART: Saboteur._restart_database,
    Kind.LOCK: Saboteur._lock_database,
    Kind.AWAY: Saboteur._api_away,
    Kind.BUSY: Saboteur._api_busy,
    Kind.LOWERED: Saboteur._api_limit_lowered,
    Kind.TOKENS: Saboteur._end_tokens,
}
