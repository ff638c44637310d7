"""Worker locks in memory: whoever dies holds nothing any more, and it is the test that says so."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import Unavailable
from orchestrator.testing.memory.tables import MemoryDatabase


class MemoryLocks:
    """Implements ports.WorkerLocks; one for each process, on the process's database."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._held_locks = database.held_locks
        self._mine: str | None = None
        self.away = False  # every call raises Unavailable
        self.blind = False  # this process cannot tell whose lock is free

    async def hold(self, worker_id: str) -> None:
        """Take and keep the lock until `release`, the next `hold` or death. Raises Unavailable."""
        self._check()
        self.die()
        if self._held_locks.setdefault(worker_id, self) is not self:
            raise Unavailable("worker lock", f"memory/{worker_id}", "another process holds it")
        self._mine = worker_id

    async def release(self) -> None:
        """Give it back."""
        self._check()
        self.die()

    async def free_among(self, worker_ids: Sequence[str]) -> list[str]:
        """Those whose lock nobody holds, in the order given. Raises Unavailable."""
        self._check()
        if self.blind:
            return []
        return [worker_id for worker_id in worker_ids if worker_id not in self._held_locks]

    def die(self) -> None:
        """What the kernel does for a process that has ended."""
        if self._mine is not None:
            del self._held_locks[self._mine]
            self._mine = None

    def _check(self) -> None:
        if self.away:
            raise Unavailable("worker lock", "memory", "it is away")
