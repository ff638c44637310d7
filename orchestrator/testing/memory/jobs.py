"""Jobs: acts on many things at once, each once."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from orchestrator.errors import InvalidInput, JobHeld, NotFound, Problem
from orchestrator.ports import (
    MOST_THINGS,
    JobItem,
    JobItemRecord,
    JobItemState,
    JobOrder,
    JobRecord,
    JobState,
    NewJob,
)
from orchestrator.store.codec import dump, load, storable
from orchestrator.testing.memory.records import conflict, row_like
from orchestrator.testing.memory.tables import MemoryDatabase

_FROM = {
    JobOrder.PAUSE: (JobState.PAUSED, {JobState.RUNNING}),
    JobOrder.RESUME: (JobState.RUNNING, {JobState.PAUSED}),
    JobOrder.CANCEL: (JobState.CANCELLED, {JobState.RUNNING, JobState.PAUSED}),
}


def add(database: MemoryDatabase, new: NewJob, items: Sequence[str]) -> JobRecord:
    """Raises Conflict, NotFound."""
    key = None if new.key is None else (new.tenant or "", new.key)
    known = None if key is None else database.job_by_key.get(key)
    if known is not None:
        return _the_same(database.jobs[known], new)
    if not items:
        problem = Problem(
            place="where", found=str(dict(new.where)), wanted="what fits one at least"
        )
        raise NotFound("nothing fits the filter", problems=[problem])
    if len(items) > MOST_THINGS:
        problem = Problem(
            place="where", found=f"more than {MOST_THINGS:,}", wanted=f"at most {MOST_THINGS:,}"
        )
        raise InvalidInput("the filter fits too many for one job", problems=[problem])
    now = database.clock()
    job = JobRecord(
        id=new.id, kind=new.kind, tenant=new.tenant, where=load(dump(new.where)),
        arguments=load(dump(new.arguments)), by=storable(new.by), reason=storable(new.reason),
        state=JobState.RUNNING, turn=0, total=len(items), done=0, refused=0, created_at=now,
        touched_at=now, ended_at=None, orders=(),
    )  # fmt: skip
    database.jobs[new.id] = job
    database.job_items[new.id] = {
        item: JobItemRecord(item=item, state=JobItemState.PENDING, outcome="", at=None)
        for item in sorted(items)
    }
    if key is not None:
        database.job_by_key[key] = new.id
    return job


def _the_same(known: JobRecord, new: NewJob) -> JobRecord:
    wanted, found = ((j.kind, dict(j.where), dict(j.arguments)) for j in (new, known))
    if wanted != found:
        raise conflict(
            "the key was used for another job", place=f"key {new.key}", found=f"{found}",
            wanted=f"{wanted}",
        )  # fmt: skip
    return known


def page(database: MemoryDatabase, *, tenant: str | None, before: str | None) -> list[JobRecord]:
    """Newest first."""
    return [
        database.jobs[known]
        for known in sorted(database.jobs, reverse=True)
        if tenant in (None, database.jobs[known].tenant) and (before is None or known < before)
    ]


def items(
    database: MemoryDatabase, job_id: str, *, state: JobItemState | None, after: str | None
) -> list[JobItemRecord]:
    """In order of their ids."""
    return [
        each
        for each in database.job_items.get(job_id, {}).values()
        if state in (None, each.state) and each.item > (after or "")
    ]


def order(
    database: MemoryDatabase,
    job_id: str,
    wish: JobOrder,
    *,
    by: str,
    reason: str,
    seen: JobRecord | None,
) -> JobRecord:
    """Raises Conflict, NotFound."""
    job: JobRecord = row_like(database.jobs, job_id, "job")
    state, wanted = _FROM[wish]
    if job.state not in wanted:
        raise conflict(
            f"the job cannot be told to {wish} now", place=f"job {job.id}", found=str(job.state),
            wanted=" or ".join(sorted(wanted)),
        )  # fmt: skip
    if seen is not None and len(job.orders) != len(seen.orders):
        raise conflict(
            "the job has moved on", place=f"job {job.id}",
            found=f"told to {job.orders[-1]['order']} by {job.orders[-1]['by']} since",
            wanted="as it was when it was read",
        )  # fmt: skip
    now = database.clock()
    told = {"at": now.isoformat(), "by": by, "order": str(wish), "reason": reason}
    return _put(database, replace(
        job, state=state, touched_at=now, orders=(*job.orders, told),
        ended_at=now if state is JobState.CANCELLED else None,
    ))  # fmt: skip


def take_turn(database: MemoryDatabase, job_id: str, turn: int) -> JobRecord | None:
    """None unless it runs and is at this turn."""
    job = database.jobs.get(job_id)
    if job is None or job.state is not JobState.RUNNING or job.turn != turn:
        return None
    return _put(database, replace(job, turn=turn + 1, touched_at=database.clock()))


def mark(database: MemoryDatabase, item: JobItem, state: JobItemState) -> None:
    """Raises JobHeld, with nothing changed."""
    job = database.jobs.get(item.job_id)
    row = database.job_items.get(item.job_id, {}).get(item.item)
    runs = job is not None and job.state is JobState.RUNNING
    if job is None or row is None or not runs or row.state is not JobItemState.PENDING:
        raise _held(item, job, row)
    now, done = database.clock(), state is JobItemState.DONE
    database.job_items[job.id][item.item] = JobItemRecord(
        item=item.item, state=state, outcome=storable(item.outcome), at=now
    )
    _put(database, replace(
        job, done=job.done + done, refused=job.refused + (not done), touched_at=now
    ))  # fmt: skip


def _held(item: JobItem, job: JobRecord | None, row: JobItemRecord | None) -> JobHeld:
    state = "not there" if job is None else job.state
    says = f"the job is {state}, {item.item} is {row.state if row else 'none of its things'}"
    problem = Problem(
        place=f"job {item.job_id}", found=says, wanted="a running job and a thing that is pending"
    )
    return JobHeld("nothing is acted on for this job now", problems=[problem])


def end_if_through(database: MemoryDatabase, job_id: str) -> JobRecord:
    """Done when nothing is pending."""
    job = database.jobs[job_id]
    if job.state is not JobState.RUNNING or job.pending:
        return job
    return _put(database, replace(job, state=JobState.DONE, ended_at=database.clock()))


def silent(database: MemoryDatabase, *, silent_seconds: float) -> list[JobRecord]:
    """Running ones, the longest first."""
    now = database.clock()
    return sorted(
        (job for job in database.jobs.values()
         if job.state is JobState.RUNNING
         and (now - job.touched_at).total_seconds() > silent_seconds),
        key=lambda job: job.touched_at,
    )  # fmt: skip


def take_silent(database: MemoryDatabase, *, silent_seconds: float, limit: int) -> list[JobRecord]:
    """Marked as touched now."""
    found, now = silent(database, silent_seconds=silent_seconds)[:limit], database.clock()
    return [_put(database, replace(job, touched_at=now)) for job in found]


def _put(database: MemoryDatabase, job: JobRecord) -> JobRecord:
    database.jobs[job.id] = job
    return job
