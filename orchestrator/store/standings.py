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
from sqlalchemy import TextClause

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
_BETWEEN = "\x1e"  # tenants that are joined to one text
_Forward = tuple[str, int | None, str, Any, Sequence[str]]


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
        self._simple = self._grouped(late, each_tenant)
        # PostgreSQL joins texts sooner than it makes an array and JSON of it. Where a name has
        # what stands between them, it is JSON after all.
        joined = f"string_agg(tenant, '{_BETWEEN}')"
        self._joined = None if dialect.is_sqlite else self._grouped(late, joined)
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

    def _grouped(self, late: str, tenants: str) -> TextClause:
        """Of the runs on the straight way forward."""
        # One condition has PostgreSQL join what the indexes find and read rows as they lie, faster
        # than by one index after the other. SQLite would read all runs that ever were.
        whole = [" OR ".join(f"({one})" for one in UNFINISHED)]
        keys = "workflow_id, step, status, late"
        return self._sql(
            " UNION ALL ".join(
                f"SELECT {keys}, {tenants}, count(*) FROM (SELECT workflow_id, step, status,"
                f" {late} AS late, tenant FROM runs WHERE ({each}) AND NOT {ASIDE}) AS simple"
                f" GROUP BY {keys}"
                for each in (UNFINISHED if self._dialect.is_sqlite else whole)
            )
        )

    async def run_groups(self, *, deadline_within_seconds: float) -> list[RunGroup]:
        """See StandingsStore."""

        async def work(tx: Tx) -> list[RunGroup]:
            simple = await self._forward_groups(tx, deadline_within_seconds)
            odd = await tx.rows(self._odd, seconds=deadline_within_seconds)
            used = {row[0] for row in simple} | {row[0] for row in odd}
            plans = await self._shared.readable(tx, used)
            return [*self._simple_groups(simple, plans), *self._odd_groups(odd, plans)]

        return await self._db.read(work)

    async def _forward_groups(self, tx: Tx, seconds: float) -> list[_Forward]:
        """Version, step, status, whether it is late, and whose the runs are."""
        if self._joined is not None:
            rows = await tx.rows(self._joined, seconds=seconds)
            found = [(*key, tenants.split(_BETWEEN)) for *key, tenants, _ in rows]
            # More names than runs: what stands between them stands within one of them, too.
            if all(len(one[-1]) == row[-1] for one, row in zip(found, rows, strict=True)):
                return found
        rows = await tx.rows(self._simple, seconds=seconds)
        return [(*key, orjson.loads(tenants)) for *key, tenants, _ in rows]

    def _simple_groups(
        self, found: Sequence[_Forward], plans: Mapping[str, Plan]
    ) -> Iterator[RunGroup]:
        for workflow_id, step, status, late, tenants in found:
            if workflow_id not in plans:
                continue  # it cannot be read, so nobody can tell whom it concerns
            plan, key = plans[workflow_id], (workflow_id, step, status)
            standing = self._forward.get(key)
            if standing is None:
                standing = _keep(self._forward, key, going_forward(plan, step, RunStatus(status)))
            yield _group(plan, standing, late, tenants)

    def _odd_groups(self, found: Sequence[Any], plans: Mapping[str, Plan]) -> Iterator[RunGroup]:
        """Those that stand alike together: most go back from the same step."""
        for workflow_id, path, direction, status, links, late, tenants in found:
            if workflow_id not in plans:
                continue
            plan, key = plans[workflow_id], (workflow_id, path, direction, status, links)
            standing = self._aside.get(key)
            if standing is None:
                saga = _saga(plan, path, direction, status, _links(links))
                standing = _keep(self._aside, key, saga)
            yield _group(plan, standing, late, orjson.loads(tenants))


def _keep(kept: dict[Key, Standing], key: Key, saga: Saga) -> Standing:
    """Versions never change, so what stands alike is the same again and again."""
    if len(kept) >= MOST_KEPT:
        kept.clear()
    standing = kept[key] = Standing(saga)
    return standing


def _group(plan: Plan, standing: Standing, late: Any, tenants: Sequence[str]) -> RunGroup:
    return RunGroup(workflow=plan.workflow, standing=standing, late=bool(late), tenants=tenants)


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
