"""Where all runs stand that are not final, in groups.

A run on the straight way forward is known from its row: `step` is where it stands, and all steps
before it landed, since nothing goes forward past one that did not: an action that leads on from
there makes another way, and what a person skips is an undo. Those are counted in groups by the
database. All others are read with their links: a rerun among them, whose first steps may be another
run's to undo.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from orchestrator.core.impact import Standing, going_forward, standing_at
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Link, Saga
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.ports.impact import RunGroup
from orchestrator.store import rows
from orchestrator.store.counting import UNFINISHED
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import ASIDE, UNENDED
from orchestrator.store.transactions import Tx

MOST_KEPT = 20_000  # of each kind
Key = TypeVar("Key")


class Standings(Part):
    """Implements ports.impact.StandingsStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._forward: dict[tuple[str, int | None, str], Standing] = {}
        self._aside: dict[tuple[str, str | None, str, str, str | None], Standing] = {}
        dialect = self._dialect
        late = f"COALESCE(runs.deadline_at <= {dialect.later('{now}', ':seconds')}, false)"
        # One aggregation, the tenants as they come: PostgreSQL shares it among processes, and to
        # count them for each group there takes three times as long as here. As JSON, since one
        # text is read faster than many, and a tenant may be called anything.
        each_tenant = (
            "json_group_array(tenant)" if dialect.is_sqlite
            else "CAST(array_to_json(array_agg(tenant)) AS text)"
        )  # fmt: skip
        # One condition has PostgreSQL join what the indexes find and read rows as they lie, faster
        # than by one index after the other. SQLite would read all runs that ever were.
        some = UNFINISHED if dialect.is_sqlite else [" OR ".join(f"({one})" for one in UNFINISHED)]
        keys = "workflow_id, step, status, late"
        self._simple = self._sql(
            " UNION ALL ".join(
                f"SELECT {keys}, {each_tenant} FROM (SELECT workflow_id, step, status,"
                f" {late} AS late, tenant FROM runs WHERE ({each}) AND NOT {ASIDE}) AS simple"
                f" GROUP BY {keys}"
                for each in some
            )
        )
        add_up = "group_concat" if dialect.is_sqlite else "string_agg"
        # Without an order: they come by their key, and where they do not it is a group more.
        links = (
            f"(SELECT {add_up}(step || ':' || direction || ':' || status || ':'"
            " || COALESCE(CAST(sequence AS text), ''), ' ') FROM run_steps"
            " WHERE run_id = runs.id)"
        )
        odd = "workflow_id, path, direction, status, links, late"
        self._odd = self._sql(
            f"SELECT {odd}, {each_tenant} FROM (SELECT workflow_id, path, direction, status,"
            f" {links} AS links, {late} AS late, tenant FROM runs"
            f" WHERE {ASIDE} AND {UNENDED}) AS aside"
            f" GROUP BY {odd}"
        )

    async def run_groups(self, *, deadline_within_seconds: float) -> list[RunGroup]:
        """See StandingsStore."""

        async def work(tx: Tx) -> list[RunGroup]:
            simple = await tx.rows(self._simple, seconds=deadline_within_seconds)
            odd = await tx.rows(self._odd, seconds=deadline_within_seconds)
            used = {row[0] for row in simple} | {row[0] for row in odd}
            plans = await self._shared.plans(tx, used)
            return [*self._simple_groups(simple, plans), *self._odd_groups(odd, plans)]

        return await self._db.read(work)

    def _simple_groups(self, found: Sequence[Any], plans: Mapping[str, Plan]) -> Iterator[RunGroup]:
        for workflow_id, step, status, late, tenants in found:
            plan, key = plans[workflow_id], (workflow_id, step, status)
            standing = self._forward.get(key)
            if standing is None:
                standing = _keep(self._forward, key, going_forward(plan, step, RunStatus(status)))
            yield _group(plan, standing, late, tenants)

    def _odd_groups(self, found: Sequence[Any], plans: Mapping[str, Plan]) -> Iterator[RunGroup]:
        """Those that stand alike together: most go back from the same step."""
        for workflow_id, path, direction, status, links, late, tenants in found:
            plan, key = plans[workflow_id], (workflow_id, path, direction, status, links)
            standing = self._aside.get(key)
            if standing is None:
                saga = _saga(plan, path, direction, status, _links(links))
                standing = _keep(self._aside, key, saga)
            yield _group(plan, standing, late, tenants)


def _keep(kept: dict[Key, Standing], key: Key, saga: Saga) -> Standing:
    """Versions never change, so what stands alike is the same again and again."""
    if len(kept) >= MOST_KEPT:
        kept.clear()
    standing = kept[key] = Standing(saga)
    return standing


def _group(plan: Plan, standing: Standing, late: Any, tenants: str) -> RunGroup:
    return RunGroup(
        workflow=plan.workflow, standing=standing, late=bool(late), tenants=orjson.loads(tenants)
    )


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
