"""Pause and resume: a run, a workflow, a tenant, a tenant's runs of a workflow, or all runs.

Of an API, `service/apis.py` holds it: then nothing leaves for it, whatever run it is of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.ports import JobItem, NewPause, Pause, Store, scope_of
from orchestrator.service.redelivery import Redeliverer

AT_ONCE = 500
"""Paused runs that whoever ends a pause lets go on; workers do the rest, as many each a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What a pause is about: a run alone, or any of workflow and tenant; nothing: all runs."""

    run_id: str | None = None
    workflow: str | None = None
    tenant: str | None = None

    @property
    def in_words(self) -> str:
        """For people."""
        return scope_of(self.run_id, self.workflow, self.tenant)

    def fits(self, pause: Pause) -> bool:
        """Whether a pause is about exactly this."""
        if self.run_id is not None or pause.run_id is not None:
            return self.run_id == pause.run_id
        return (self.workflow, self.tenant) == (pause.workflow, pause.tenant)


class Pausing:
    """Pauses, for people and programs."""

    def __init__(
        self, store: Store, redeliverer: Redeliverer, *, new_id: Callable[[], str]
    ) -> None:
        self._store, self._redeliverer, self._new_id = store, redeliverer, new_id

    async def pause(
        self,
        scope: Scope,
        *,
        by: str,
        reason: str,
        also_undoing: bool = False,
        seconds: float | None = None,
        item: JobItem | None = None,
    ) -> Pause:
        """Let what is meant begin nothing; calls in flight end and are recorded.

        `seconds`: it ends by itself after these. With `item`, it is done for a job in the same
        transaction, once. Raises Conflict when exactly this is paused, or the run has settled;
        JobHeld; NotFound; InvalidInput without a reason.
        """
        if not reason.strip():
            problem = Problem(place="reason", found="nothing", wanted="why, for the record")
            raise InvalidInput("a pause needs a reason", problems=[problem])
        scope = await self._known(scope)
        return await self._store.pause(
            NewPause(
                id=self._new_id(), by=by, reason=reason.strip(), run_id=scope.run_id,
                workflow=scope.workflow, tenant=scope.tenant, also_undoing=also_undoing,
                seconds=seconds,
            ),
            item=item,
        )  # fmt: skip

    async def list(self, *, active_only: bool = True, limit: int = 500) -> Sequence[Pause]:
        """Newest first."""
        return await self._store.pauses(active_only=active_only, limit=limit)

    async def show(self, pause_id: str) -> Pause:
        """One, ended or not. Raises NotFound."""
        for pause in await self._store.pauses(active_only=False):
            if pause.id == pause_id:
                return pause
        problem = Problem(place="pause", found=pause_id, wanted="the whole id of a pause")
        raise NotFound(f"no such pause: {pause_id}", problems=[problem])

    async def find(self, scope: Scope) -> Pause:
        """The pause of exactly this that holds now. Raises NotFound that names what is paused."""
        scope = await self._known(scope)
        active = await self._store.pauses()
        for pause in active:
            if scope.fits(pause):
                return pause
        listed = ", ".join(pause.scope for pause in active[:10]) or "nothing"
        problem = Problem(
            place=scope.in_words, found="no pause of exactly this", wanted=f"one of: {listed}"
        )
        raise NotFound("it is not paused", problems=[problem])

    async def resume(self, pause_id: str, *, by: str, reason: str) -> Pause:
        """End a pause. Runs that no other one stops go on, at a pace.

        Raises Conflict when it has ended, naming who ended it; NotFound.
        """
        ended = await self._store.end_pause(pause_id, by=by, reason=reason)
        await self._redeliverer.publish(await self._store.release_paused(limit=AT_ONCE))
        return ended

    async def resume_run(self, run_id: str, *, by: str, reason: str, item: JobItem) -> Pause:
        """End the pause of one run alone, for a job. Workers let it go on within a second or so.

        Raises Conflict, JobHeld, NotFound.
        """
        pause = await self.find(Scope(run_id=run_id))
        return await self._store.end_pause(pause.id, by=by, reason=reason, item=item)

    async def _known(self, scope: Scope) -> Scope:
        """With the run's whole id. Raises NotFound for a run or workflow that there is not."""
        if scope.workflow is not None:
            await self._store.workflow(scope.workflow)
        if scope.run_id is None:
            return scope
        return Scope(run_id=(await self._store.run(scope.run_id)).id)
