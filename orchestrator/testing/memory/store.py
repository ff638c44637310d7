"""A whole `ports.Store` in memory: what the SQL store does, in microseconds and under any clock.

Each call is one step of the event loop, hence atomic, and has no wait of its own. Where a test
wants the way to the database to take time, or to break, it installs a `line`.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.plan import Plan
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.errors import Unavailable
from orchestrator.ports import (
    OPEN_ONES,
    Acceptance,
    Accepted,
    ApiChange,
    ApiOverride,
    AttemptRecord,
    AuditRecord,
    ClaimedRun,
    DatabaseRoom,
    EscalationFilter,
    EscalationRecord,
    Flow,
    JobItem,
    JobItemRecord,
    JobItemState,
    JobOrder,
    JobRecord,
    NewAcceptance,
    NewApiChange,
    NewJob,
    NewRun,
    Progress,
    QueueCounts,
    Redelivery,
    RunFilter,
    RunRecord,
    RunWrite,
    Signals,
    StepRecord,
    Which,
    WorkerRecord,
    WorkflowVersion,
)
from orchestrator.ports.vouching import Signer
from orchestrator.store.partitions import first_id
from orchestrator.store.searching import PART_OF_AN_ID, words_of
from orchestrator.testing.memory import (
    accepting,
    changes,
    jobs,
    journal,
    letters,
    records,
    sweeps,
    versions,
)
from orchestrator.testing.memory.aliases import MemoryAliases
from orchestrator.testing.memory.children import MemoryChildren
from orchestrator.testing.memory.code_waits import MemoryCode
from orchestrator.testing.memory.maps import MemoryMaps
from orchestrator.testing.memory.moves import MemoryMoves
from orchestrator.testing.memory.passing import Line, Moment
from orchestrator.testing.memory.pauses import MemoryPauses
from orchestrator.testing.memory.reruns import MemoryReruns
from orchestrator.testing.memory.surveying import MemorySurveys
from orchestrator.testing.memory.tables import MemoryDatabase, RunRow
from orchestrator.testing.memory.waits_store import MemoryWaits

__all__ = ["Line", "MemoryStore", "Moment"]


class MemoryStore(
    MemoryWaits,
    MemoryPauses,
    MemoryReruns,
    MemoryChildren,
    MemoryMaps,
    MemoryMoves,
    MemoryAliases,
    MemoryCode,
    MemorySurveys,
):
    """One process's way to a `MemoryDatabase`."""

    address = "memory"

    def __init__(self, database: MemoryDatabase, *, line: Line | None = None) -> None:
        super().__init__(database, line)
        # Claims whose answer was lost: the runs may be ours without anybody here driving them.
        # By (run, epoch, owner), how often.
        self._unheard: dict[tuple[str, int, str], int] = {}

    async def close(self) -> None:
        """Nothing is kept open."""

    # --- workflows --------------------------------------------------------------------------------

    async def publish(
        self, plan: Plan, *, document: str, by: str, operations: str = "",
        signer: Signer | None = None,
    ) -> tuple[WorkflowVersion, bool]:  # fmt: skip
        """See WorkflowStore."""
        return await self._pass(
            "publish",
            lambda: versions.publish(
                self.database, plan, document=document, by=by, operations=operations, signer=signer
            ),
        )

    async def keep_signature(self, workflow_id: str, *, key_id: str, signature: bytes) -> None:
        """See WorkflowStore."""
        await self._pass(
            "keep_signature",
            lambda: versions.keep_signature(
                self.database, workflow_id, key_id=key_id, signature=signature
            ),
        )

    async def workflow(self, name: str, version: int | None = None) -> WorkflowVersion:
        """See WorkflowStore."""
        return await self._pass("workflow", lambda: versions.workflow(self.database, name, version))

    async def workflow_by_id(self, workflow_id: str) -> WorkflowVersion:
        """See WorkflowStore."""
        return await self._pass(
            "workflow_by_id", lambda: versions.workflow_by_id(self.database, workflow_id)
        )

    async def workflows(self) -> list[WorkflowVersion]:
        """See WorkflowStore."""
        known = self.database.versions
        return await self._pass("workflows", lambda: [known[name][-1] for name in sorted(known)])

    async def versions(self, name: str) -> list[WorkflowVersion]:
        """See WorkflowStore."""
        return await self._pass("versions", lambda: self.database.versions.get(name, [])[::-1])

    # --- runs: hot path ---------------------------------------------------------------------------

    async def now(self) -> datetime:
        """The database's clock."""
        return await self._pass("now", self.database.clock)

    async def accept(self, runs: Sequence[NewRun]) -> list[Accepted]:
        """See RunStore."""
        if not runs:
            return []
        return await self._pass("accept", lambda: accepting.accept(self.database, runs))

    async def backlog(self, most: int) -> Mapping[str, int]:
        """See RunStore."""
        return await self._pass("backlog", lambda: accepting.backlog(self.database, most))

    async def claim(self, hints: Sequence[tuple[str, int]], *, owner: str) -> list[ClaimedRun]:
        """See RunStore."""
        if not hints:
            return []
        keys = [(run_id, epoch, owner) for run_id, epoch in hints]
        try:
            claimed = await self._pass("claim", lambda: self._claim(hints, owner))
        except (Unavailable, TimeoutError):
            for key in dict.fromkeys(keys):
                self._unheard[key] = self._unheard.get(key, 0) + 1
            raise
        for key in keys:
            self._unheard.pop(key, None)
        return claimed

    def _claim(self, hints: Sequence[tuple[str, int]], owner: str) -> list[ClaimedRun]:
        taken = accepting.claim(self.database, hints, owner=owner, unheard=self._unheard)
        return [records.claimed_of(self.database, row) for row in taken]

    async def record(self, writes: Sequence[RunWrite]) -> list[Signals | None]:
        """See RunStore."""
        if not writes:
            return []
        return await self._pass("record", lambda: journal.record(self.database, writes))

    async def request_cancel(
        self,
        run_id: str,
        *,
        mode: CancelMode,
        reason: str,
        by: str,
        item: JobItem | None = None,
        seen: RunRecord | None = None,
    ) -> Redelivery | None:
        """See RunStore."""
        return await self._pass(
            "request_cancel",
            lambda: accepting.request_cancel(
                self.database, run_id, mode=mode, reason=reason, by=by, item=item, seen=seen
            ),
        )

    # --- runs: look -------------------------------------------------------------------------------

    async def run(self, run_id: str) -> RunRecord:
        """See RunStore."""
        runs = self.database.runs
        return await self._pass(
            "run", lambda: records.run_of(records.row_like(runs, run_id, "run"))
        )

    async def steps(self, run_id: str) -> tuple[StepRecord, ...]:
        """See RunStore. Raises NotFound."""

        def work() -> tuple[StepRecord, ...]:
            row = self.database.runs.get(run_id)
            if row is None:
                raise records.not_found("run", run_id, "the whole id of a run")
            return records.steps_of(self.database, row)

        return await self._pass("steps", work)

    async def attempts(self, run_id: str) -> list[AttemptRecord]:
        """See RunStore."""

        def work() -> list[AttemptRecord]:
            row = self.database.runs.get(run_id)
            made = () if row is None else row.attempts.values()
            return sorted(made, key=lambda each: (each.started_at, each.id))

        return await self._pass("attempts", work)

    async def audit(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[AuditRecord]:
        """See RunStore."""

        def work() -> list[AuditRecord]:
            row = self.database.runs.get(run_id)
            found = () if row is None else sorted(row.audit.values())
            told = (records.audit_of(each) for each in found)
            return list(itertools.islice((each for each in told if each.seq > after), limit))

        return await self._pass("audit", work)

    async def progress(self, run_ids: Collection[str]) -> dict[str, Progress]:
        """See RunStore."""
        runs = self.database.runs

        def work() -> dict[str, Progress]:
            found = {run_id: records.run_of(runs[run_id]) for run_id in run_ids if run_id in runs}
            return {
                run_id: Progress(status=run.status, audit_seq=run.audit_seq)
                for run_id, run in found.items()
            }

        return await self._pass("progress", work)

    async def runs(self, which: RunFilter) -> list[RunRecord]:
        """See RunStore."""
        return await self._pass(
            "runs", lambda: [records.run_of(row) for row in _page(self.database, which)]
        )

    async def attributes(self, run_ids: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        """See RunStore."""
        known = self.database.runs
        return await self._pass(
            "attributes",
            lambda: {i: known[i].attributes for i in run_ids if i in known and known[i].attributes},
        )

    async def count_by_status(self, *, since: datetime | None = None) -> dict[RunStatus, int]:
        """See RunStore."""
        statuses = self.database.statuses

        def work() -> dict[RunStatus, int]:
            if since is None:
                return {status: count for status, count in statuses.items() if count}
            counted = Counter(
                row.status
                for row in self.database.runs.values()
                if row.status not in FINAL or row.created_at >= since
            )
            return dict(counted)

        return await self._pass("count_by_status", work)

    async def flow(self, *, seconds: float) -> Flow:
        """See RunStore."""

        def work() -> Flow:
            since = self.database.clock() - timedelta(seconds=seconds)
            runs = self.database.runs.values()
            return Flow(
                accepted=sum(row.created_at >= since for row in runs),
                settled=sum(row.settled_at is not None and row.settled_at > since for row in runs),
            )

        return await self._pass("flow", work)

    # --- escalations ------------------------------------------------------------------------------

    async def escalation(self, escalation_id: str) -> EscalationRecord:
        """See EscalationStore."""
        return await self._pass("escalation", lambda: self._escalation(escalation_id))

    def _escalation(self, escalation_id: str) -> EscalationRecord:
        rows = self.database.escalations
        return records.escalation_of(
            self.database, records.row_like(rows, escalation_id, "escalation")
        )

    async def escalations(self, which: EscalationFilter = OPEN_ONES) -> list[EscalationRecord]:
        """See EscalationStore."""
        return await self._pass(
            "escalations", lambda: letters.chosen(self.database, which)[: which.limit]
        )

    async def escalations_of(self, run_id: str) -> list[EscalationRecord]:
        """See EscalationStore."""

        def work() -> list[EscalationRecord]:
            database, row = self.database, self.database.runs.get(run_id)
            ids = [] if row is None else sorted(row.escalations)
            return [records.escalation_of(database, database.escalations[each]) for each in ids]

        return await self._pass("escalations_of", work)

    async def open_unclaimed(self) -> list[str]:
        """See EscalationStore."""
        return await self._pass("open_unclaimed", lambda: letters.open_unclaimed(self.database))

    async def claim_escalation(
        self, escalation_id: str, *, by: str, for_seconds: float | None = None
    ) -> EscalationRecord:
        """See EscalationStore."""
        return await self._pass(
            "claim_escalation",
            lambda: letters.claim_escalation(
                self.database, escalation_id, by=by, for_seconds=for_seconds
            ),
        )

    async def assign_escalation(
        self,
        escalation_id: str,
        *,
        to: str,
        by: str,
        for_seconds: float | None = None,
        seen: EscalationRecord | None = None,
    ) -> EscalationRecord:
        """See EscalationStore."""
        return await self._pass(
            "assign_escalation",
            lambda: letters.assign_escalation(
                self.database, escalation_id, to=to, by=by, for_seconds=for_seconds, seen=seen
            ),
        )

    async def comment_escalation(self, escalation_id: str, text: str, *, by: str) -> None:
        """See EscalationStore."""
        await self._pass(
            "comment_escalation",
            lambda: letters.comment(self.database, escalation_id, text, by=by),
        )

    async def release_expired_claims(self, *, limit: int = 100) -> list[EscalationRecord]:
        """See EscalationStore."""
        return await self._pass(
            "release_expired_claims", lambda: letters.release_expired(self.database, limit)
        )

    async def release_escalation(
        self, escalation_id: str, *, by: str, seen: EscalationRecord | None = None
    ) -> EscalationRecord:
        """See EscalationStore."""
        return await self._pass(
            "release_escalation",
            lambda: letters.release_escalation(self.database, escalation_id, by=by, seen=seen),
        )

    async def act(
        self,
        escalation_id: str,
        write: RunWrite,
        *,
        expected_epoch: int,
        resolution: str,
        by: str,
        reason: str,
        seen: EscalationRecord | None = None,
        item: JobItem | None = None,
    ) -> list[Redelivery]:
        """See EscalationStore."""
        return await self._pass(
            "act",
            lambda: letters.act(
                self.database, escalation_id, write, expected_epoch=expected_epoch,
                resolution=resolution, by=by, reason=reason, seen=seen, item=item,
            ),
        )  # fmt: skip

    async def escalated_run(self, escalation_id: str) -> tuple[EscalationRecord, ClaimedRun]:
        """See EscalationStore."""

        def work() -> tuple[EscalationRecord, ClaimedRun]:
            found = self._escalation(escalation_id)
            row = self.database.runs[found.run_id]
            return found, records.claimed_of(self.database, row)

        return await self._pass("escalated_run", work)

    # --- jobs -------------------------------------------------------------------------------------

    async def count_things(self, which: Which) -> int:
        """See JobStore."""
        return await self._pass("count_things", lambda: len(self._things(which)))

    async def add_job(self, new: NewJob, items: Which) -> JobRecord:
        """See JobStore."""
        return await self._pass(
            "add_job", lambda: jobs.add(self.database, new, self._things(items)[: items.limit])
        )

    def _things(self, which: Which) -> list[str]:
        if isinstance(which, EscalationFilter):
            return [each.id for each in letters.chosen(self.database, which)]
        return [row.id for row in _page(self.database, replace(which, limit=None))]

    async def job(self, job_id: str) -> JobRecord:
        """See JobStore."""
        known = self.database.jobs
        return await self._pass("job", lambda: records.row_like(known, job_id, "job"))

    async def jobs(
        self, *, tenant: str | None = None, before: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """See JobStore."""
        return await self._pass(
            "jobs", lambda: jobs.page(self.database, tenant=tenant, before=before)[:limit]
        )

    async def job_items(
        self, job_id: str, *, state: JobItemState | None = None, after: str | None = None,
        limit: int = 200,
    ) -> list[JobItemRecord]:  # fmt: skip
        """See JobStore."""
        return await self._pass(
            "job_items",
            lambda: jobs.items(self.database, job_id, state=state, after=after)[:limit],
        )

    async def order_job(
        self, job_id: str, order: JobOrder, *, by: str, reason: str, seen: JobRecord | None = None
    ) -> JobRecord:
        """See JobStore."""
        return await self._pass(
            "order_job",
            lambda: jobs.order(self.database, job_id, order, by=by, reason=reason, seen=seen),
        )

    async def take_job_turn(self, job_id: str, turn: int) -> JobRecord | None:
        """See JobStore."""
        return await self._pass(
            "take_job_turn", lambda: jobs.take_turn(self.database, job_id, turn)
        )

    async def refuse_item(self, item: JobItem) -> None:
        """See JobStore."""
        await self._pass(
            "refuse_item", lambda: jobs.mark(self.database, item, JobItemState.REFUSED)
        )

    async def end_job_if_through(self, job_id: str) -> JobRecord:
        """See JobStore."""
        return await self._pass(
            "end_job_if_through", lambda: jobs.end_if_through(self.database, job_id)
        )

    async def take_silent_jobs(self, *, silent_seconds: float, limit: int = 100) -> list[JobRecord]:
        """See JobStore."""
        return await self._pass(
            "take_silent_jobs",
            lambda: jobs.take_silent(self.database, silent_seconds=silent_seconds, limit=limit),
        )

    # --- workers and sweeps -----------------------------------------------------------------------

    async def register(self, worker: WorkerRecord) -> None:
        """See WorkerStore."""
        await self._pass("register", lambda: sweeps.register(self.database, worker))

    async def heartbeat(self, worker_id: str, *, active_runs: int, reserved: int) -> bool:
        """See WorkerStore."""
        return await self._pass(
            "heartbeat",
            lambda: sweeps.heartbeat(
                self.database, worker_id, active_runs=active_runs, reserved=reserved
            ),
        )

    async def deregister(self, worker_id: str) -> list[Redelivery]:
        """See WorkerStore."""
        return await self._pass("deregister", lambda: sweeps.deregister(self.database, worker_id))

    async def workers(self) -> list[WorkerRecord]:
        """See WorkerStore."""

        def work() -> list[WorkerRecord]:
            rows = sorted(self.database.workers.values(), key=lambda row: (row.name, row.id))
            return [records.worker_of(row) for row in rows]

        return await self._pass("workers", work)

    async def recover_dead(
        self, *, dead_after_seconds: float, also_dead: Sequence[str] = (), limit: int = 500
    ) -> list[Redelivery]:
        """See WorkerStore."""
        return await self._pass(
            "recover_dead",
            lambda: sweeps.recover_dead(
                self.database, dead_after_seconds=dead_after_seconds, also_dead=also_dead,
                limit=limit,
            ),
        )  # fmt: skip

    async def take_due(self, *, limit: int = 500) -> list[Redelivery]:
        """See WorkerStore."""
        return await self._pass("take_due", lambda: sweeps.take_due(self.database, limit=limit))

    async def due_in_seconds(self) -> float | None:
        """See WorkerStore."""
        return await self._pass("due_in_seconds", lambda: sweeps.due_in_seconds(self.database))

    async def recall(self, run_ids: Sequence[str]) -> list[Redelivery]:
        """See WorkerStore."""
        return await self._pass("recall", lambda: sweeps.recall(self.database, run_ids))

    async def take_lost(self, *, silent_seconds: float, limit: int) -> list[Redelivery]:
        """See WorkerStore."""
        return await self._pass(
            "take_lost",
            lambda: sweeps.take_lost(self.database, silent_seconds=silent_seconds, limit=limit),
        )

    async def room(self) -> DatabaseRoom | None:
        """See WorkerStore."""
        return await self._pass("room", lambda: None)

    async def queue_counts(self) -> list[QueueCounts]:
        """See WorkerStore."""
        return await self._pass("queue_counts", lambda: sweeps.queue_counts(self.database))

    # --- APIs -------------------------------------------------------------------------------------

    async def api_overrides(self) -> list[ApiOverride]:
        """See ApiStore."""
        known = self.database.api_overrides
        return await self._pass("api_overrides", lambda: [known[name] for name in sorted(known)])

    async def change_api(self, change: NewApiChange) -> ApiOverride:
        """See ApiStore."""
        return await self._pass("change_api", lambda: changes.change(self.database, change))

    async def note_acceptances(self, new: Sequence[NewAcceptance]) -> list[Acceptance]:
        """See ports.AcceptanceStore."""
        return await self._pass("note_acceptances", lambda: changes.accept(self.database, new))

    async def acceptances(self, workflow: str, *, limit: int = 50) -> list[Acceptance]:
        """See ports.AcceptanceStore."""
        known = self.database.acceptances
        return await self._pass(
            "acceptances", lambda: [a for a in known[::-1] if a.workflow == workflow][:limit]
        )

    async def api_changes(self, api: str, *, limit: int = 50) -> list[ApiChange]:
        """See ApiStore."""
        known = self.database.api_changes
        return await self._pass("api_changes", lambda: known.get(api, [])[::-1][:limit])


def _page(database: MemoryDatabase, which: RunFilter) -> list[RunRow]:
    """Rows that the filter names, newest first."""
    ids, now = database.run_ids(), database.clock()
    end = len(ids) if which.before is None else bisect_left(ids, which.before)
    found: list[RunRow] = []
    for place in range(end - 1, -1, -1):
        if which.limit is not None and len(found) >= which.limit:
            break
        row = database.runs[ids[place]]
        if _fits(database, row, which, now):
            found.append(row)
    return found


def _is_known_by(database: MemoryDatabase, row: RunRow, text: str) -> bool:
    """As `store.searching` says."""
    told = [row.cause, *(database.escalations[each].detail for each in row.escalations)]
    wanted = words_of(text)
    return (
        (PART_OF_AN_ID.fullmatch(text.lower()) is not None and row.id.startswith(text.lower()))
        or text in (row.workflow, row.idempotency_key)
        or any(value.startswith(text) for value in row.attributes.values())
        or any(wanted and _has_words(wanted, words_of(each, most=None)) for each in told)
    )


def _has_words(wanted: Sequence[str], there: Sequence[str]) -> bool:
    return all(any(word.startswith(part) for word in there) for part in wanted)


def _fits(database: MemoryDatabase, row: RunRow, which: RunFilter, now: datetime) -> bool:
    older, younger = which.older_than_seconds, which.younger_than_seconds
    return (
        (which.status is None or row.status in which.status)
        and which.workflow in (None, row.workflow)
        and which.tenant in (None, row.tenant)
        and (which.attributes or {}).items() <= row.attributes.items()
        and (which.text is None or _is_known_by(database, row, which.text.strip()))
        and (which.since is None or row.id >= first_id(which.since))
        and (which.until is None or row.id < first_id(which.until))
        and (which.ids is None or row.id in which.ids)
        and which.rerun_of in (None, row.rerun_of)
        and (which.parent is None or (which.parent == row.parent_id and row.map_id is None))
        and which.actor in (None, row.actor)
        and which.under is None  # nothing is accepted under policies here
        and (older is None or row.id < first_id(now - timedelta(seconds=older)))
        and (younger is None or row.id >= first_id(now - timedelta(seconds=younger)))
    )
