"""Worker locks in PostgreSQL: a session advisory lock on a connection of its own.

The server frees the lock when the connection ends, which the kernel sees to when the process dies.
A connection may also end while its process lives (server restart, terminated backend); the lock is
then taken again within a fraction of a second. For the first seconds after the server's start
nobody is called dead, so that the others have time to do the same.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from orchestrator.errors import Unavailable
from orchestrator.store.failures import address
from orchestrator.store.pooler import connect_plainly, refuse_shared

_LOOK_SECONDS = 0.25
QUIET_SECONDS_AFTER_START = 5.0

_TAKE = "SELECT pg_try_advisory_lock(%s)"
# Looking does not touch the lock itself, so it cannot get into the way of a worker taking it.
_FREE = """
SELECT wanted.id FROM unnest(%s::text[], %s::bigint[]) AS wanted(id, key)
WHERE pg_postmaster_start_time() < clock_timestamp() - %s * interval '1 second'
AND NOT EXISTS (
    SELECT 1 FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = wanted.key
)
"""


def lock_key(worker_id: str) -> int:
    """The 64-bit number that stands for a worker id."""
    digest = hashlib.sha256(f"orchestrator worker {worker_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


class AdvisoryLocks:
    """Implements ports.WorkerLocks with PostgreSQL's advisory locks."""

    def __init__(
        self, url: URL, *, quiet_seconds_after_start: float = QUIET_SECONDS_AFTER_START
    ) -> None:
        self._url = url
        self._where = address(url)
        self._quiet_seconds = quiet_seconds_after_start
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._using = asyncio.Lock()
        self._worker_id: str | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def hold(self, worker_id: str) -> None:
        """Take and keep the lock until `release`, the next `hold` or death.

        Raises Unavailable, InvalidSetting where a pooler would give the session to others.
        """
        await self.release()
        await refuse_shared(self._url)
        async with self._using:
            await self._take(worker_id)
        self._worker_id = worker_id
        self._keeper = asyncio.create_task(self._keep(worker_id), name="worker-lock")

    async def release(self) -> None:
        """Give it back. The server would notice the end of the connection a moment later."""
        held, self._worker_id = self._worker_id, None
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        async with self._using:
            with suppress(Unavailable):
                if held is not None and self._connection is not None:
                    await self._ask("SELECT pg_advisory_unlock(%s)", (lock_key(held),))
            await self._disconnect()

    async def free_among(self, worker_ids: Sequence[str]) -> list[str]:
        """Those whose lock nobody holds. Raises Unavailable."""
        if not worker_ids:
            return []
        ids = list(worker_ids)
        arguments = (ids, [lock_key(i) for i in ids], self._quiet_seconds)
        async with self._using:
            rows = await self._ask(_FREE, arguments)
        free = [row[0] for row in rows]
        if self._worker_id is None:
            async with self._using:
                await self._disconnect()
        return free

    async def _take(self, worker_id: str) -> None:
        rows = await self._ask(_TAKE, (lock_key(worker_id),))
        if not rows[0][0]:
            raise Unavailable("worker lock", self._where, f"another session holds {worker_id}")

    async def _keep(self, worker_id: str) -> None:
        """Whenever the connection is gone, take the lock on a new one."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                async with self._using:
                    if await self._is_alive():
                        continue
                    await self._disconnect()
                    await self._take(worker_id)
            except Unavailable:
                continue  # still away, or the server has not noticed yet that the old one is gone

    async def _is_alive(self) -> bool:
        if self._connection is None or self._connection.closed:
            return False
        try:
            # An empty pipeline would be no transaction, but takes a session that has ended behind
            # a pooler for one that is there.
            await self._connection.execute("SELECT 1")
        except (psycopg.Error, OSError):
            return False
        return True

    async def _ask(self, statement: str, arguments: Sequence[Any]) -> list[Any]:
        try:
            connection = await self._connected()
            return await (await connection.execute(statement, arguments)).fetchall()
        except (psycopg.Error, OSError) as error:
            await self._disconnect()
            why = str(error).strip().partition("\n")[0]
            raise Unavailable("database", self._where, why) from error

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await connect_plainly(self._url)
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
