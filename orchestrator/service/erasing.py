"""Takes the payloads of runs away, of one or of all that somebody means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from orchestrator.core.states import FINAL, RunStatus
from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.ports import RunFilter, RunStore
from orchestrator.ports.auditing import AuditStore

MOST_ERASED = 200
"""Runs at once; each is a transaction of its own."""
_NOT_FINAL = frozenset(RunStatus) - FINAL


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """What was done, and what was not."""

    runs: Sequence[str]
    records: int  # of their audit, that have lost their details
    under_way: Sequence[str]  # runs that have not ended, and so still need their payloads
    more: bool = False  # there are others that have ended: ask again


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

    async def erase_some(
        self, attributes: Mapping[str, str], *, tenant: str | None, by: str, reason: str
    ) -> Erased:
        """Of the runs with these attributes the newest so many that have ended; those under way
        are named, so many at most. What is erased has no attributes any more, so asking again goes
        on. Raises InvalidInput."""
        why = _said(reason)
        if not attributes:
            problem = Problem(place="attributes", found="none", wanted="those of the runs meant")
            raise InvalidInput("nothing was erased", problems=[problem])
        which = RunFilter(attributes=attributes, tenant=tenant, limit=MOST_ERASED + 1)
        ended = await self._runs.runs(structs.replace(which, status=FINAL))
        done, records = [], 0
        for run in ended[:MOST_ERASED]:
            try:
                records += await self._store.erase(run.id, by=by, reason=why)
                done.append(run.id)
            except NotFound:  # retention was faster, and took more than this would
                continue
        going_on = await self._runs.runs(structs.replace(which, status=_NOT_FINAL))
        return Erased(
            runs=done, records=records, under_way=[run.id for run in going_on[:MOST_ERASED]],
            more=len(ended) > MOST_ERASED,
        )  # fmt: skip

    async def erase_all(
        self, attributes: Mapping[str, str], *, tenant: str | None, by: str, reason: str
    ) -> Erased:
        """The same until there are no more."""
        done = await self.erase_some(attributes, tenant=tenant, by=by, reason=reason)
        while done.more:
            rest = await self.erase_some(attributes, tenant=tenant, by=by, reason=reason)
            done = replace(rest, runs=[*done.runs, *rest.runs], records=done.records + rest.records)
        return done


def _said(reason: str) -> str:
    if not reason.strip():
        problem = Problem(place="reason", found="nothing", wanted="why, for the audit")
        raise InvalidInput("nothing was erased", problems=[problem])
    return reason.strip()
