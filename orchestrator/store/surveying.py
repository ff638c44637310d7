"""All that sweeps look for, asked by one statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from orchestrator.ports.surveys import Survey, SurveyTimes
from orchestrator.store import codec
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import SLEEPING

_READ_APART = ("workers", "due_in_seconds")


class Surveying(Part):
    """Implements ports.SurveyStore."""

    def __init__(self, shared: Shared, *looks: Mapping[str, str]) -> None:
        """`looks`: for each truth of a survey a query that finds a row where it is one.

        Their parameters are those of `SurveyTimes`.
        """
        super().__init__(shared)
        known = {name: query for each in looks for name, query in each.items()}
        self._truths = [one.name for one in fields(Survey) if one.name not in _READ_APART]
        found = ", ".join(f"EXISTS ({known[name]})" for name in self._truths)
        self._survey = self._sql(
            "SELECT (SELECT {joined}(id, ' ') FROM workers),"
            f" (SELECT wake_at FROM runs WHERE {SLEEPING} ORDER BY wake_at LIMIT 1), {{clock}},"
            f" {found}"
        )

    async def survey(self, times: SurveyTimes) -> Survey:
        """See SurveyStore."""
        ((workers, wake_at, now, *found),) = await self._db.rows(
            self._survey, dead_after=times.dead_after, lost_after=times.lost_after,
            left_after=times.left_after,
        )  # fmt: skip
        sleeps = None if wake_at is None else codec.instant(wake_at) - codec.instant(now)
        truths = {name: bool(each) for name, each in zip(self._truths, found, strict=True)}
        return Survey(
            workers=tuple((workers or "").split()),
            due_in_seconds=None if sleeps is None else sleeps.total_seconds(),
            **truths,
        )
