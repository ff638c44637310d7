"""Where all runs stand that are not final, in groups.

A run on the straight way forward is known from its row: `step` is where it stands, and all steps
before it landed, since nothing goes forward past one that did not: an action that leads on from
there makes another way, and what a person skips is an undo. Those are counted in groups by the
database. All others are read with their links: a rerun among them, whose first steps may be another
run's to undo.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from orchestrator.core.impact import going_forward, standing_at
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Link, Saga
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.ports.impact import RunGroup
from orchestrator.store import rows
from orchestrator.store.counting import UNFINISHED
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import ASIDE, UNENDED
from orchestrator.store.transactions import Tx

MOST_SAGAS_KEPT = 20_000


class Standings(Part):
    """Implements ports.impact.StandingsStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._forward: dict[tuple[str, int | None, str], Saga] = {}
        dialect = self._dialect
        late = f"COALESCE(runs.deadline_at <= {dialect.later('{now}', ':seconds')}, false)"
        keys = "workflow_id, step, status, late"
        # As one JSON object for each group: there may be a hundred times as many rows with tenants.
        gather = "json_group_object" if dialect.is_sqlite else "json_object_agg"
        # One condition has PostgreSQL join what the indexes find and read rows as they lie, faster
        # than by one index after the other. SQLite would read all runs that ever were.
        some = UNFINISHED if dialect.is_sqlite else [" OR ".join(f"({one})" for one in UNFINISHED)]
        self._simple = self._sql(
            " UNION ALL ".join(
                f"SELECT {keys}, CAST({gather}(tenant, number) AS text) FROM (SELECT workflow_id,"
                f" step, status, {late} AS late, tenant, count(*) AS number FROM runs"
                f" WHERE ({each}) AND NOT {ASIDE} GROUP BY {keys}, tenant) AS counted"
                f" GROUP BY {keys}"
                for each in some
            )
        )
        add_up = "group_concat" if dialect.is_sqlite else "string_agg"
        links = (
            f"(SELECT {add_up}(said, ' ') FROM (SELECT step || ':' || direction || ':' || status"
            " || ':' || COALESCE(CAST(sequence AS text), '') AS said FROM run_steps"
            " WHERE run_id = runs.id ORDER BY step, direction) AS each_one)"
        )
        odd = "workflow_id, path, direction, status, tenant, late, links"
        self._odd = self._sql(
            f"SELECT {odd}, count(*) FROM (SELECT workflow_id, path, direction, status, tenant,"
            f" {late} AS late, {links} AS links FROM runs WHERE {ASIDE} AND {UNENDED}) AS aside"
            f" GROUP BY {odd}"
        )

    async def run_groups(self, *, deadline_within_seconds: float) -> list[RunGroup]:
        """See StandingsStore."""

        async def work(tx: Tx) -> list[RunGroup]:
            simple = await tx.rows(self._simple, seconds=deadline_within_seconds)
            odd = await tx.rows(self._odd, seconds=deadline_within_seconds)
            used = {row[0] for row in simple} | {row[0] for row in odd}
            plans = await self._shared.plans(tx, used)
            return [*self._simple_groups(simple, plans), *_odd_groups(odd, plans)]

        return await self._db.read(work)

    def _simple_groups(self, found: Sequence[Any], plans: Mapping[str, Plan]) -> Iterator[RunGroup]:
        for workflow_id, step, status, late, tenants in found:
            plan = plans[workflow_id]
            yield RunGroup(
                workflow=plan.workflow, status=RunStatus(status), late=bool(late),
                tenants=orjson.loads(tenants), saga=self._going(workflow_id, plan, step, status),
            )  # fmt: skip

    def _going(self, workflow_id: str, plan: Plan, step: int | None, status: str) -> Saga:
        """Versions never change, so what stands at the same step is the same again and again."""
        key = (workflow_id, step, status)
        known = self._forward.get(key)
        if known is None:
            if len(self._forward) >= MOST_SAGAS_KEPT:
                self._forward.clear()
            known = self._forward[key] = going_forward(plan, step, RunStatus(status))
        return known


def _odd_groups(found: Sequence[Any], plans: Mapping[str, Plan]) -> Iterator[RunGroup]:
    """Those that stand alike together: most go back from the same step."""
    alike: defaultdict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    for workflow_id, path, direction, status, tenant, late, links, number in found:
        alike[workflow_id, path, direction, status, bool(late), links][tenant] = number
    for (workflow_id, path, direction, status, late, links), tenants in alike.items():
        plan = plans[workflow_id]
        yield RunGroup(
            workflow=plan.workflow, status=RunStatus(status), late=late, tenants=tenants,
            saga=_saga(plan, path, direction, status, _links(links)),
        )  # fmt: skip


def _links(said: str | None) -> Iterator[tuple[int, str, str, int | None]]:
    """What has happened to each: `step:direction:status:sequence`, the last one may be missing."""
    for link in (said or "").split():
        step, direction, status, sequence = link.split(":")
        yield int(step), direction, status, int(sequence) if sequence else None


def _saga(
    plan: Plan,
    path: str | None,
    direction: str,
    status: str,
    links: Iterable[tuple[int, str, str, int | None]],
) -> Saga:
    return standing_at(
        plan, rows.path_of(path), status=RunStatus(status), direction=Direction(direction),
        links={
            (step, Direction(way)): Link(status=LinkStatus(found), sequence=sequence)
            for step, way, found, sequence in links
        },
    )  # fmt: skip
