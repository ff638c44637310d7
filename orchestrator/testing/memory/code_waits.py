"""Runs that wait for a worker with the code of their next step, in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from orchestrator.core.states import RunStatus
from orchestrator.ports import Redelivery
from orchestrator.ports.code_waits import CodeWait
from orchestrator.testing.memory.passing import Passing
from orchestrator.testing.memory.sweeps import marked
from orchestrator.testing.memory.tables import MemoryDatabase, RunRow


class MemoryCode(Passing):
    """Implements ports.CodeWaitStore."""

    async def wait_for_code(self, run_id: str, code: str) -> None:
        """See CodeWaitStore."""
        await self._pass("wait_for_code", lambda: _add(self.database, run_id, code))

    async def take_coded(self, codes: Collection[str], *, limit: int) -> list[Redelivery]:
        """See CodeWaitStore."""
        if not self.database.code_waits:
            return []  # asked for each second: it is no statement of its own
        return await self._pass("take_coded", lambda: _take(self.database, codes, limit))

    async def code_waits(self) -> list[CodeWait]:
        """See CodeWaitStore."""
        return await self._pass("code_waits", lambda: _counted(self.database))

    async def code_wanted(self, run_id: str) -> str | None:
        """See CodeWaitStore."""
        return await self._pass(
            "code_wanted",
            lambda: next((code for row, code in _parked(self.database) if row.id == run_id), None),
        )


def _add(database: MemoryDatabase, run_id: str, code: str) -> None:
    since = database.code_waits.get(run_id, ("", database.clock()))[1]
    database.code_waits[run_id] = (code, since)


def _parked(database: MemoryDatabase) -> Iterator[tuple[RunRow, str]]:
    for run_id, (code, _) in database.code_waits.items():
        row = database.runs.get(run_id)
        if row is not None and row.sleeping and row.status is RunStatus.PARKED:
            yield row, code


def _take(database: MemoryDatabase, codes: Collection[str], limit: int) -> list[Redelivery]:
    now, wanted = database.clock(), frozenset(codes)
    found = [row for row, code in _parked(database) if code in wanted][:limit]
    for row in found:
        del database.code_waits[row.id]
        row.wake_at = now
    return marked(database, found, now, "code")


def _counted(database: MemoryDatabase) -> list[CodeWait]:
    found: dict[str, CodeWait] = {}
    for row, code in _parked(database):
        since, known = database.code_waits[row.id][1], found.get(code)
        first = since if known is None else min(since, known.since)
        found[code] = CodeWait(code=code, runs=1 + (known.runs if known else 0), since=first)
    return [found[code] for code in sorted(found)]
