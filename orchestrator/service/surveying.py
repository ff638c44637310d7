"""Looks for all passes of a worker at once, so that one without work asks little.

Each pass waits for the next survey and makes its own statements only where that has found
something: it is as soon as it would be if it looked for itself, as often. While surveys cannot be
made no pass is called; where one fails for another reason (a row that cannot be read), each pass
looks for itself, so that what ails one of them does not hold up the others.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import NoReturn

import structlog

from orchestrator.errors import Unavailable
from orchestrator.ports.surveys import BLIND, Survey, SurveyStore, SurveyTimes

log = structlog.get_logger(__name__)

STAGGER = 0.2
"""Each pause is shorter or longer by up to this part: workers that have come into step, since they
all waited for the same outage to end, would mend the same things at the same moments for ever."""


class Surveyor:
    """Implements ports.Surveys. Belongs to one loop."""

    def __init__(
        self,
        store: SurveyStore,
        times: SurveyTimes,
        *,
        every_seconds: float,
        told: Sequence[Callable[[Survey], None]] = (),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`told`: called with each survey, before those who wait for it."""
        self._store, self._times, self._every = store, times, every_seconds
        self._told, self._jitter = told, jitter
        self._coming: asyncio.Future[Survey] | None = None

    async def next(self) -> Survey:
        """See Surveys."""
        if self._coming is None:
            self._coming = asyncio.get_running_loop().create_future()
        # Whoever gives up waiting must not end it for the others.
        return await asyncio.shield(self._coming)

    async def run_passes(self) -> NoReturn:
        """One survey after the other, until cancelled."""
        while True:
            try:
                self._tell(await self.look())
            except Unavailable as error:
                log.warning("survey.postponed", why=str(error))
            except Exception:
                log.exception("survey.failed")
                self._tell(BLIND)
            await asyncio.sleep(self._every * (1 + STAGGER * (2 * self._jitter() - 1)))

    async def look(self) -> Survey:
        """One survey, for whoever asks. Raises Unavailable."""
        return await self._store.survey(self._times)

    def _tell(self, survey: Survey) -> None:
        for each in self._told:
            each(survey)
        if self._coming is not None:
            self._coming.set_result(survey)
            self._coming = None
