"""Jobs: acts on many things at once.

Which things is settled when a job is accepted: their ids become rows in the same transaction. Each
is acted on in one transaction with its row (`Marks`), refused unless the row is pending and the job
runs. So a thing is acted on once for its job, whoever tries and however often, and nothing
more happens once a pause or a cancel has been answered: both change the row that every act changes.

Locks are taken in one order: a run, its escalation, the item, its job.
"""

from __future__ import annotations

from typing import Any

from orchestrator.errors import Conflict, InvalidInput, JobHeld, NotFound, Problem
from orchestrator.ports import (
    MOST_THINGS,
    PROPOSED,
    EscalationFilter,
    JobItem,
    JobItemRecord,
    JobItemState,
    JobOrder,
    JobRecord,
    JobState,
    NewJob,
    Which,
)
from orchestrator.store import codec, rows
from orchestrator.store.choosing import FROM_ESCALATIONS, escalations_chosen
from orchestrator.store.choosing_runs import bounded, has_ages, runs_chosen
from orchestrator.store.finding import Finder
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx

_WANTED = {
    JobOrder.PAUSE: (JobState.PAUSED, frozenset({JobState.RUNNING})),
    JobOrder.RESUME: (JobState.RUNNING, frozenset({JobState.PAUSED})),
    JobOrder.CANCEL: (JobState.CANCELLED, frozenset({JobState.RUNNING, JobState.PAUSED})),
}
"""What an order leads to, and from where."""
_ALL = 2**31 - 1
_ENDED = frozenset({JobState.CANCELLED, JobState.DONE})
_RUNS = "state = 'running'"


class Marks(Part):
    """Writes, in a transaction that acts on a thing, what came of it for a job."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._item = self._sql(
            "UPDATE job_items SET state = :state, outcome = :outcome, at = {now}"
            " WHERE job_id = :job_id AND item = :item AND state = 'pending'"
        )
        # Both counts in one statement, so that there is one guard.
        self._job = self._sql(
            "UPDATE jobs SET done = done + :done, refused = refused + :refused,"
            " proposed = proposed + :proposed,"
            f" touched_at = {{now}} WHERE id = :job_id AND {_RUNS}"
        )
        self._found = self._sql(
            "SELECT jobs.state, job_items.state FROM jobs LEFT JOIN job_items"
            " ON job_items.job_id = jobs.id AND job_items.item = :item WHERE jobs.id = :job_id"
        )

    async def mark(self, tx: Tx, item: JobItem, state: JobItemState) -> None:
        """Raises JobHeld, for which the transaction has to be given up."""
        done = state is JobItemState.DONE
        marked = await tx.change(
            self._item, job_id=item.job_id, item=item.item, state=state,
            outcome=codec.storable(item.outcome),
        )  # fmt: skip
        if not marked or not await tx.change(
            self._job,
            job_id=item.job_id,
            done=int(done),
            refused=int(not done),
            proposed=int(done and item.outcome == PROPOSED),
        ):
            raise _held(item, await tx.row(self._found, job_id=item.job_id, item=item.item))


class Jobs(Part):
    """Implements ports.JobStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._marks = Marks(shared)
        self._now = self._sql("SELECT {now}")
        job = f"SELECT {rows.JOB} FROM jobs"
        self._find = Finder(
            self._dialect, what="job", select=job, table="jobs", column="id", unfinished=[_RUNS]
        )
        self._insert = self._sql(
            "INSERT INTO jobs (id, kind, tenant, key, chosen, arguments, wanted_by, reason, state,"
            " turn, total, done, refused, created_at, touched_at, orders) VALUES (:id, :kind,"
            " :tenant, :key, :chosen, :arguments, :by, :reason, 'running', 0, 0, 0, 0, {now},"
            " {now}, :orders) ON CONFLICT DO NOTHING"
        )
        self._total = self._sql(
            f"UPDATE jobs SET total = :total WHERE id = :id RETURNING {rows.JOB}"
        )
        self._by_key = self._sql(f"{job} WHERE key = :key")
        self._locked = self._sql(
            f"SELECT {rows.JOB}, {{now}} FROM jobs WHERE id = :id {{for_update}}"
        )
        self._order = self._sql(
            "UPDATE jobs SET state = :state, orders = :orders, touched_at = {now}, ended_at ="
            " CASE WHEN :ends = 1 THEN {now} END"
            f" WHERE id = :id RETURNING {rows.JOB}"
        )
        self._turn = self._sql(
            "UPDATE jobs SET turn = turn + 1, touched_at = {now}"
            f" WHERE id = :id AND turn = :turn AND {_RUNS} RETURNING {rows.JOB}"
        )
        self._end = self._sql(
            f"UPDATE jobs SET state = 'done', ended_at = {{now}} WHERE id = :id AND {_RUNS}"
            f" AND done + refused >= total RETURNING {rows.JOB}"
        )
        self._exact = self._sql(f"{job} WHERE id = :id")
        silent = f"FROM jobs WHERE {_RUNS} AND touched_at < "
        before, long_ago = (
            self._dialect.later("{now}", f"-CAST(:{parameter} AS {{real}})")
            for parameter in ("seconds", "lost_after")
        )
        self.looks = {"jobs": f"SELECT 1 {silent}{long_ago}"}
        self._silent = self._sql(
            "UPDATE jobs SET touched_at = {now} WHERE id IN (SELECT id"
            f" {silent}{before} ORDER BY touched_at LIMIT :most"
            f" {{skip_locked}}) RETURNING {rows.JOB}"
        )

    # --- look -------------------------------------------------------------------------------------

    async def count_things(self, which: Which) -> int:
        """How many the filter names, whatever its limit says."""

        async def work(tx: Tx) -> int:
            ids, parameters = await self._ids(tx, which)
            count = self._sql(f"SELECT count(*) FROM ({ids}) AS chosen")
            return int((await tx.row(count, **parameters, most=_ALL))[0])

        return await self._db.read(work)

    async def _ids(self, tx: Tx, which: Which) -> tuple[str, dict[str, Any]]:
        """A statement for the `id` of each of `:most` that the filter names, and its parameters."""
        if isinstance(which, EscalationFilter):
            chosen, parameters = escalations_chosen(which, self._dialect)
            ids = f"SELECT e.id AS id {FROM_ESCALATIONS} WHERE {chosen} ORDER BY e.id LIMIT :most"
        else:
            if has_ages(which):
                which = bounded(which, codec.instant((await tx.row(self._now))[0]))
            chosen, parameters = runs_chosen(which, self._dialect)
            ids = f"SELECT runs.id AS id {chosen} ORDER BY runs.id DESC LIMIT :most"
        return ids, parameters

    async def job(self, job_id: str) -> JobRecord:
        """One. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""
        return rows.job_of(await self._db.read(lambda tx: self._find.find(tx, job_id)))

    async def jobs(
        self, *, tenant: str | None = None, before: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """Newest first; those bound to one tenant, and those before one of them (an id)."""
        given = {"tenant": tenant, "before": before}
        parameters = {name: value for name, value in given.items() if value is not None}
        signs = {"tenant": "tenant = :tenant", "before": "id < :before"}
        chosen = " AND ".join(["true", *(signs[name] for name in parameters)])
        page = self._sql(f"SELECT {rows.JOB} FROM jobs WHERE {chosen} ORDER BY id DESC LIMIT :most")
        return [rows.job_of(row) for row in await self._db.rows(page, **parameters, most=limit)]

    async def job_items(
        self, job_id: str, *, state: JobItemState | None = None, after: str | None = None,
        limit: int = 200,
    ) -> list[JobItemRecord]:  # fmt: skip
        """Its things in order of their ids, those after one of them."""
        # The state stands in the words, so that the index of what is pending fits.
        chosen = "job_id = :job_id AND item > :after" + (f" AND state = '{state}'" if state else "")
        page = self._sql(
            f"SELECT {rows.JOB_ITEM} FROM job_items WHERE {chosen} ORDER BY item LIMIT :most"
        )
        found = await self._db.rows(page, job_id=job_id, after=after or "", most=limit)
        return [rows.job_item_of(row) for row in found]

    # --- accept and order -------------------------------------------------------------------------

    async def add_job(self, new: NewJob, items: Which) -> JobRecord:
        """Accept it with the things that the filter names now, in one transaction.

        A (tenant, key) that exists is answered with its job. Raises NotFound when nothing fits,
        InvalidInput when more do than MOST_THINGS.
        """
        key = None if new.key is None else codec.dump([new.tenant, new.key])

        async def work(tx: Tx) -> JobRecord:
            if not await tx.change(
                self._insert, id=new.id, kind=new.kind, tenant=new.tenant, key=key,
                chosen=codec.dump(new.where), arguments=codec.dump(new.arguments),
                by=codec.storable(new.by), reason=codec.storable(new.reason),
                orders=codec.dump([]),
            ):  # fmt: skip
                known = await tx.row(self._by_key, key=key)
                return _the_same(rows.job_of(known), new)
            total = await self._freeze(tx, new, items)
            if not total:
                raise _nothing_fits(new)
            if total > MOST_THINGS:
                raise _too_many()
            return rows.job_of(await tx.row(self._total, id=new.id, total=total))

        return await self._db.write(work)

    async def _freeze(self, tx: Tx, new: NewJob, items: Which) -> int:
        ids, parameters = await self._ids(tx, items)
        freeze = self._sql(
            "INSERT INTO job_items (job_id, item, state)"
            f" SELECT :job_id, chosen.id, 'pending' FROM ({ids}) AS chosen"
        )
        wanted = _ALL if items.limit is None else max(items.limit, 0)
        most = min(wanted, MOST_THINGS + 1)
        return await tx.change(freeze, **parameters, job_id=new.id, most=most)

    async def order_job(
        self, job_id: str, order: JobOrder, *, by: str, reason: str, seen: JobRecord | None = None
    ) -> JobRecord:
        """Pause, resume or cancel it, and keep who wanted that.

        When a pause or a cancel has been answered, nothing more is acted on. With `seen`, only if
        nobody has ordered it since it was read so. Raises Conflict when it has ended, or is as
        wanted already; NotFound.
        """

        async def work(tx: Tx) -> JobRecord:
            known = (await self._find.find(tx, job_id))[0]
            locked = await tx.row(self._locked, id=known)
            job, at = rows.job_of(locked), codec.instant(locked[-1]).isoformat()
            state, wanted = _WANTED[order]
            if job.state not in wanted:
                raise _not_now(job, order, wanted)
            if seen is not None and len(job.orders) != len(seen.orders):
                raise _ordered_since(job)
            orders = [*job.orders, {"at": at, "by": by, "order": order, "reason": reason}]
            row = await tx.row(
                self._order, id=job.id, state=state, orders=codec.dump(orders),
                ends=int(state in _ENDED),
            )  # fmt: skip
            return rows.job_of(row)

        return await self._db.write(work)

    # --- work -------------------------------------------------------------------------------------

    async def take_job_turn(self, job_id: str, turn: int) -> JobRecord | None:
        """Begin the next batch of a running job that is still at this turn; None: it is not."""
        found = await self._db.write_rows(self._turn, id=job_id, turn=turn)
        return rows.job_of(found[0]) if found else None

    async def refuse_item(self, item: JobItem) -> None:
        """Nothing is done about it, and why. Raises JobHeld unless job and thing are as wanted."""
        await self._db.write(lambda tx: self._marks.mark(tx, item, JobItemState.REFUSED))

    async def end_job_if_through(self, job_id: str) -> JobRecord:
        """Its record; a running job of which nothing is pending is done from now on."""

        async def work(tx: Tx) -> JobRecord:
            row = await tx.row(self._end, id=job_id)
            return rows.job_of(row or await tx.row(self._exact, id=job_id))

        return await self._db.write(work)

    async def take_silent_jobs(self, *, silent_seconds: float, limit: int = 100) -> list[JobRecord]:
        """Running jobs that nothing was heard of for so long: mark and return them."""
        found = await self._db.write_rows(self._silent, seconds=silent_seconds, most=limit)
        return [rows.job_of(row) for row in found]


def _held(item: JobItem, found: tuple[str, str | None] | None) -> JobHeld:
    job, state = found or ("not there", None)
    says = f"the job is {job}, {item.item} is {state or 'none of its things'}"
    problem = Problem(
        place=f"job {item.job_id}", found=says, wanted="a running job and a thing that is pending"
    )
    return JobHeld("nothing is acted on for this job now", problems=[problem])


def _the_same(known: JobRecord, new: NewJob) -> JobRecord:
    """The job that had the key before, if it is this one. Raises Conflict."""
    wanted, found = ((j.kind, dict(j.where), dict(j.arguments)) for j in (new, known))
    if wanted == found:
        return known
    problem = Problem(place=f"key {new.key}", found=f"{found}", wanted=f"{wanted}")
    raise Conflict("the key was used for another job", problems=[problem])


def _nothing_fits(new: NewJob) -> NotFound:
    problem = Problem(place="where", found=str(dict(new.where)), wanted="what fits one at least")
    return NotFound("nothing fits the filter", problems=[problem])


def _too_many() -> InvalidInput:
    problem = Problem(
        place="where", found=f"more than {MOST_THINGS:,}", wanted=f"at most {MOST_THINGS:,}"
    )
    return InvalidInput("the filter fits too many for one job", problems=[problem])


def _ordered_since(job: JobRecord) -> Conflict:
    last = job.orders[-1]
    problem = Problem(
        place=f"job {job.id}", found=f"told to {last['order']} by {last['by']} since",
        wanted="as it was when it was read",
    )  # fmt: skip
    return Conflict("the job has moved on", problems=[problem])


def _not_now(job: JobRecord, order: JobOrder, wanted: frozenset[JobState]) -> Conflict:
    problem = Problem(
        place=f"job {job.id}", found=str(job.state), wanted=" or ".join(sorted(wanted))
    )
    return Conflict(f"the job cannot be told to {order} now", problems=[problem])
