"""Look at runs."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import islice

from orchestrator.core import states
from orchestrator.core.states import RunStatus
from orchestrator.ports import (
    AttemptRecord,
    AuditRecord,
    Flow,
    Progress,
    RunFilter,
    RunRecord,
    StepRecord,
)
from orchestrator.store import rows
from orchestrator.store.choosing_runs import MOVING, bounded, has_ages, most_of, runs_chosen
from orchestrator.store.codec import dump_batch, instant
from orchestrator.store.finding import Finder
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.partitions import first_id
from orchestrator.store.tables import AT_REST

MOST_RECORDS = 2**31 - 1
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
            unfinished=[*MOVING, *(f"{AT_REST} AND standing = '{held}'" for held in _HELD)],
        )  # fmt: skip
        # One statement, so that it needs no transaction around it to be of one moment.
        links = ", ".join(f"run_steps.{name.strip()}" for name in rows.LINK.split(","))
        self._links = self._sql(
            f"SELECT runs.workflow_id, runs.path, {links} FROM runs"
            " LEFT JOIN run_steps ON run_steps.run_id = runs.id WHERE runs.id = :run_id"
        )
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
            for some in MOVING
        )
        held = ", ".join(f"'{status}'" for status in _HELD)
        at_rest = f"SELECT standing, count(*) FROM runs WHERE {AT_REST}"
        self._counts = self._sql(
            f"SELECT status, sum(number) FROM ({under_way}"
            f" UNION ALL {at_rest} AND standing IN ({held}) GROUP BY standing"
            f" UNION ALL {at_rest} AND standing IN ({_ENDED}) AND id >= :first GROUP BY standing"
            ") AS counted GROUP BY status"
        )

        earlier = self._dialect.later("{clock}", "CAST(:ago AS {real})")
        self._flow = self._sql(
            "SELECT (SELECT count(*) FROM runs WHERE id >= :first),"
            f" (SELECT count(*) FROM runs WHERE settled_at > {earlier})"
        )

    async def now(self) -> datetime:
        """The database's clock."""
        return instant((await self._db.row(self._now))[0])

    async def run(self, run_id: str) -> RunRecord:
        """One run. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""
        found = await self._db.row(self._find.exact, part=run_id)  # as most ask for it
        if found is None:
            found = await self._db.read(lambda tx: self._find.find(tx, run_id))
        return rows.run_of(found)

    async def steps(self, run_id: str) -> tuple[StepRecord, ...]:
        """All steps of a run in order of its chain. Raises NotFound."""
        found = await self._db.rows(self._links, run_id=run_id)
        if not found:
            raise not_found("run", run_id, "the whole id of a run")
        version, path = found[0][:2]
        plans = self._shared.known_plans([version])
        if plans is None:  # versions never change
            plans = await self._db.read(lambda tx: self._shared.outlines(tx, [version]))
        links = [row[2:] for row in found if row[2] is not None]
        return rows.steps_of(plans[version], rows.path_of(path), links)

    async def attempts(self, run_id: str) -> list[AttemptRecord]:
        """All attempts, oldest first."""
        return [rows.attempt_of(row) for row in await self._db.rows(self._attempts, run_id=run_id)]

    async def audit(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[AuditRecord]:
        """Audit records by seq: those above `after`, `limit` of them at most."""
        most = MOST_RECORDS if limit is None else limit
        found = await self._db.rows(self._audit, run_id=run_id, after=after, most=most)
        records = (record for row in found for record in rows.audit_of(row))
        # A page may have ended within a row.
        return list(islice((record for record in records if record.seq > after), most))

    async def progress(self, run_ids: Collection[str]) -> dict[str, Progress]:
        """How far each of these runs has come; unknown ones are left out."""
        batch = dump_batch([[run_id] for run_id in run_ids])
        return {
            row[0]: Progress(status=RunStatus(row[1]), audit_seq=row[2])
            for row in await self._db.rows(self._progress, batch=batch)
        }

    async def runs(self, which: RunFilter) -> list[RunRecord]:
        """A page of runs, newest first."""
        if has_ages(which):
            which = bounded(which, await self.now())
        chosen, parameters = runs_chosen(which, self._dialect)
        page = self._sql(f"SELECT {rows.RUN} {chosen} ORDER BY runs.id DESC LIMIT :most")
        found = await self._db.rows(page, **parameters, most=most_of(which))
        return [rows.run_of(row) for row in found]

    async def count_by_status(self, *, since: datetime | None = None) -> dict[RunStatus, int]:
        """Number of runs in each status that occurs; see RunStore."""
        first = "" if since is None else first_id(since)
        found = await self._db.rows(self._counts, first=first)
        return {RunStatus(row[0]): int(row[1]) for row in found}

    async def flow(self, *, seconds: float) -> Flow:
        """What was accepted and what settled lately; see RunStore."""
        first = first_id(await self.now() - timedelta(seconds=seconds))
        accepted, settled = await self._db.row(self._flow, first=first, ago=-seconds)
        return Flow(accepted=int(accepted), settled=int(settled))
