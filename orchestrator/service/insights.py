"""What the history of a workflow says about its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.impact import apis_of
from orchestrator.core.insights import ApiLimits, Insight, insights_of
from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.ports.history import HistoryStore
from orchestrator.service.apis import Apis

DAYS = 30.0
MOST_DAYS = 365.0
MOST_RUNS = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class InsightReport:
    """Of which runs it is told, and what was found."""

    workflow: str
    version: int
    since: datetime
    runs: int  # the newest ones, MOST_RUNS at most
    attempts: int
    insights: Sequence[Insight]


class Insights:
    """Reads; changes nothing."""

    def __init__(self, store: HistoryStore, apis: Apis) -> None:
        self._store, self._apis = store, apis

    async def of(
        self, workflow: str, version: int | None = None, *, days: float = DAYS
    ) -> InsightReport:
        """Of one version, the newest where none is named. Raises NotFound, InvalidInput."""
        if not 0 < days <= MOST_DAYS:
            wanted = f"more than 0, up to {MOST_DAYS:g}"
            problem = Problem(place="days", found=f"{days:g}", wanted=wanted)
            raise InvalidInput("the time is not a possible one", problems=[problem])
        found = await self._store.workflow(workflow, version)
        history = await self._store.history(found, days=days, most_runs=MOST_RUNS)
        limits = {api: await self._limits(api) for api in sorted(apis_of(found.plan))}
        known = {api: limit for api, limit in limits.items() if limit is not None}
        return InsightReport(
            workflow=found.workflow, version=found.version, since=history.since,
            runs=history.runs, attempts=len(history.tried),
            insights=insights_of(found.plan, history.tried, known),
        )  # fmt: skip

    async def _limits(self, api: str) -> ApiLimits | None:
        """What holds now, overrides included; None for what is called and no API (waits)."""
        try:
            view = await self._apis.show(api)
        except NotFound:
            return None
        values = {field.name: field.value for field in view.fields}
        return ApiLimits(
            total_seconds=float(values["timeouts.total"]), rate=str(values.get("rate") or "")
        )
