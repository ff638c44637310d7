"""Notices that the database is an older one than it was: a backup was restored, a lagging replica
took over.

Every worker tells the gate's Redis how far the tables have come; whoever finds more told there than
the tables hold knows that they went back. What Redis forgets is not noticed: this is a warning, and
no safeguard. What to do then: `service/restoring`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import NoReturn

import structlog

from orchestrator.errors import Unavailable
from orchestrator.ports.restoring import HighWater, HighWaterMark, RestoreStore

log = structlog.get_logger(__name__)

PASS_SECONDS = 5.0
DO = "stop all workers and faces; orchestrator restore-check; see docs/operating.md"


class HighWaterWatch:
    """Holds what the tables hold against what is remembered."""

    def __init__(self, store: RestoreStore, mark: HighWaterMark) -> None:
        self._store, self._mark = store, mark
        self._told = HighWater()

    async def run_passes(self) -> NoReturn:
        """Tell how far the tables have come, and log when they went back; until cancelled."""
        while True:
            try:
                await self.one_pass()
            except Unavailable as error:
                log.info("database.age_unknown", why=str(error))
            except Exception:
                # A pass is repeatable, and the next one must come.
                log.exception("database.age_unknown")
            await asyncio.sleep(PASS_SECONDS)

    async def one_pass(self) -> None:
        """Once. Raises Unavailable."""
        remembered = await self._mark.raise_to(await self._store.high_water())
        missing = await self._missing(remembered)
        if missing and remembered != self._told:
            self._told = remembered
            log.error("database.went_back", missing=missing, do=DO)

    async def missing(self) -> str:
        """What the tables lack, in words; "" for nothing. Raises Unavailable."""
        return await self._missing(await self._mark.read())

    async def _missing(self, remembered: HighWater) -> str:
        reached = await self._store.high_water()
        if remembered.checkpoint > reached.checkpoint:
            return (
                f"checkpoint {remembered.checkpoint} of the audit was made; "
                f"the latest there is {reached.checkpoint}"
            )
        if remembered.newest_run <= reached.newest_run:
            return ""
        if await self._store.was_deleted(remembered.newest_run):
            return ""
        newest = (
            f"the newest there is of {when(reached.newest_run)}"
            if reached.newest_run
            else "none is there"
        )
        return (
            f"run {remembered.newest_run} of {when(remembered.newest_run)} was accepted; {newest}"
        )


def when(run_id: str) -> str:
    """When a run was accepted, by its id (a UUIDv7): ISO 8601, UTC, to the second."""
    milliseconds = int(run_id.replace("-", "")[:12], 16)
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat()
