"""Takes the payloads of runs away, of one or of all that somebody means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.core.states import FINAL
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import RunFilter, RunStore
from orchestrator.ports.auditing import AuditStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """What was done, and what was not."""

    runs: Sequence[str]
    records: int  # of their audit, that have lost their details
    under_way: Sequence[str]  # runs that have not ended, and so still need their payloads


class Erasing:
    """Erases for good."""

    def __init__(self, store: AuditStore, runs: RunStore) -> None:
        self._store, self._runs = store, runs

    async def erase(self, run_id: str, *, by: str, reason: str) -> Erased:
        """One run's. Raises Conflict while it has not ended, InvalidInput, NotFound."""
        why = _said(reason)
        run = await self._runs.run(run_id)
        records = await self._store.erase(run.id, by=by, reason=why)
        return Erased(runs=[run.id], records=records, under_way=())

    async def erase_all(self, which: RunFilter, *, by: str, reason: str) -> Erased:
        """Of all these that have ended, one transaction each; repeatable. Raises InvalidInput."""
        why = _said(reason)
        found = await self._runs.runs(which)
        ended = [run.id for run in found if run.status in FINAL]
        records = 0
        for run_id in ended:
            records += await self._store.erase(run_id, by=by, reason=why)
        under_way = [run.id for run in found if run.status not in FINAL]
        return Erased(runs=ended, records=records, under_way=under_way)


def _said(reason: str) -> str:
    if not reason.strip():
        problem = Problem(place="reason", found="nothing", wanted="why, for the audit")
        raise InvalidInput("nothing was erased", problems=[problem])
    return reason.strip()
