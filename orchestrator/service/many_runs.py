"""The same act on all runs that fit a filter, one after the other.

A loop of the process that asks, newest runs first. Whatever ends it, what was done stays done, and
the same again goes on with the rest: what it was done on is settled, paused, or to be cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.errors import Conflict, NotFound
from orchestrator.ports import RunFilter, RunRecord
from orchestrator.service.pausing import Pausing, Scope
from orchestrator.service.runs import Runs
from orchestrator.service.where import (
    Condition,
    Fields,
    age_of,
    arguments_of,
    parse_where,
    text_of,
)

PAGE = 500
GOING = frozenset(RunStatus) - SETTLED


def _status_of(condition: Condition) -> frozenset[RunStatus]:
    try:
        return frozenset(RunStatus(name.strip()) for name in condition.value.split(","))
    except ValueError:
        raise ValueError(f"one or more, with commas between: {', '.join(RunStatus)}") from None


RUN_FIELDS: Fields = {
    ("workflow", "="): ("workflow", text_of),
    ("tenant", "="): ("tenant", text_of),
    ("status", "="): ("status", _status_of),
    ("age", ">"): ("older_than_seconds", age_of),
    ("age", "<"): ("younger_than_seconds", age_of),
}
"""What a filter of runs may say; the age is the time since a run was accepted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What came of it for one run."""

    run: RunRecord
    refused: str = ""  # why nothing was done


class ManyRuns:
    """Acts on many runs."""

    def __init__(self, runs: Runs, pausing: Pausing) -> None:
        self._runs, self._pausing = runs, pausing

    async def chosen(
        self, where: str, *, among: frozenset[RunStatus] = GOING, place: str = "--where"
    ) -> RunFilter:
        """The filter that somebody typed, of runs in these statuses. Raises InvalidInput."""
        given: dict[str, Any] = arguments_of(
            parse_where(where, place=place), RUN_FIELDS, place=place
        )
        now = await self._runs.now()
        for name, bound in (("older_than_seconds", "until"), ("younger_than_seconds", "since")):
            if name in given:
                given[bound] = now - timedelta(seconds=given.pop(name))
        given["status"] = among & given.get("status", among)
        return RunFilter(**given)

    async def found(self, which: RunFilter) -> AsyncIterator[RunRecord]:
        """All of them, newest first, a page at a time."""
        before = which.before
        while which.status:
            page = await self._runs.list(replace(which, before=before, limit=PAGE))
            for run in page:
                yield run
            if len(page) < PAGE:
                return
            before = page[-1].id

    async def count(self, which: RunFilter) -> int:
        """How many there are now."""
        return sum([1 async for _ in self.found(which)])

    def cancel(
        self, which: RunFilter, *, mode: CancelMode, reason: str, by: str
    ) -> AsyncIterator[Done]:
        """Ask for the end of each."""
        return self._each(
            which, lambda run: self._runs.cancel(run.id, mode=mode, reason=reason, by=by)
        )

    def pause(
        self, which: RunFilter, *, reason: str, by: str, also_undoing: bool, seconds: float | None
    ) -> AsyncIterator[Done]:
        """Pause each by itself: those that are accepted later are not meant."""
        return self._each(
            which,
            lambda run: self._pausing.pause(
                Scope(run_id=run.id), by=by, reason=reason, also_undoing=also_undoing,
                seconds=seconds,
            ),
        )  # fmt: skip

    def resume(self, which: RunFilter, *, reason: str, by: str) -> AsyncIterator[Done]:
        """End the pause of each; not those of its workflow, its tenant or of all."""

        async def act(run: RunRecord) -> None:
            pause = await self._pausing.find(Scope(run_id=run.id))
            await self._pausing.resume(pause.id, by=by, reason=reason)

        return self._each(which, act)

    async def _each(
        self, which: RunFilter, act: Callable[[RunRecord], Awaitable[object]]
    ) -> AsyncIterator[Done]:
        async for run in self.found(which):
            try:
                await act(run)
            except (Conflict, NotFound) as error:
                yield Done(run=run, refused=str(error))
            else:
                yield Done(run=run)
