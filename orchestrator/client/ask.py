"""One function for each operation of the REST face: what to send, and the shape that comes back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import uuid_utils

from orchestrator.api import job_shapes, proposal_shapes, shapes, wait_shapes
from orchestrator.api.api_health import ApiHealthsShape
from orchestrator.api.impact import ImpactShape
from orchestrator.api.insights import InsightsShape
from orchestrator.api.slos import SlosShape
from orchestrator.client import (
    ask_agents,
    ask_aliases,
    ask_audit,
    ask_moving,
    ask_plans,
    ask_schedules,
)
from orchestrator.client.making import Tagged
from orchestrator.client.making import act as _act
from orchestrator.client.making import given as _given
from orchestrator.client.making import if_as_then as _if_as_then
from orchestrator.client.making import keyed as _keyed
from orchestrator.client.making import look as _look
from orchestrator.client.making import moment as _moment
from orchestrator.client.making import safe as _safe
from orchestrator.client.making import tagged as _tagged
from orchestrator.client.requests import Request, only
from orchestrator.core.events import CancelMode
from orchestrator.core.maps import ItemOutcome
from orchestrator.core.states import RunStatus

T = TypeVar("T")
LONGEST_WAIT = 30.0
"""Seconds of one long poll; the server allows 60."""


def me() -> Request[shapes.Me]:
    """Whom the key stands for."""
    return Request(method="GET", path="/v1/me", read=only(shapes.Me))


# --- workflows ------------------------------------------------------------------------------------


def workflow(name: str, *, version: int | None = None) -> Request[shapes.WorkflowDetail]:
    """One version, with its steps; the latest."""
    return Request(
        method="GET", path=f"/v1/workflows/{_safe(name)}", read=only(shapes.WorkflowDetail),
        params=_given(version=version),
    )  # fmt: skip


aliases, set_alias = ask_aliases.aliases, ask_aliases.set_alias
remove_alias = ask_aliases.remove_alias


# --- runs -----------------------------------------------------------------------------------------


def submit(
    workflow: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    version: int | None = None,
    tenant: str | None = None,
    actor: str | None = None,
    priority: int = 0,
    deadline_seconds: float | None = None,
    attributes: Mapping[str, str] | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
    wait_seconds: float = 0.0,
) -> Request[shapes.Submitted]:
    """Start a run. Without a key one is made, so that sending it again starts no second run.

    With a wait it is answered once the run has settled, or after these seconds (60 at most), and
    has the run as it is then, unless that could not be read.
    `traceparent`, `tracestate`: of the trace within which it is wanted (W3C Trace Context).
    """
    wish = shapes.Submit(
        workflow=workflow, inputs=dict(inputs or {}), version=version, tenant=tenant, actor=actor,
        priority=priority, deadline_seconds=deadline_seconds, attributes=dict(attributes or {}),
    )  # fmt: skip
    return Request(
        method="POST", path="/v1/runs", read=only(shapes.Submitted),
        body=wish.model_dump(exclude_none=True),
        headers={"Idempotency-Key": key or str(uuid_utils.uuid7())}
        | _given(traceparent=traceparent, tracestate=tracestate),
        params=_given(wait=wait_seconds or None), waits_seconds=wait_seconds,
    )  # fmt: skip


def submission(
    workflow: str, inputs: Mapping[str, Any] | None = None, *, key: str | None = None, **more: Any
) -> shapes.SubmitLine:
    """One of many runs, for `submit_many`. `more`: as `submit` takes it."""
    return shapes.SubmitLine(
        workflow=workflow, inputs=dict(inputs or {}),
        idempotency_key=key or str(uuid_utils.uuid7()), **more,
    )  # fmt: skip


def runs(
    *,
    status: Collection[RunStatus] = (),
    workflow: str | None = None,
    tenant: str | None = None,
    actor: str | None = None,
    rerun_of: str | None = None,
    parent: str | None = None,
    attributes: Mapping[str, str] | None = None,
    text: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
    **more: Any,
) -> Request[shapes.Page[shapes.RunSummary]]:
    """A page of runs, newest first. `more`: parameters as the REST face documents them."""
    return Request(
        method="GET", path="/v1/runs", read=only(shapes.Page[shapes.RunSummary]),
        params=_given(
            status=[str(each) for each in status] or None, workflow=workflow, tenant=tenant,
            attribute=[f"{name}={value}" for name, value in (attributes or {}).items()] or None,
            text=text, actor=actor,
            rerun_of=rerun_of, parent=parent, since=_moment(since), until=_moment(until),
            cursor=cursor,
            limit=limit, **more,
        ),
    )  # fmt: skip


def run(run_id: str, *, wait_seconds: float = 0.0) -> Request[shapes.RunDetail]:
    """One run; with a wait once it has settled, or as it is after these seconds (60 at most)."""
    return Request(
        method="GET", path=f"/v1/runs/{_safe(run_id)}", read=only(shapes.RunDetail),
        params=_given(wait=wait_seconds or None), waits_seconds=wait_seconds,
    )  # fmt: skip


def chain(run_id: str) -> Request[shapes.Chain]:
    """Its steps and undos, each with its attempts."""
    return Request(
        method="GET", path=f"/v1/runs/{_safe(run_id)}/chain", read=only(shapes.Chain)
    )  # fmt: skip


def items(
    run_id: str, *, step: str | None = None, outcome: ItemOutcome | None = None, after: int = -1,
    limit: int = 50,
) -> Request[shapes.Page[shapes.ItemShape]]:  # fmt: skip
    """A page of the items of a step's map that have begun, by index."""
    return Request(
        method="GET", path=f"/v1/runs/{_safe(run_id)}/items",
        read=only(shapes.Page[shapes.ItemShape]),
        params=_given(
            step=step, outcome=None if outcome is None else str(outcome), after=after, limit=limit
        ),
    )  # fmt: skip


plan_run = ask_plans.plan_run
story, stories = ask_audit.story, ask_audit.stories
erase, erase_runs, export = ask_audit.erase, ask_audit.erase_runs, ask_audit.export


def audit(
    run_id: str, *, after: int = 0, limit: int = 1000
) -> Request[shapes.Page[shapes.AuditShape]]:
    """What happened to it, oldest first."""
    return Request(
        method="GET", path=f"/v1/runs/{_safe(run_id)}/audit",
        read=only(shapes.Page[shapes.AuditShape]), params={"after": after, "limit": limit},
    )  # fmt: skip


def cancel(
    run_id: str, *, reason: str, mode: CancelMode = CancelMode.UNDO
) -> Request[shapes.RunDetail]:
    """Ask for its end."""
    return Request(
        method="POST", path=f"/v1/runs/{_safe(run_id)}/cancel", read=only(shapes.RunDetail),
        body={"reason": reason, "mode": str(mode)}, repeatable=False,
    )  # fmt: skip


# --- escalations ----------------------------------------------------------------------------------


def escalations(
    *, state: str = "open", cursor: str | None = None, limit: int = 50, **where: Any
) -> Request[shapes.Page[shapes.EscalationShape]]:
    """A page of escalations. `where`: parameters as the REST face documents them."""
    return Request(
        method="GET", path="/v1/escalations", read=only(shapes.Page[shapes.EscalationShape]),
        params=_given(state=state, cursor=cursor, limit=limit, **where),
    )  # fmt: skip


def escalation(escalation_id: str) -> Request[Tagged[shapes.EscalationShape]]:
    """One, with the tag that a decision on it carries."""
    return Request(
        method="GET", path=f"/v1/escalations/{_safe(escalation_id)}",
        read=_tagged(only(shapes.EscalationShape)),
    )  # fmt: skip


def decide(
    escalation_id: str, act: str, *, reason: str, tag: str, **more: Any
) -> Request[shapes.Decided]:
    """`retry`, `resolve`, `skip` or `abandon`, on what was read with this tag."""
    return Request(
        method="POST", path=f"/v1/escalations/{_safe(escalation_id)}/{_safe(act)}",
        read=only(shapes.Decided), body={"reason": reason, **more}, headers={"If-Match": tag},
        repeatable=False,
    )  # fmt: skip


def briefing(escalation_id: str) -> Request[shapes.BriefingShape]:
    """Where to look, and what each choice would lead to."""
    return _look(shapes.BriefingShape, "escalations", escalation_id, "briefing")


def claim(escalation_id: str, *, tag: str | None = None) -> Request[shapes.EscalationShape]:
    """Take it; with a tag only if it is as then."""
    return _if_as_then(_act(shapes.EscalationShape, "escalations", escalation_id, "claim"), tag)


def assign(
    escalation_id: str, *, to: str, tag: str | None = None
) -> Request[shapes.EscalationShape]:
    """Give it to somebody, whoever has it now; with a tag only if it is as then."""
    asked = _act(shapes.EscalationShape, "escalations", escalation_id, "assign", to=to)
    return _if_as_then(asked, tag)


def comment(escalation_id: str, *, text: str) -> Request[list[shapes.CommentShape]]:
    """Add a remark; all of them."""
    return _act(list[shapes.CommentShape], "escalations", escalation_id, "comments", text=text)


def release(escalation_id: str, *, tag: str | None = None) -> Request[shapes.EscalationShape]:
    """Give it back to the queue; with a tag only if it is as then."""
    return _if_as_then(_act(shapes.EscalationShape, "escalations", escalation_id, "release"), tag)


def count_escalations(where: Mapping[str, Any]) -> Request[job_shapes.Fit]:
    """How many open ones fit."""
    asked = _act(job_shapes.Fit, "escalations:count", where=dict(where))
    return replace(asked, repeatable=True)


def act_on_escalations(
    act: str, where: Mapping[str, Any], *, reason: str, key: str | None = None, **more: Any
) -> Request[job_shapes.JobShape]:
    """Act on all that fit, as a job. Without a key one is made: sent again it is the same job."""
    wish = {"act": act, "where": dict(where), "reason": reason, **more}
    return _keyed(_act(job_shapes.JobShape, "escalations:bulk", **wish), key)


def count_runs_to_act_on(act: str, where: Mapping[str, Any]) -> Request[job_shapes.Fit]:
    """How many runs an act would be done on."""
    asked = _act(job_shapes.Fit, "runs:count", act=act, where=dict(where))
    return replace(asked, repeatable=True)


def act_on_runs(
    act: str, where: Mapping[str, Any], *, reason: str, key: str | None = None, **more: Any
) -> Request[job_shapes.JobShape]:
    """Act on all runs that fit, as a job. Without a key one is made: again it is the same job."""
    wish = {"act": act, "where": dict(where), "reason": reason, **more}
    return _keyed(_act(job_shapes.JobShape, "runs:act", **wish), key)


# --- jobs -----------------------------------------------------------------------------------------


def jobs(
    *, tenant: str | None = None, cursor: str | None = None, limit: int = 50
) -> Request[shapes.Page[job_shapes.JobShape]]:
    """A page of jobs, newest first."""
    shape = shapes.Page[job_shapes.JobShape]
    return _look(shape, "jobs", tenant=tenant, cursor=cursor, limit=limit)


def job(job_id: str) -> Request[job_shapes.JobShape]:
    """An act on many things, and how far it has come."""
    return _look(job_shapes.JobShape, "jobs", job_id)


def job_items(
    job_id: str, *, state: str | None = None, cursor: str | None = None, limit: int = 100
) -> Request[shapes.Page[job_shapes.JobItemShape]]:
    """What came of its things."""
    shape = shapes.Page[job_shapes.JobItemShape]
    return _look(shape, "jobs", job_id, "items", state=state, cursor=cursor, limit=limit)


def order_job(job_id: str, order: str, *, reason: str) -> Request[job_shapes.JobShape]:
    """`pause`, `resume` or `cancel` it."""
    return _act(job_shapes.JobShape, "jobs", job_id, order, reason=reason)


# --- approvals and signals ------------------------------------------------------------------------


def approvals(
    *,
    state: str = "open",
    tenant: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Request[shapes.Page[wait_shapes.ApprovalShape]]:
    """A page of what people are asked, oldest first."""
    shape = shapes.Page[wait_shapes.ApprovalShape]
    return _look(shape, "approvals", state=state, tenant=tenant, cursor=cursor, limit=limit)


def approval(approval_id: str) -> Request[Tagged[wait_shapes.ApprovalShape]]:
    """One, with the tag that a decision on it carries."""
    return Request(
        method="GET", path=f"/v1/approvals/{_safe(approval_id)}",
        read=_tagged(only(wait_shapes.ApprovalShape)),
    )  # fmt: skip


def decide_approval(
    approval_id: str,
    decision: str,
    *,
    tag: str,
    reason: str = "",
    data: Mapping[str, Any] | None = None,
) -> Request[wait_shapes.ApprovalShape]:
    """`approved` or `rejected`, on what was read with this tag."""
    said = {"decision": decision, "reason": reason, "data": dict(data or {})}
    asked = _act(wait_shapes.ApprovalShape, "approvals", approval_id, "decide", **said)
    return replace(asked, headers={"If-Match": tag})


def link_approval(
    approval_id: str, *, name: str, hours: float = 72.0
) -> Request[wait_shapes.LinkMade]:
    """An address at which one person decides, without a key."""
    asked = _act(wait_shapes.LinkMade, "approvals", approval_id, "links", name=name, hours=hours)
    return replace(asked, repeatable=True)


def signal(
    run_id: str, name: str, data: Mapping[str, Any] | None = None, *, key: str | None = None
) -> Request[wait_shapes.SignalShape]:
    """Tell a run that something has happened. Without a key one is made."""
    asked = _act(wait_shapes.SignalShape, "runs", run_id, "signals", name)
    return _keyed(replace(asked, body=dict(data or {})), key)


def waits(run_id: str) -> Request[shapes.Page[wait_shapes.WaitShape]]:
    """What a run waits, or has waited, for."""
    return _look(shapes.Page[wait_shapes.WaitShape], "runs", run_id, "waits")


# --- pauses and reruns ----------------------------------------------------------------------------


def pauses(
    *, state: str = "active", tenant: str | None = None
) -> Request[shapes.Page[wait_shapes.PauseShape]]:
    """What is paused."""
    return _look(shapes.Page[wait_shapes.PauseShape], "pauses", state=state, tenant=tenant)


def pause(*, reason: str, **what: Any) -> Request[wait_shapes.PauseShape]:
    """`run_id`, `workflow`, `tenant` or `everything`, `also_undoing`, `seconds`."""
    return _act(wait_shapes.PauseShape, "pauses", reason=reason, **_given(**what))


def resume(pause_id: str, *, reason: str) -> Request[wait_shapes.PauseShape]:
    """End a pause."""
    return _act(wait_shapes.PauseShape, "pauses", pause_id, "resume", reason=reason)


def rerun(
    run_id: str, step: str, *, reason: str, key: str | None = None, **more: Any
) -> Request[shapes.Submitted]:
    """A new run from a step of an ended one on. Without a key one is made."""
    return _keyed(
        _act(shapes.Submitted, "runs", run_id, "rerun", step=step, reason=reason, **more), key
    )


migration, migrate = ask_moving.migration, ask_moving.migrate
check_runs, rerun_look = ask_moving.check_runs, ask_moving.rerun_look


# --- proposals and edits --------------------------------------------------------------------------


def proposals(
    *, state: str = "open", cursor: str | None = None, limit: int = 50, **where: Any
) -> Request[shapes.Page[proposal_shapes.ProposalShape]]:
    """A page of what waits for a second person. `where`: as the REST face documents it."""
    shape = shapes.Page[proposal_shapes.ProposalShape]
    return _look(shape, "proposals", state=state, cursor=cursor, limit=limit, **where)


def proposal(proposal_id: str) -> Request[Tagged[proposal_shapes.ProposalShape]]:
    """One, with the tag that a decision on it carries."""
    return Request(
        method="GET", path=f"/v1/proposals/{_safe(proposal_id)}",
        read=_tagged(only(proposal_shapes.ProposalShape)),
    )  # fmt: skip


def confirm(
    proposal_id: str, *, tag: str, reason: str = ""
) -> Request[proposal_shapes.ConfirmedShape]:
    """Do it, as the second person."""
    shape = proposal_shapes.ConfirmedShape
    asked = _act(shape, "proposals", proposal_id, "confirm", reason=reason)
    return replace(asked, headers={"If-Match": tag})


def refuse(proposal_id: str, *, tag: str, reason: str) -> Request[proposal_shapes.ProposalShape]:
    """Close it; nothing is done."""
    asked = _act(proposal_shapes.ProposalShape, "proposals", proposal_id, "refuse", reason=reason)
    return replace(asked, headers={"If-Match": tag})


def edit(
    run_id: str, step: str, values: Mapping[str, Any], *, reason: str
) -> Request[proposal_shapes.ProposalShape]:
    """Propose other values for a step that has not begun."""
    wish = {"step": step, "set": dict(values), "reason": reason}
    return _act(proposal_shapes.ProposalShape, "runs", run_id, "edit", **wish)


# --- APIs, workers, queues ------------------------------------------------------------------------


def apis() -> Request[shapes.Page[shapes.ApiShape]]:
    """How all APIs may be used."""
    return _look(shapes.Page[shapes.ApiShape], "apis")


def gate() -> Request[shapes.Page[shapes.ApiStateShape]]:
    """How all APIs stand at the gate now."""
    return _look(shapes.Page[shapes.ApiStateShape], "gate")


def api(name: str) -> Request[Tagged[shapes.ApiShape]]:
    """How one may be used, with the tag that a change of it may carry."""
    return Request(
        method="GET", path=f"/v1/apis/{_safe(name)}", read=_tagged(only(shapes.ApiShape))
    )


def impact(name: str, *, outage_seconds: float | None = None) -> Request[ImpactShape]:
    """Which runs it touches, and what if it is away for so long."""
    return _look(ImpactShape, "apis", name, "impact", outage_seconds=outage_seconds)


def api_health(*, api: str | None = None, minutes: float | None = None) -> Request[ApiHealthsShape]:
    """How APIs are, as all workers see them, beside how they usually are."""
    return _look(ApiHealthsShape, "api-health", api=api, minutes=minutes)


def insights(
    name: str, *, version: int | None = None, days: float | None = None
) -> Request[InsightsShape]:
    """What the history of a workflow says about its settings."""
    return _look(InsightsShape, "workflows", name, "insights", version=version, days=days)


def slos(*, workflow: str | None = None) -> Request[SlosShape]:
    """Objectives of workflows, their error budgets and alarms."""
    return _look(SlosShape, "slos", workflow=workflow)


def change_api(
    name: str,
    *,
    reason: str,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - the field's name in the document
    reset: Collection[str] = (),
    tag: str | None = None,
) -> Request[shapes.ApiShape]:
    """Override fields of its file, or take overrides back; with a tag only if it is as then."""
    body = {"set": dict(set)} if set else {"reset": list(reset)}
    asked = _act(shapes.ApiShape, "apis", name, **body, reason=reason)
    return replace(asked, method="PATCH", headers={} if tag is None else {"If-Match": tag})


def hold_api(name: str, *, reason: str) -> Request[shapes.ApiShape]:
    """Let nothing leave for it."""
    return _act(shapes.ApiShape, "apis", name, "hold", reason=reason)


def release_api(name: str, *, reason: str) -> Request[shapes.ApiShape]:
    """End a hold."""
    return _act(shapes.ApiShape, "apis", name, "release", reason=reason)


def workers() -> Request[shapes.Page[shapes.WorkerShape]]:
    """Worker processes with their heartbeats."""
    return _look(shapes.Page[shapes.WorkerShape], "workers")


def queues() -> Request[shapes.Page[shapes.QueueShape]]:
    """Messages on the broker beside runs in the table."""
    return _look(shapes.Page[shapes.QueueShape], "queues")


# --- schedules ------------------------------------------------------------------------------------

schedules, schedule = ask_schedules.schedules, ask_schedules.schedule
set_schedule, delete_schedule = ask_schedules.set_schedule, ask_schedules.delete_schedule
pause_schedule, resume_schedule = ask_schedules.pause_schedule, ask_schedules.resume_schedule
trigger_schedule = ask_schedules.trigger_schedule
backfill_schedule = ask_schedules.backfill_schedule

# --- agents ---------------------------------------------------------------------------------------

tools = ask_agents.tools
agents, agent, agent_changes = ask_agents.agents, ask_agents.agent, ask_agents.agent_changes
set_agent_policy, remove_agent_policy = ask_agents.set_agent_policy, ask_agents.remove_agent_policy
stop_agent, allow_agent = ask_agents.stop_agent, ask_agents.allow_agent

# --------------------------------------------------------------------------------------------------


def after(request: Request[shapes.Page[T]], cursor: str) -> Request[shapes.Page[T]]:
    """The same list, from this cursor on."""
    name = "after" if "after" in request.params else "cursor"
    return replace(request, params={**request.params, name: cursor})
