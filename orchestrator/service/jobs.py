"""Acts on many things at once: people start them, hold them and see how far they are.

A job is a row with its things; workers act on them in batches (`JobWorker`), which are woken by one
message each and found again by a sweep. What acts on a thing of a kind is a `JobKind`.

    accept ── things are settled ── message ──► turn taken ── each thing: act + mark, one commit
                                       ▲                                        │
                                       └──────────── next turn ◄────────────────┤
                                                                   nothing pending: done
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import structlog

from orchestrator import crashpoints
from orchestrator.crashpoints import Reached
from orchestrator.errors import (
    IllegalTransition,
    InvalidInput,
    JobHeld,
    Problem,
    RefusedError,
    Unavailable,
)
from orchestrator.ports import (
    MAINTENANCE_QUEUE,
    DeadLetterQueue,
    HintPublisher,
    JobItem,
    JobItemRecord,
    JobItemState,
    JobOrder,
    JobRecord,
    JobState,
    JobStore,
    NewJob,
    Redelivery,
    Which,
    job_hint,
)
from orchestrator.service.escalations import require_reason
from orchestrator.service.redelivery import Redeliverer

log = structlog.get_logger(__name__)

LARGEST_BATCH = 50
LONGEST_BATCH_SECONDS = 2.0
"""Well below the silence after which a job is looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Aftermath:
    """What is left to do when a thing was acted on. Lost, the sweeps do it."""

    wake: Redelivery | None = None
    closed: str | None = None  # an escalation whose message has to go


class JobKind(Protocol):
    """How a thing of a kind of jobs is acted on."""

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raises InvalidInput for what the act cannot be told."""

    def chosen(self, which: Which) -> Which:
        """Of what the filter names, all that can be acted on so. Raises InvalidInput."""

    async def act(self, job: JobRecord, item: str) -> Aftermath:
        """Act, and mark the item done in the same transaction.

        Raises JobHeld when it must not, RefusedError or IllegalTransition when it cannot, with
        nothing changed.
        """


class Jobs:
    """Jobs, for people and programs."""

    def __init__(
        self,
        store: JobStore,
        publisher: HintPublisher,
        kinds: Mapping[str, JobKind],
        *,
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._publisher, self._kinds = store, publisher, kinds
        self._new_id = new_id

    async def count(self, kind: str, which: Which) -> int:
        """How many a job of this kind would act on now."""
        return await self._store.count_things(self._kinds[kind].chosen(which))

    async def start(
        self,
        kind: str,
        which: Which,
        *,
        by: str,
        reason: str,
        arguments: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> JobRecord:
        """Accept a job and wake a worker for it.

        A key that was used before is answered with its job. Raises InvalidInput, NotFound (nothing
        fits), Conflict.
        """
        require_reason(reason)
        self._kinds[kind].check(arguments or {})
        chosen = self._kinds[kind].chosen(which)
        job = await self._store.add_job(
            NewJob(
                id=self._new_id(), kind=kind, tenant=which.tenant,
                where=_told(chosen), arguments=dict(arguments or {}), by=by,
                reason=reason, key=key,
            ),
            chosen,
        )  # fmt: skip
        await wake(self._publisher, [job])
        return job

    async def list(
        self, *, tenant: str | None = None, before: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """Newest first."""
        return await self._store.jobs(tenant=tenant, before=before, limit=limit)

    async def show(self, job_id: str) -> JobRecord:
        """One. Raises NotFound."""
        return await self._store.job(job_id)

    async def items(
        self, job_id: str, *, state: JobItemState | None = None, after: str | None = None,
        limit: int = 200,
    ) -> Sequence[JobItemRecord]:  # fmt: skip
        """Its things."""
        return await self._store.job_items(job_id, state=state, after=after, limit=limit)

    async def order(
        self, job_id: str, order: JobOrder, *, by: str, reason: str, seen: JobRecord | None = None
    ) -> JobRecord:
        """Pause, resume or cancel it; with `seen` only if nobody has ordered it since.

        Raises Conflict, InvalidInput, NotFound.
        """
        require_reason(reason)
        job = await self._store.order_job(job_id, order, by=by, reason=reason, seen=seen)
        await wake(self._publisher, [job])
        return job


class JobWorker:
    """The jobs as a worker sees them: one batch for each message."""

    def __init__(
        self,
        store: JobStore,
        publisher: HintPublisher,
        redeliverer: Redeliverer,
        dead_letters: DeadLetterQueue,
        kinds: Mapping[str, JobKind],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._publisher = store, publisher
        self._redeliverer, self._dead_letters = redeliverer, dead_letters
        self._kinds, self._monotonic = kinds, monotonic

    async def work(self, job_id: str, turn: int) -> None:
        """Take the turn, act on a batch, and have the next one called. Raises Unavailable."""
        await _reach("before_claim", job_id)
        job = await self._store.take_job_turn(job_id, turn)
        if job is None:
            log.debug("job.hint_dropped", job=job_id, turn=turn)
            return
        await _reach("after_claim", job_id)
        done: list[Aftermath] = []
        try:
            await self._batch(job, done)
        except JobHeld as held:
            log.info("job.held", job=job_id, why=str(held))
        finally:
            await self._after(job_id, done)
        job = await self._store.end_job_if_through(job_id)
        log.info("job.batch", job=job_id, state=job.state, done=job.done, refused=job.refused)
        await wake(self._publisher, [job])

    async def sweep(self, *, silent_seconds: float) -> None:
        """Wake jobs that have been silent although no message for any is on the broker."""
        silent = await self._store.take_silent_jobs(silent_seconds=silent_seconds)
        if silent and not (await self._publisher.depth([MAINTENANCE_QUEUE]))[MAINTENANCE_QUEUE]:
            log.warning("jobs.woken", jobs=len(silent))
            await wake(self._publisher, silent)

    async def _batch(self, job: JobRecord, done: list[Aftermath]) -> None:
        until = self._monotonic() + LONGEST_BATCH_SECONDS
        pending = await self._store.job_items(
            job.id, state=JobItemState.PENDING, limit=LARGEST_BATCH
        )
        for each in pending:
            if self._monotonic() > until:
                return
            aftermath = await self._act(job, each.item)
            if aftermath is not None:
                done.append(aftermath)

    async def _act(self, job: JobRecord, item: str) -> Aftermath | None:
        """None: it was refused, and the job's report says why."""
        await _reach("before_commit", job.id)
        try:
            aftermath = await self._kinds[job.kind].act(job, item)
        except (JobHeld, Unavailable):
            raise
        except (RefusedError, IllegalTransition) as refusal:
            why = str(refusal)
        except Exception as error:
            # One thing that breaks its act must not hold up the others for ever.
            log.exception("job.item_broke", job=job.id, item=item)
            why = f"the act broke: {type(error).__name__}"
        else:
            await _reach("after_commit", job.id)
            return aftermath
        await self._store.refuse_item(JobItem(job_id=job.id, item=item, outcome=why))
        return None

    async def _after(self, job_id: str, done: Sequence[Aftermath]) -> None:
        await _reach("before_publish", job_id)
        try:
            await self._dead_letters.remove([each.closed for each in done if each.closed])
        except Unavailable as error:
            log.warning("dead_letters.postponed", why=str(error))
        await self._redeliverer.publish([each.wake for each in done if each.wake])
        await _reach("after_publish", job_id)


def require_arguments(
    given: Mapping[str, Any], takes: Mapping[str, type], *, needed: Sequence[str] = ()
) -> None:
    """Raises InvalidInput for arguments of an act that it does not take, or lacks."""
    problems = [
        Problem(
            place=f"argument {name}", found=repr(value),
            wanted=takes[name].__name__ if name in takes else "no such argument",
        )
        for name, value in given.items()
        # A truth is an int to Python.
        if not isinstance(value, takes.get(name, ()))
        or (isinstance(value, bool) and takes[name] is not bool)
    ]  # fmt: skip
    problems += [
        Problem(place=f"argument {name}", found="nothing", wanted=takes[name].__name__)
        for name in needed if name not in given
    ]  # fmt: skip
    if problems:
        raise InvalidInput("the act cannot be told this", problems=problems)


async def wake(publisher: HintPublisher, jobs: Sequence[JobRecord]) -> None:
    """Call for the next batch of those that run. While the broker is away, the sweep does later."""
    hints = [job_hint(job.id, job.turn, job.kind) for job in jobs if job.state is JobState.RUNNING]
    try:
        await publisher.publish(hints)
    except Unavailable as error:
        log.warning("jobs.postponed", jobs=len(hints), why=str(error))


def _told(which: Which) -> Mapping[str, Any]:
    """The filter as it is kept: read back, the same filter is the same, in every process."""
    told: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(which, order="deterministic"))
    return told


async def _reach(point: str, job_id: str) -> None:
    if crashpoints.hook is not None:
        await crashpoints.reach(Reached(point=point, run_id=job_id))
