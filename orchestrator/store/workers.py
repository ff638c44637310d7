"""Worker processes and their signs of life."""

from __future__ import annotations

from orchestrator.ports import DatabaseRoom, Redelivery, WorkerRecord
from orchestrator.store import codec, rows
from orchestrator.store.part import Part, Shared
from orchestrator.store.recovering import Recovering

POOL_SIZE = 5  # connections of a store; under load as many again
HEARTBEAT_POOL_SIZE = 1
CONNECTIONS_OF_A_WORKER = 2 * (POOL_SIZE + HEARTBEAT_POOL_SIZE) + 1
"""With the one that holds its lock."""


class Workers(Part):
    """The bookkeeping part of ports.WorkerStore."""

    def __init__(self, shared: Shared, recovering: Recovering) -> None:
        super().__init__(shared)
        self._recovering = recovering
        self._insert = self._sql(
            f"INSERT INTO workers ({rows.WORKER})"
            " VALUES (:id, :name, :pid, {now}, {now}, :active_runs, :reserved, :version)"
            " ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at RETURNING id"
        )
        self._beat = self._sql(
            "UPDATE workers SET heartbeat_at = {now}, active_runs = :active_runs,"
            " reserved = :reserved WHERE id = :id RETURNING id"
        )
        self._room = self._sql(
            "SELECT CAST(current_setting('max_connections') AS int)"
            " - CAST(current_setting('superuser_reserved_connections') AS int), count(*)"
            " FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        self._all = self._sql(f"SELECT {rows.WORKER} FROM workers ORDER BY name, id")

    async def register(self, worker: WorkerRecord) -> None:
        """Insert, with the database's time. Repeatable."""

        await self._db.write_rows(
            self._insert, id=worker.id, name=codec.storable(worker.name), pid=worker.pid,
            active_runs=worker.active_runs, reserved=worker.reserved, version=worker.version,
        )  # fmt: skip

    async def heartbeat(self, worker_id: str, *, active_runs: int, reserved: int) -> bool:
        """Prolong. False: the row is gone (declared dead): the process must stop writing."""
        touched = await self._db.write_rows(
            self._beat, id=worker_id, active_runs=active_runs, reserved=reserved
        )
        return len(touched) == 1

    async def deregister(self, worker_id: str) -> list[Redelivery]:
        """Warm shutdown: remove the row and release (new epoch, due) whatever it still owned."""
        return await self._recovering.release_all_of(worker_id)

    async def workers(self) -> list[WorkerRecord]:
        """All rows."""
        return [rows.worker_of(row) for row in await self._db.rows(self._all)]

    async def room(self) -> DatabaseRoom | None:
        """Connections that the server allows; None where there is no server (SQLite)."""
        if self._dialect.is_sqlite:
            return None
        allowed, in_use = await self._db.row(self._room)
        per_worker = 1 if self._db.shares_sessions else CONNECTIONS_OF_A_WORKER  # its lock's
        return DatabaseRoom(allowed=allowed, in_use=in_use, per_worker=per_worker)
