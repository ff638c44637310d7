"""What sweeps would find, in memory; see `store.surveying`."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.ports.surveys import Survey, SurveyTimes
from orchestrator.testing.memory import accepting, children, jobs, maps, sweeps
from orchestrator.testing.memory.passing import Passing
from orchestrator.testing.memory.tables import MemoryDatabase


class MemorySurveys(Passing):
    """Implements ports.SurveyStore."""

    async def survey(self, times: SurveyTimes) -> Survey:
        """See SurveyStore."""
        return await self._pass("survey", lambda: _survey(self.database, times))


def _survey(database: MemoryDatabase, times: SurveyTimes) -> Survey:
    """At this moment. There are neither schedules, proposals nor held runs here."""
    now = database.clock()
    overdue = now - timedelta(seconds=times.dead_after)
    silent = now - timedelta(seconds=times.lost_after)
    return Survey(
        workers=tuple(database.workers),
        due_in_seconds=sweeps.due_in_seconds(database),
        dead=any(row.heartbeat_at < overdue for row in database.workers.values())
        or any(owner not in database.workers for owner, runs in database.owned.items() if runs),
        untold=bool(children.untold(database)),
        forsaken=bool(children.forsaken(database, None)),
        mapped=bool(maps.neglected(database)),
        paused=bool(accepting.active_pauses(database)),
        lost=database.is_silent_since(silent),
        unclaimed=any(
            row.closed_at is None and row.claimed_until is not None and row.claimed_until <= now
            for row in database.escalations.values()
        ),
        jobs=bool(jobs.silent(database, silent_seconds=times.lost_after)),
        coded=bool(database.code_waits),
        scheduled=False, lapsed=False, held=False,
    )  # fmt: skip
