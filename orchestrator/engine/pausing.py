"""What is paused, as this process last heard, and the watch that keeps it so.

The database refuses the claim of a run that a pause stops. A run in hand is stopped by its driver,
which looks here before each link and once more when its call is let out, and otherwise asks nobody:
the watch asks for all, once a second, where a survey has seen that there are some.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from orchestrator.errors import Unavailable
from orchestrator.ports import Pause, PauseStore, Redelivery, RunRecord
from orchestrator.ports.surveys import Surveys

log = structlog.get_logger(__name__)

LARGEST_RELEASE = 500
"""Runs that one worker lets go on with each look: so they come back at a pace."""
LOOKS_AFTER_A_CHANGE = 15
"""A worker that had not heard yet that a pause is over may pause another run for it."""
LOOKS_BETWEEN = 60


class Pauses:
    """The pauses that hold. Belongs to the engine's loop."""

    def __init__(self) -> None:
        self._of_runs: dict[str, list[Pause]] = {}
        self._of_many: tuple[Pause, ...] = ()
        self.on_change: Callable[[], None] = lambda: None

    def __bool__(self) -> bool:
        return bool(self._of_many or self._of_runs)

    def take(self, found: Sequence[Pause]) -> None:
        """These hold now, and no others."""
        self._of_many = tuple(each for each in found if each.run_id is None)
        self._of_runs = {}
        for each in found:
            if each.run_id is not None:
                self._of_runs.setdefault(each.run_id, []).append(each)
        self.on_change()

    def stopping(self, run: RunRecord, *, undoing: bool) -> Pause | None:
        """One that lets this run begin nothing now."""
        if not self:
            return None
        whole = () if run.whole_id is None else self._of_runs.get(run.whole_id, ())
        candidates = (*self._of_runs.get(run.id, ()), *whole, *self._of_many)
        found = (
            each for each in candidates
            if each.stops(
                run_id=run.id, workflow=run.workflow, tenant=run.tenant, undoing=undoing,
                whole_id=run.whole_id,
            )
        )  # fmt: skip
        return next(found, None)


class PauseWatch:
    """The watch of one worker process. It also lets go on what is not paused any more."""

    def __init__(
        self,
        store: PauseStore,
        pauses: Pauses,
        publish: Callable[[Sequence[Redelivery]], Awaitable[object]],
    ) -> None:
        self._store, self._pauses, self._publish = store, pauses, publish
        self._known: frozenset[str] = frozenset()
        self._looks_left = LOOKS_AFTER_A_CHANGE  # in which paused runs are looked for
        self._looks = 0

    async def run_passes(self, surveys: Surveys) -> None:
        """One look after the other, until cancelled."""
        while True:
            survey = await surveys.next()
            try:
                await self.look(some=survey.paused or bool(self._known))
            except Unavailable as error:
                log.warning("pauses.unknown", why=str(error))
            except Exception:
                # What was wrong may be over by the next look, and that must come.
                log.exception("pauses.watch_failed")

    async def look(self, *, some: bool = True) -> None:
        """Take over what holds, unless there is none, and let others go on. Raises Unavailable."""
        found = await self._store.pauses() if some else []
        known = frozenset(each.id for each in found)
        if known != self._known:
            self._known, self._looks_left = known, LOOKS_AFTER_A_CHANGE
            self._pauses.take(found)
            log.info("pauses.changed", holding=[each.scope for each in found[:20]])
        self._looks += 1
        if self._looks_left or self._looks % LOOKS_BETWEEN == 0:
            await self._release()

    async def _release(self) -> None:
        """A part of what may go on; the rest with the next looks."""
        freed = await self._store.release_paused(limit=LARGEST_RELEASE)
        await self._publish(freed)
        full = len(freed) == LARGEST_RELEASE
        self._looks_left = LOOKS_AFTER_A_CHANGE if full else max(self._looks_left - 1, 0)
