"""Look at runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from orchestrator.core import states
from orchestrator.core.states import RunStatus
from orchestrator.ports import (
    AttemptRecord,
    AuditRecord,
    Progress,
    RunFilter,
    RunRecord,
    StepRecord,
)
from orchestrator.store import rows
from orchestrator.store.codec import dump_batch, instant
from orchestrator.store.finding import Finder
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.partitions import first_id
from orchestrator.store.tables import ANNOUNCED, AT_REST, OWNED, SLEEPING, UNDER_WAY
from orchestrator.store.transactions import Tx

MOST_RECORDS = 2**31 - 1
_UNDER_WAY = (ANNOUNCED, SLEEPING, f"{OWNED} AND {UNDER_WAY}")
"""Where a run that is due or waits may stand, each with its index; see `tables`."""
_HELD = (RunStatus.ESCALATED, RunStatus.PAUSED)
_ENDED = ", ".join(f"'{status}'" for status in sorted(states.FINAL))


class Runs(Part):
    """The reading part of ports.RunStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._now = self._sql("SELECT {clock}")
        self._find = Finder(
            self._dialect, what="run", select=f"SELECT {rows.RUN} FROM runs", table="runs",
            column="runs.id",
            unfinished=[*_UNDER_WAY, *(f"{AT_REST} AND standing = '{held}'" for held in _HELD)],
        )  # fmt: skip
        self._version_of = self._sql("SELECT workflow_id, path FROM runs WHERE id = :run_id")
        self._links = self._sql(f"SELECT {rows.LINK} FROM run_steps WHERE run_id = :run_id")
        self._attempts = self._sql(
            f"SELECT {rows.ATTEMPT} FROM attempts WHERE run_id = :run_id ORDER BY started_at, id"
        )
        self._audit = self._sql(
            "SELECT seq, at, kind, actor, data FROM audit WHERE run_id = :run_id AND seq > :after"
            " ORDER BY seq LIMIT :most"
        )
        wanted = self._dialect.batch({"wanted": "text"})
        self._progress = self._sql(
            f"SELECT id, status, audit_seq FROM runs WHERE id IN (SELECT wanted FROM {wanted} AS b)"
        )
        under_way = " UNION ALL ".join(
            f"SELECT status, count(*) AS number FROM runs WHERE {some} GROUP BY status"
            for some in _UNDER_WAY
        )
        held = ", ".join(f"'{status}'" for status in _HELD)
        at_rest = f"SELECT standing, count(*) FROM runs WHERE {AT_REST}"
        self._counts = self._sql(
            f"SELECT status, sum(number) FROM ({under_way}"
            f" UNION ALL {at_rest} AND standing IN ({held}) GROUP BY standing"
            f" UNION ALL {at_rest} AND standing IN ({_ENDED}) AND id >= :first GROUP BY standing"
            ") AS counted GROUP BY status"
        )

    async def now(self) -> datetime:
        """The database's clock."""
        return instant((await self._db.row(self._now))[0])

    async def run(self, run_id: str) -> RunRecord:
        """One run. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""
        return rows.run_of(await self._db.read(lambda tx: self._find.find(tx, run_id)))

    async def steps(self, run_id: str) -> tuple[StepRecord, ...]:
        """All steps of a run in order of its chain. Raises NotFound."""

        async def work(tx: Tx) -> tuple[StepRecord, ...]:
            found = await tx.row(self._version_of, run_id=run_id)
            if found is None:
                raise not_found("run", run_id, "the whole id of a run")
            plans = await self._shared.plans(tx, [found[0]])
            links = await tx.rows(self._links, run_id=run_id)
            return rows.steps_of(plans[found[0]], rows.path_of(found[1]), links)

        return await self._db.read(work)

    async def attempts(self, run_id: str) -> list[AttemptRecord]:
        """All attempts, oldest first."""
        return [rows.attempt_of(row) for row in await self._db.rows(self._attempts, run_id=run_id)]

    async def audit(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[AuditRecord]:
        """Audit records by seq: those above `after`, `limit` of them at most."""
        most = MOST_RECORDS if limit is None else limit
        found = await self._db.rows(self._audit, run_id=run_id, after=after, most=most)
        return [rows.audit_of(row) for row in found]

    async def progress(self, run_ids: Collection[str]) -> dict[str, Progress]:
        """How far each of these runs has come; unknown ones are left out."""
        batch = dump_batch([[run_id] for run_id in run_ids])
        return {
            row[0]: Progress(status=RunStatus(row[1]), audit_seq=row[2])
            for row in await self._db.rows(self._progress, batch=batch)
        }

    async def runs(self, which: RunFilter) -> list[RunRecord]:
        """A page of runs, newest first."""
        conditions, parameters = _conditions(which)
        source = _source(which, conditions)
        page = self._sql(
            f"SELECT {rows.RUN} FROM {source} WHERE {' AND '.join(['true', *conditions])}"
            " ORDER BY runs.id DESC LIMIT :most"
        )
        found = await self._db.rows(page, **parameters, most=max(which.limit, 0))
        return [rows.run_of(row) for row in found]

    async def count_by_status(self, *, since: datetime | None = None) -> dict[RunStatus, int]:
        """Number of runs in each status that occurs; see RunStore."""
        first = "" if since is None else first_id(since)
        found = await self._db.rows(self._counts, first=first)
        return {RunStatus(row[0]): int(row[1]) for row in found}


def _conditions(which: RunFilter) -> tuple[list[str], dict[str, str]]:
    """Conditions for what the filter names, its statuses aside, and their parameters."""
    wanted = {"workflow": which.workflow, "tenant": which.tenant}
    parameters = {name: value for name, value in wanted.items() if value is not None}
    conditions = [f"runs.{name} = :{name}" for name in parameters]
    bounds = {
        "before": ("<", which.before),
        "since": (">=", None if which.since is None else first_id(which.since)),
        "until": ("<", None if which.until is None else first_id(which.until)),
    }
    for name, (compared, bound) in bounds.items():
        if bound is not None:
            conditions.append(f"runs.id {compared} :{name}")
            parameters[name] = bound
    return conditions, parameters


def _source(which: RunFilter, conditions: Sequence[str]) -> str:
    """Where the rows come from. Ids come from an index alone, so that no plan looks for the few
    runs of a tenant or workflow in the rows of all others."""
    if which.status is not None:
        return _of_statuses(which.status, conditions)
    if which.tenant is None and which.workflow is None:
        return "runs"
    ids = (
        f"SELECT id FROM (SELECT id FROM runs WHERE {' AND '.join(conditions)}"
        " ORDER BY id DESC LIMIT :most) AS newest"
    )
    return f"(SELECT * FROM runs WHERE id IN ({ids})) AS runs"


def _of_statuses(statuses: Collection[RunStatus], conditions: Sequence[str]) -> str:
    """Runs of these statuses, as a source of rows: the newest of each, found by an index."""
    more = "".join(f" AND {condition}" for condition in conditions)
    at_rest = sorted(status for status in statuses if status not in states.DUE | states.TIMED)
    parts = [(f"{AT_REST} AND standing = '{status}'", "id") for status in at_rest]
    moving = ", ".join(f"'{status}'" for status in sorted(set(statuses) - set(at_rest)))
    if moving:
        # Sorted by what no index has, so that no plan goes through all runs in order of their ids.
        parts += [(f"{some} AND status IN ({moving})", "id || ''") for some in _UNDER_WAY]
    newest = " UNION ALL ".join(
        "SELECT id FROM (SELECT id FROM runs"
        f" WHERE {part}{more} ORDER BY {order} DESC LIMIT :most) AS part{n}"
        for n, (part, order) in enumerate(parts)
    )
    return (
        f"(SELECT * FROM runs WHERE id IN ({newest or 'SELECT id FROM runs WHERE false'})) AS runs"
    )
