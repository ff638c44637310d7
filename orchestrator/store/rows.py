"""From rows to records: the columns each record is read from, in order, and who builds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from orchestrator.core import chain
from orchestrator.core.events import CancelMode
from orchestrator.core.exchange import FrozenRequest, Outcome
from orchestrator.core.path import Path, straight
from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import longer, outline, plan_from_json
from orchestrator.core.saga import EscalationReason, Link
from orchestrator.core.severity import Severity
from orchestrator.core.slo import ObjectiveKind, Urgency
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.errors import InvalidDefinition, Problem, RefusedError, Untrusted
from orchestrator.ports import (
    URGENT_WITHIN_SECONDS,
    Acceptance,
    AccessKey,
    ApiChange,
    ApiChangeKind,
    ApiOverride,
    ApiSetting,
    Asks,
    AttemptRecord,
    AuditRecord,
    EscalationRecord,
    JobItemRecord,
    JobItemState,
    JobRecord,
    JobState,
    LinkRecord,
    Proposal,
    ProposalOutcome,
    Redelivery,
    Role,
    RunRecord,
    SignalRecord,
    StepRecord,
    Subject,
    WaitOutcome,
    WaitRecord,
    WorkerRecord,
    WorkflowVersion,
    untouched_steps,
)
from orchestrator.ports.slo import AlarmRecord
from orchestrator.store.codec import dump, instant, instant_optional, load, load_optional, micros
from orchestrator.store.dialect import Dialect

RUN = (
    "runs.id, runs.workflow_id, runs.workflow, runs.version, runs.tenant, runs.actor, runs.lane,"
    " runs.priority, runs.idempotency_key, runs.inputs, runs.status, runs.direction, runs.epoch,"
    " runs.owner, runs.claims, runs.hop_id, runs.wake_at, runs.deadline_at, runs.published_at,"
    " runs.cancel, runs.cause, runs.outputs, runs.created_at, runs.started_at, runs.settled_at,"
    " runs.audit_seq, runs.path, runs.edits, runs.rerun_of, runs.traceparent,"
    " runs.tracestate, runs.parent_id, runs.wait_id, runs.depth, runs.branch, runs.whole_id,"
    " runs.map_id, runs.item"
)
LINK = (
    "run_id, step, direction, status, attempts, doubt, first_started_at, sequence, request,"
    " outputs, error, started_at, finished_at"
)
ATTEMPT = (
    "id, step, direction, number, kind, outcome, reason, status_code, started_at, finished_at,"
    " worker"
)
ESCALATION = (
    "e.id, e.run_id, runs.workflow, runs.tenant, e.reason, e.detail, e.step, e.step_id,"
    " e.direction, e.context, e.opened_at, e.claimed_by, e.claimed_at, e.closed_at, e.resolution,"
    " e.closed_by, e.closing_reason, e.api, e.claimed_until, e.severity,"
    " e.due_seconds"
)
ALARM = (
    "id, workflow, kind, urgency, target, long_seconds, bad, total, burn_rate, opened_at,"
    " burning_at, closed_at"
)
JOB = (
    "id, kind, tenant, chosen, arguments, wanted_by, reason, state, turn, total, done, refused,"
    " created_at, touched_at, ended_at, orders, proposed"
)
JOB_ITEM = "item, state, outcome, at"
WORKFLOW = (
    "id, name, version, digest, plan, document, published_at, published_by, operations, key_id,"
    " signature"
)
API_OVERRIDE = "api, version, settings, changed_at"
ACCEPTANCE = "id, workflow, step, digest, compensation, at, accepted_by, reason"
API_CHANGE = "api, version, kind, at, changed_by, reason, before, after"
ACCESS_KEY = (
    "id, name, role, tenant, digest, created_at, created_by, expires_at, revoked_at, revoked_by"
)
WAIT = (
    "w.id, w.run_id, runs.workflow, runs.tenant, w.step, w.attempt, w.step_id, w.asks, w.signal,"
    " w.asked, w.opened_at, w.expires_at, w.remind_at, w.reminders, w.closed_at, w.outcome,"
    " COALESCE(w.answer, s.data), COALESCE(w.closed_by, s.sent_by), COALESCE(w.via, s.via)"
)
PROPOSAL = (
    "p.id, p.run_id, runs.workflow, runs.tenant, p.subject, p.subject_id, p.act, p.arguments,"
    " p.reason, p.proposed_by, p.via, p.proposed_at, p.expires_at, p.closed_at, p.outcome,"
    " p.closed_by, p.closing_reason"
)
SIGNAL = "run_id, number, name, key, data, sent_at, sent_by, via, wait_id"
WORKER = "id, name, pid, started_at, heartbeat_at, active_runs, reserved, version"
_REDELIVERY = (
    "runs.id, runs.epoch, runs.hop_id, runs.parent_hop_id, runs.lane, runs.direction, runs.step,"
    " runs.workflow_id"
)
REDELIVERY_WIDTH = 9


def redelivery(dialect: Dialect) -> str:
    """The columns of a Redelivery, REDELIVERY_WIDTH of them; the last is `ports.is_urgent`."""
    soon = dialect.later("{now}", str(URGENT_WITHIN_SECONDS))
    return f"{_REDELIVERY}, (runs.priority > 0 OR runs.deadline_at < {soon})"


def waking(dialect: Dialect) -> str:
    """Let the run `:run_id` sleep no longer; its Redelivery's columns, and its status.

    No row: an owner has it, who sees the answer. What is paused need not wait when that is over.
    """
    return (
        "UPDATE runs SET wake_at = {now},"
        " published_at = CASE WHEN status = 'waiting' THEN {now} END"
        " WHERE id = :run_id AND owner IS NULL AND status IN ('waiting', 'paused')"
        f" RETURNING {redelivery(dialect)}, runs.status"
    )


def run_of(row: Sequence[Any]) -> RunRecord:
    """From the columns RUN."""
    return RunRecord(
        id=row[0], workflow_id=row[1], workflow=row[2], version=row[3], tenant=row[4],
        actor=row[5], lane=row[6], priority=row[7], idempotency_key=row[8], inputs=load(row[9]),
        status=RunStatus(row[10]), direction=Direction(row[11]), epoch=row[12], owner=row[13],
        claims=row[14], hop_id=row[15], wake_at=instant_optional(row[16]),
        deadline_at=instant_optional(row[17]), published_at=instant_optional(row[18]),
        cancel=None if row[19] is None else CancelMode(row[19]), cause=row[20],
        outputs=load_optional(row[21]), created_at=instant(row[22]),
        started_at=instant_optional(row[23]), settled_at=instant_optional(row[24]),
        audit_seq=row[25], path=path_of(row[26]), edits=load_optional(row[27]) or {},
        rerun_of=row[28] or None, traceparent=row[29], tracestate=row[30],
        parent_id=row[31], wait_id=row[32], depth=row[33] or 0, branch=row[34],
        whole_id=row[35], map_id=row[36], item=row[37],
    )  # fmt: skip


def link_of(row: Sequence[Any]) -> LinkRecord:
    """From the columns LINK."""
    request = load_optional(row[8])
    return LinkRecord(
        link=Link(
            status=LinkStatus(row[3]), attempts=row[4], doubt=bool(row[5]),
            first_started_at=instant_optional(row[6]), sequence=row[7],
        ),
        request=None if request is None else FrozenRequest.from_json(request),
        outputs=load_optional(row[9]),
        error=row[10],
        started_at=instant_optional(row[11]),
        finished_at=instant_optional(row[12]),
    )  # fmt: skip


_UNTOUCHED = LinkRecord()


def path_text(path: Path) -> str:
    """For the column `path`."""
    return dump({"steps": path.steps, "retried": path.retried})


def path_of(stored: str | None) -> Path | None:
    """From the column `path`; None while the run has only gone from each step to the next."""
    data = load_optional(stored)
    return None if data is None else Path(tuple(data["steps"]), tuple(data["retried"]))


def plan_of(
    text: str, *, workflow: str, version: int, digest: str
) -> tuple[Plan, RefusedError | None]:
    """A stored plan, or its outline and why it cannot be read, with the version that it is of."""
    try:
        return plan_from_json(text), None
    except (InvalidDefinition, Untrusted) as error:
        of = f"workflow {workflow} v{version} (digest {digest}), stored plan"
        problems = [
            Problem(place=f"{of}, {each.place}", found=each.found, wanted=each.wanted)
            for each in error.problems
        ]
        said = f"{workflow} v{version} may not be run: {error.message}"
        return outline(workflow, text), type(error)(said, problems=problems)


def steps_of(
    plan: Plan, path: Path | None, rows: Iterable[Sequence[Any]]
) -> tuple[StepRecord, ...]:
    """All steps of a run's chain; links without a row are as nothing has happened to them."""
    links = {(row[1], row[2]): link_of(row) for row in rows}
    if not plan.digest:  # an outline, which may not know of all
        positions = 1 + max((index for index, _ in links), default=-1)
        plan = longer(plan, positions if path is None else 1 + max(path.steps, default=-1))
    return tuple(
        replace(
            step,
            forward=links.get((step.index, Direction.FORWARD), _UNTOUCHED),
            undo=links.get((step.index, Direction.BACKWARD), _UNTOUCHED),
        )
        for step in untouched_steps(plan, path or straight(plan))
    )


def attempt_of(row: Sequence[Any]) -> AttemptRecord:
    """From the columns ATTEMPT."""
    return AttemptRecord(
        id=row[0], step=row[1], direction=Direction(row[2]), number=row[3], kind=row[4],
        outcome=Outcome(row[5]), reason=row[6], status_code=row[7], started_at=instant(row[8]),
        finished_at=instant(row[9]), worker=row[10],
    )  # fmt: skip


def audit_of(row: Sequence[Any]) -> list[AuditRecord]:
    """The records that one row holds (see core/chain), from seq, at, kind, actor, data."""
    seq, at, kind, actor, data = row
    kinds, said = kind.split(chain.AND), load(data)
    if len(kinds) == 1:
        return [AuditRecord(seq=seq, at=instant(at), kind=kind, actor=actor, data=said)]
    if isinstance(said, dict):  # they were erased together
        said = [said] * len(kinds)
    ats = chain.times(micros(instant(at)), data)
    return [
        AuditRecord(seq=seq - behind, at=instant(at), kind=kind, actor=actor, data=data)
        for behind, kind, at, data in zip(
            range(len(kinds) - 1, -1, -1), kinds, ats, said, strict=True
        )
    ]


def escalation_of(row: Sequence[Any]) -> EscalationRecord:
    """From the columns ESCALATION."""
    return EscalationRecord(
        id=row[0], run_id=row[1], workflow=row[2], tenant=row[3], reason=EscalationReason(row[4]),
        detail=row[5], step=row[6], step_id=row[7], direction=Direction(row[8]),
        context=load(row[9]), opened_at=instant(row[10]), claimed_by=row[11],
        claimed_at=instant_optional(row[12]), closed_at=instant_optional(row[13]),
        resolution=row[14], closed_by=row[15], closing_reason=row[16], api=row[17],
        claimed_until=instant_optional(row[18]),
        severity=None if row[19] is None else Severity(row[19]), due_seconds=row[20],
    )  # fmt: skip


def alarm_of(row: Sequence[Any]) -> AlarmRecord:
    """From the columns ALARM."""
    return AlarmRecord(
        id=row[0], workflow=row[1], kind=ObjectiveKind(row[2]), urgency=Urgency(row[3]),
        target=row[4], long_seconds=row[5], bad=row[6], total=row[7], burn_rate=row[8],
        opened_at=instant(row[9]), burning_at=instant(row[10]),
        closed_at=instant_optional(row[11]),
    )  # fmt: skip


def job_of(row: Sequence[Any]) -> JobRecord:
    """From the columns JOB."""
    return JobRecord(
        id=row[0], kind=row[1], tenant=row[2], where=load(row[3]), arguments=load(row[4]),
        by=row[5], reason=row[6], state=JobState(row[7]), turn=row[8], total=row[9], done=row[10],
        refused=row[11], created_at=instant(row[12]), touched_at=instant(row[13]),
        ended_at=instant_optional(row[14]), orders=tuple(load(row[15])), proposed=row[16],
    )  # fmt: skip


def job_item_of(row: Sequence[Any]) -> JobItemRecord:
    """From the columns JOB_ITEM."""
    return JobItemRecord(
        item=row[0], state=JobItemState(row[1]), outcome=row[2], at=instant_optional(row[3])
    )


def workflow_of(row: Sequence[Any]) -> WorkflowVersion:
    """From the columns WORKFLOW; also of a plan that cannot be read, which says so."""
    plan, unread = plan_of(row[4], workflow=row[1], version=row[2], digest=row[3])
    return WorkflowVersion(
        id=row[0], workflow=row[1], version=row[2], plan=plan, document=row[5],
        published_at=instant(row[6]), published_by=row[7], operations=row[8] or "",
        plan_digest=sha256(row[4].encode()).hexdigest(), key_id=row[9],
        signature=None if row[10] is None else bytes(row[10]), unread=unread,
    )  # fmt: skip


def worker_of(row: Sequence[Any]) -> WorkerRecord:
    """From the columns WORKER."""
    return WorkerRecord(
        id=row[0], name=row[1], pid=row[2], started_at=instant(row[3]),
        heartbeat_at=instant(row[4]), active_runs=row[5], reserved=row[6], version=row[7],
    )  # fmt: skip


def api_settings_as_text(settings: Mapping[str, ApiSetting]) -> str:
    """For the column `settings`."""
    return dump({name: [each.value, each.change] for name, each in settings.items()})


def api_override_of(row: Sequence[Any]) -> ApiOverride:
    """From the columns API_OVERRIDE."""
    settings = {
        name: ApiSetting(value=value, change=change)
        for name, (value, change) in load(row[2]).items()
    }
    return ApiOverride(api=row[0], version=row[1], settings=settings, changed_at=instant(row[3]))


def api_change_of(row: Sequence[Any]) -> ApiChange:
    """From the columns API_CHANGE."""
    return ApiChange(
        api=row[0], version=row[1], kind=ApiChangeKind(row[2]), at=instant(row[3]), by=row[4],
        reason=row[5], before=load(row[6]), after=load(row[7]),
    )  # fmt: skip


def access_key_of(row: Sequence[Any]) -> AccessKey:
    """From the columns ACCESS_KEY."""
    return AccessKey(
        id=row[0], name=row[1], role=Role(row[2]), tenant=row[3], digest=row[4],
        created_at=instant(row[5]), created_by=row[6], expires_at=instant_optional(row[7]),
        revoked_at=instant_optional(row[8]), revoked_by=row[9],
    )  # fmt: skip


def acceptance_of(row: Sequence[Any]) -> Acceptance:
    """From the columns ACCEPTANCE."""
    return Acceptance(
        id=row[0], workflow=row[1], step=row[2], digest=row[3], compensation=load(row[4]),
        at=instant(row[5]), by=row[6], reason=row[7],
    )  # fmt: skip


def wait_of(row: Sequence[Any]) -> WaitRecord:
    """From the columns WAIT."""
    return WaitRecord(
        id=row[0], run_id=row[1], workflow=row[2], tenant=row[3], step=row[4], attempt=row[5],
        step_id=row[6], asks=Asks(row[7]), signal=row[8], asked=load(row[9]),
        opened_at=instant(row[10]), expires_at=instant_optional(row[11]),
        remind_at=instant_optional(row[12]), reminders=row[13],
        closed_at=instant_optional(row[14]),
        outcome=None if row[15] is None else WaitOutcome(row[15]),
        answer=load_optional(row[16]), closed_by=row[17], via=row[18],
    )  # fmt: skip


def proposal_of(row: Sequence[Any]) -> Proposal:
    """From the columns PROPOSAL."""
    return Proposal(
        id=row[0], run_id=row[1], workflow=row[2], tenant=row[3], subject=Subject(row[4]),
        subject_id=row[5], act=row[6], arguments=load(row[7]), reason=row[8], proposed_by=row[9],
        via=row[10], proposed_at=instant(row[11]), expires_at=instant(row[12]),
        closed_at=instant_optional(row[13]),
        outcome=None if row[14] is None else ProposalOutcome(row[14]), closed_by=row[15],
        closing_reason=row[16],
    )  # fmt: skip


def signal_of(row: Sequence[Any]) -> SignalRecord:
    """From the columns SIGNAL."""
    return SignalRecord(
        run_id=row[0], number=row[1], name=row[2], key=row[3], data=load(row[4]),
        sent_at=instant(row[5]), sent_by=row[6], via=row[7], wait_id=row[8],
    )  # fmt: skip


def redelivery_of(row: Sequence[Any], why: str) -> Redelivery:
    """From the columns of `redelivery`."""
    return Redelivery(
        run_id=row[0], epoch=row[1], hop_id=row[2], parent_hop_id=row[3], lane=row[4],
        direction=Direction(row[5]), step=row[6], workflow_id=row[7], urgent=bool(row[8]), why=why,
    )  # fmt: skip
