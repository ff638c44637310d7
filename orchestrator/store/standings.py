"""Where all runs stand that are not final, in groups.

A run on the straight way forward is known from its row: `step` is where it stands, and all steps
before it landed, since nothing goes forward past one that did not: an action that leads on from
there makes another way, and what a person skips is an undo. Those are counted in groups by the
database. All others are read with their links: a rerun among them, whose first steps may be another
run's to undo.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from orchestrator.core.impact import going_forward, standing_at
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Link, Saga
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.ports.impact import RunGroup
from orchestrator.store import rows
from orchestrator.store.codec import dump_batch
from orchestrator.store.counting import UNFINISHED
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import ASIDE, UNENDED
from orchestrator.store.transactions import Tx

_LINKS = Mapping[str, tuple[tuple[int, str, str, int | None], ...]]


class Standings(Part):
    """Implements ports.impact.StandingsStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        dialect = self._dialect
        late = f"COALESCE(runs.deadline_at <= {dialect.later('{now}', ':seconds')}, false)"
        keys = "workflow_id, step, status, late"
        # As one JSON object for each group: there may be a hundred times as many rows with tenants.
        gather = "json_group_object" if dialect.is_sqlite else "json_object_agg"
        self._simple = self._sql(
            " UNION ALL ".join(
                f"SELECT {keys}, CAST({gather}(tenant, number) AS text) FROM (SELECT workflow_id,"
                f" step, status, {late} AS late, tenant, count(*) AS number FROM runs"
                f" WHERE {some} AND NOT {ASIDE} GROUP BY {keys}, tenant) AS counted GROUP BY {keys}"
                for some in UNFINISHED
            )
        )
        self._odd = self._sql(
            f"SELECT id, workflow_id, path, direction, status, tenant, {late} FROM runs"
            f" WHERE {ASIDE} AND {UNENDED}"
        )
        self._links = self._sql(
            "SELECT s.run_id, s.step, s.direction, s.status, s.sequence FROM"
            f" {dialect.batch({'wanted': 'text'})} AS b JOIN run_steps AS s ON s.run_id = b.wanted"
        )

    async def run_groups(self, *, deadline_within_seconds: float) -> list[RunGroup]:
        """See StandingsStore."""

        async def work(tx: Tx) -> list[RunGroup]:
            simple = await tx.rows(self._simple, seconds=deadline_within_seconds)
            odd = await tx.rows(self._odd, seconds=deadline_within_seconds)
            batch = dump_batch([[row[0]] for row in odd])
            links = _by_run(await tx.rows(self._links, batch=batch)) if odd else {}
            used = {row[0] for row in simple} | {row[1] for row in odd}
            plans = await self._shared.plans(tx, used)
            return [*_simple_groups(simple, plans), *_odd_groups(odd, links, plans)]

        return await self._db.read(work)


def _simple_groups(found: Sequence[Any], plans: Mapping[str, Plan]) -> Iterator[RunGroup]:
    for workflow_id, step, status, late, tenants in found:
        plan = plans[workflow_id]
        yield RunGroup(
            workflow=plan.workflow, status=RunStatus(status), late=bool(late),
            tenants=orjson.loads(tenants), saga=going_forward(plan, step, RunStatus(status)),
        )  # fmt: skip


def _by_run(found: Sequence[Any]) -> _LINKS:
    links: defaultdict[str, list[tuple[int, str, str, int | None]]] = defaultdict(list)
    for run_id, step, direction, status, sequence in found:
        links[run_id].append((step, direction, status, sequence))
    return {run_id: tuple(sorted(each)) for run_id, each in links.items()}


def _odd_groups(
    found: Sequence[Any], links: _LINKS, plans: Mapping[str, Plan]
) -> Iterator[RunGroup]:
    """Those that stand alike together: most go back from the same step."""
    alike: defaultdict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for run_id, workflow_id, path, direction, status, tenant, late in found:
        key = (workflow_id, path, direction, status, bool(late), links.get(run_id, ()))
        alike[key][tenant] += 1
    for (workflow_id, path, direction, status, late, of_run), tenants in alike.items():
        plan = plans[workflow_id]
        yield RunGroup(
            workflow=plan.workflow, status=RunStatus(status), late=late, tenants=tenants,
            saga=_saga(plan, path, direction, status, of_run),
        )  # fmt: skip


def _saga(
    plan: Plan,
    path: str | None,
    direction: str,
    status: str,
    links: Sequence[tuple[int, str, str, int | None]],
) -> Saga:
    return standing_at(
        plan, rows.path_of(path), status=RunStatus(status), direction=Direction(direction),
        links={
            (step, Direction(way)): Link(status=LinkStatus(found), sequence=sequence)
            for step, way, found, sequence in links
        },
    )  # fmt: skip
