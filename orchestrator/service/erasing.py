"""Takes the payloads of runs away, of one or of all that somebody means.

A run goes after all that is below it (children, branches, items of its maps, and what undid them):
so whoever goes on after a death finds what is left by what is still there, and no record is written
twice. There may be a million items: they go a hundred to a transaction, and no more of them are
held. What is below a run that has not ended stays with it, since it may have to be undone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from orchestrator.core.states import FINAL, RunStatus
from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.ports import RunFilter, RunStore
from orchestrator.ports.erasing import ErasableRun, ErasingStore, not_ended

MOST_ERASED = 200
"""Runs that are asked for at once, and runs under way that are named."""
MOST_PARTS = 5000
"""Runs below them at once: some seconds of work."""
PARTS_A_BATCH = 100
"""Of them in one transaction."""
CHUNKS_A_BATCH = 20
"""Of what a map was given, a thousand items each."""
_NOT_FINAL = frozenset(RunStatus) - FINAL


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """What was done, and what was not."""

    runs: Sequence[str]  # those asked for
    records: int  # of their audit, and of that of their parts, that have lost their details
    under_way: Sequence[str]  # runs that have not ended, and so still need their payloads
    parts: int = 0  # runs below those asked for, whose payloads are gone as well
    more: bool = False  # there are others that have ended: ask again

    def then(self, more: Erased) -> Erased:
        """Together with what was done when it was asked for again."""
        runs = [*self.runs, *more.runs]
        named = dict.fromkeys((*self.under_way, *more.under_way))
        return Erased(
            runs=runs, records=self.records + more.records, parts=self.parts + more.parts,
            under_way=[run_id for run_id in named if run_id not in more.runs], more=more.more,
        )  # fmt: skip


class Erasing:
    """Erases for good."""

    def __init__(self, store: ErasingStore, runs: RunStore) -> None:
        self._store, self._runs = store, runs

    async def erase(self, run_id: str, *, by: str, reason: str) -> Erased:
        """One run's and those of the runs below it, until some thousands of these are done.

        Raises Conflict while it has not ended, InvalidInput, NotFound."""
        why = _said(reason)
        run = await self._runs.run(run_id)
        if run.status not in FINAL:
            raise not_ended(run.id, run.status)
        work = _Work(self._store, by, why)
        await work.erase(run.id)
        return work.done()

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
        work = _Work(self._store, by, why)
        for run in ended[:MOST_ERASED]:
            try:
                await work.erase(run.id)
            except NotFound:  # retention was faster, and took more than this would
                continue
        going_on = await self._runs.runs(structs.replace(which, status=_NOT_FINAL))
        work.name(run.id for run in going_on)
        done = work.done()
        return replace(done, more=done.more or len(ended) > MOST_ERASED)

    async def erase_all(
        self, attributes: Mapping[str, str], *, tenant: str | None, by: str, reason: str
    ) -> Erased:
        """The same until there are no more."""
        done = await self.erase_some(attributes, tenant=tenant, by=by, reason=reason)
        while done.more:
            rest = await self.erase_some(attributes, tenant=tenant, by=by, reason=reason)
            done = done.then(rest)
        return done

    async def erase_whole(self, run_id: str, *, by: str, reason: str) -> Erased:
        """As `erase`, until there is no more."""
        done = await self.erase(run_id, by=by, reason=reason)
        while done.more:
            done = done.then(await self.erase(run_id, by=by, reason=reason))
        return done


@dataclass(slots=True)
class _Work:
    """What is done for one who asks, and how much more may be."""

    store: ErasingStore
    by: str
    reason: str
    runs: list[str] = field(default_factory=list)
    parts: int = 0
    records: int = 0
    under_way: dict[str, None] = field(default_factory=dict)  # in the order of finding
    unnamed: bool = False  # more of them than are named
    more: bool = False

    def done(self) -> Erased:
        return Erased(
            runs=self.runs, records=self.records, under_way=list(self.under_way),
            parts=self.parts, more=self.more,
        )  # fmt: skip

    def name(self, run_ids: Iterable[str]) -> None:
        """As under way, as many as are named."""
        for run_id in run_ids:
            if len(self.under_way) < MOST_ERASED:
                self.under_way[run_id] = None
            else:
                self.unnamed = True

    async def erase(self, run_id: str) -> None:
        """One run with its parts, as far as may be. It stays while there are parts that nobody
        would find without it."""
        if await self._below(run_id) and not self.unnamed:
            self.records += await self.store.erase(run_id, by=self.by, reason=self.reason)
            self.runs.append(run_id)

    async def _below(self, run_id: str) -> bool:
        """Erase what is below it. False: there is more."""
        async for found in self._batches(run_id):
            self.name(part.id for part in found if not part.has_ended)
            ids = []
            for part in found:
                if not part.has_ended:
                    continue
                if part.has_parts and not await self._below(part.id):
                    return False
                if not (part.has_parts and self.unnamed):
                    ids.append(part.id)
            if self.parts + len(ids) > MOST_PARTS:
                self.more = True
                return False
            self.records += await self.store.erase_parts(ids, by=self.by, reason=self.reason)
            self.parts += len(ids)
        return True

    async def _batches(self, run_id: str) -> AsyncIterator[Sequence[ErasableRun]]:
        store, most = self.store, PARTS_A_BATCH
        after = ""
        while found := await store.children_to_erase(run_id, after=after, limit=most):
            yield found
            after = found[-1].id
        for map_id in await store.maps_to_erase(run_id):
            last = -1
            while found := await store.items_to_erase(map_id, after=last, limit=most):
                yield found
                last = found[-1].item
            while await store.forget_values(map_id, limit=CHUNKS_A_BATCH):
                pass


def _said(reason: str) -> str:
    if not reason.strip():
        problem = Problem(place="reason", found="nothing", wanted="why, for the audit")
        raise InvalidInput("nothing was erased", problems=[problem])
    return reason.strip()
