"""Pauses: what is not to begin for now, who wanted it so, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from orchestrator.ports.hints import Redelivery
from orchestrator.ports.jobs import JobItem

PAUSED, RESUMED = "run.paused", "run.resumed"
"""Audit kinds."""


class NewPause(msgspec.Struct, frozen=True, kw_only=True):
    """A pause to be made. A run's id alone, or any of workflow and tenant; nothing: all runs."""

    id: str
    by: str
    reason: str
    run_id: str | None = None
    workflow: str | None = None
    tenant: str | None = None
    also_undoing: bool = False
    seconds: float | None = None  # it ends by itself so long after the database's now

    @property
    def scope(self) -> str:
        """In words."""
        return scope_of(self.run_id, self.workflow, self.tenant)


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """A pause that was made; kept for ever."""

    id: str
    run_id: str | None
    workflow: str | None  # of a run: its own
    tenant: str | None  # of a run: its own
    also_undoing: bool  # runs that go back stop as well
    by: str
    reason: str
    since: datetime
    until: datetime | None  # it ends then by itself
    ended_at: datetime | None  # None while it holds
    ended_by: str | None
    ending_reason: str | None

    @property
    def scope(self) -> str:
        """In words."""
        return scope_of(self.run_id, self.workflow, self.tenant)

    def stops(
        self, *, run_id: str, workflow: str, tenant: str, undoing: bool, whole_id: str | None = None
    ) -> bool:
        """Whether such a run may begin nothing now; `whole_id`: the run of which it is a part."""
        if undoing and not self.also_undoing:
            return False
        if self.run_id is not None:
            return self.run_id in (run_id, whole_id)
        return self.workflow in (None, workflow) and self.tenant in (None, tenant)


def scope_of(run_id: str | None, workflow: str | None, tenant: str | None) -> str:
    """What a pause is about, in words."""
    if run_id is not None:
        return f"run {run_id}"
    parts = [f"workflow {workflow}"] if workflow is not None else []
    parts += [f"tenant {tenant}"] if tenant is not None else []
    return " of ".join(parts) or "all runs"


class PauseStore(Protocol):
    """Pauses, and the runs that they stop.

    A run whose next claim is refused by a pause becomes `paused` with that claim, so a pause of
    millions costs nothing when it is made. One that waits for its time does so until then.
    """

    async def pause(self, new: NewPause, *, item: JobItem | None = None) -> Pause:
        """Make it. No run that it stops can be claimed any more when this is answered.

        A single run that nobody has in hand is `paused` at once; otherwise its owner gives it up
        at its next boundary. With `item`, it is done for a job in the same transaction, once.
        Raises Conflict when the same is paused already, or the run has settled; JobHeld; NotFound.
        """

    async def pauses(self, *, active_only: bool = True, limit: int = 10_000) -> list[Pause]:
        """Newest first. Active: neither ended nor past its time."""

    async def end_pause(
        self, pause_id: str, *, by: str, reason: str, item: JobItem | None = None
    ) -> Pause:
        """End it. Runs that nothing else stops go on with `release_paused`.

        With `item`, it is done for a job in the same transaction, once. Raises Conflict when it has
        ended, naming who ended it; JobHeld; NotFound.
        """

    async def hold_paused(self, hints: Sequence[tuple[str, int]]) -> list[str]:
        """Of these (run id, epoch), those unowned and under way that a pause stops: `paused`.

        Their ids. Each is audited with the pause that stopped it.
        """

    async def release_paused(self, *, limit: int = 500) -> list[Redelivery]:
        """End pauses whose time is over; let paused runs go on that none stops any more.

        Those that may go on at once are returned, marked as published now. One that has to wait
        still waits until its time.
        """
