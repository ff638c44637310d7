"""From records to the shapes of the REST face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from orchestrator.api import shapes, story_shapes, wait_shapes
from orchestrator.core.narrative import Told
from orchestrator.core.states import RunStatus
from orchestrator.ports import EscalationRecord, Role, RunRecord, WaitRecord, WorkflowVersion
from orchestrator.ports.gate_view import ApiState
from orchestrator.ports.maps import MapRecord
from orchestrator.service.apis import ApiView
from orchestrator.service.archive_reading import ArchivedStory
from orchestrator.service.explaining import Explained, Together
from orchestrator.service.runs import ChainLink, ItemView, RunView
from orchestrator.service.urgency import Urgency
from orchestrator.telemetry.plain import plain
from orchestrator.wiring_services import Services


def workflow_summary(version: WorkflowVersion) -> shapes.WorkflowSummary:
    """A version in one line."""
    return shapes.WorkflowSummary.model_validate(_workflow_fields(version))


def workflow_detail(version: WorkflowVersion) -> shapes.WorkflowDetail:
    """A version with its plan."""
    plan = version.plan
    steps = [
        shapes.PlannedStep(
            id=step.id, label=step.call.label, api=step.call.api, effects=step.call.effects,
            pivot=step.pivot, no_undo_reason=step.no_compensation_reason,
            undo=None if step.compensation is None else shapes.Undo(
                label=step.compensation.call.label, kind=step.compensation.kind
            ),
        )
        for step in plan.steps
    ]  # fmt: skip
    return shapes.WorkflowDetail.model_validate({
        **_workflow_fields(version), "inputs": dict(plan.inputs_schema),
        "outputs": list(plan.outputs), "deadline_seconds": plan.deadline_seconds, "plan": steps,
    })  # fmt: skip


def _workflow_fields(version: WorkflowVersion) -> dict[str, object]:
    plan = version.plan
    return {
        "name": version.workflow, "version": version.version, "title": plan.title,
        "lane": plan.lane, "steps": len(plan.steps), "digest": plan.digest,
        "published_at": version.published_at, "published_by": version.published_by,
        "key_id": version.key_id,
    }  # fmt: skip


async def run_summaries(services: Services, runs: Sequence[RunRecord]) -> list[shapes.RunSummary]:
    """Runs without their payloads."""
    known = await services.runs.attributes([run.id for run in runs])
    told = ({**structs.asdict(run), "attributes": known.get(run.id, {})} for run in runs)
    return [shapes.RunSummary.model_validate(each) for each in told]


async def run_detail(services: Services, run: RunRecord) -> shapes.RunDetail:
    """A run with what went in and came out."""
    known = (await services.runs.attributes([run.id])).get(run.id, {})
    children = [structs.asdict(each) for each in await services.runs.children(run.id)]
    maps = [map_shape(each) for each in await services.runs.maps(run.id)]
    return shapes.RunDetail.model_validate(
        {
            **structs.asdict(run),
            "attributes": known,
            "children": children,
            "maps": maps,
            "alias": await services.runs.alias(run.id) or None,
        }
    )


def map_shape(found: MapRecord) -> shapes.MapShape:
    """How far a map has come."""
    counts = found.counts
    return shapes.MapShape(
        id=found.id, step=found.step_id, workflow=found.workflow, version=found.version,
        undoes=found.undoes, is_open=found.is_open, total=counts.total, begun=counts.next,
        running=counts.running, succeeded=counts.succeeded, failed=counts.failed,
        parallel=counts.parallel, most_failures=counts.most_failures, stopped=counts.stopped,
    )  # fmt: skip


async def items(services: Services, found: Sequence[ItemView]) -> list[shapes.ItemShape]:
    """Items with their runs, without payloads."""
    runs = await run_summaries(services, [each.run for each in found])
    return [
        shapes.ItemShape(index=each.index, outcome=each.outcome, run=run)
        for each, run in zip(found, runs, strict=True)
    ]


def run_tag(run: RunRecord) -> str:
    """The entity tag of a run as it is now."""
    return f'"{run.epoch}.{run.audit_seq}.{run.status}"'


def chain(view: RunView) -> shapes.Chain:
    """All links of a run."""
    return shapes.Chain(
        forward=[_link(each) for each in view.forward],
        backward=[_link(each) for each in view.backward],
    )


def _link(link: ChainLink) -> shapes.LinkShape:
    record = link.record
    return shapes.LinkShape(
        step=link.step_id, iteration=link.iteration, version=link.version, label=link.label,
        direction=link.direction, kind=link.kind, pivot=link.pivot,
        status=record.link.status, in_doubt=record.link.doubt,
        sequence=link.sequence, started_at=record.started_at, finished_at=record.finished_at,
        outputs=None if record.outputs is None else dict(record.outputs), error=record.error,
        attempts=[shapes.AttemptShape.model_validate(each) for each in link.attempts],
    )  # fmt: skip


def escalation(record: EscalationRecord, urgency: Urgency) -> shapes.EscalationShape:
    """A dead letter, and how urgent it is here."""
    more = {"severity": urgency.severity(record), "due_at": urgency.due_at(record)}
    return shapes.EscalationShape.model_validate({**structs.asdict(record), **more})


def escalation_tag(record: EscalationRecord) -> str:
    """The entity tag of an escalation: another as soon as somebody takes it or decides."""
    if record.closed_at is not None:
        return '"closed"'
    claimed = record.claimed_at
    return '"open"' if claimed is None else f'"claimed-{int(claimed.timestamp() * 1_000_000)}"'


def wait(record: WaitRecord) -> wait_shapes.WaitShape:
    """What a run waits, or has waited, for."""
    return wait_shapes.WaitShape.model_validate(record)


def approval(record: WaitRecord) -> wait_shapes.ApprovalShape:
    """What a person is asked."""
    asked = record.asked
    return wait_shapes.ApprovalShape(
        **wait(record).model_dump(), workflow=record.workflow, tenant=record.tenant,
        message=str(asked.get("message", "")), show=asked.get("show", {}),
        roles=asked.get("roles") or [Role.APPROVER],
    )  # fmt: skip


def approval_tag(record: WaitRecord) -> str:
    """The entity tag of an approval: another as soon as it is over."""
    return f'"{record.outcome or "open"}"'


def api(view: ApiView) -> shapes.ApiShape:
    """How an API may be used now."""
    return shapes.ApiShape.model_validate(view)


def api_state(api: str, found: ApiState) -> shapes.ApiStateShape:
    """How an API stands now."""
    return shapes.ApiStateShape(api=api, **structs.asdict(found))


def api_tag(view: ApiView) -> str:
    """The entity tag of an API's configuration as operators have changed it."""
    return f'"{view.version}"'


def story(found: Explained) -> story_shapes.StoryShape:
    """What happened to a run."""
    run = found.run
    return _story(
        found.told, run=run.id, workflow=run.workflow, version=run.version, tenant=run.tenant,
        actor=run.actor, status=run.status,
    )  # fmt: skip


def archived_story(found: ArchivedStory) -> story_shapes.StoryShape:
    """The same of a run that is in an archive."""
    run = found.run
    return _story(
        found.told, run=run["id"], workflow=run["workflow"], version=run["version"],
        tenant=run["tenant"], actor=run["actor"], status=RunStatus(run["status"]),
    )  # fmt: skip


def _story(told: Told, **about: Any) -> story_shapes.StoryShape:
    return story_shapes.StoryShape(
        **about,
        outcome=told.outcome,
        story=[
            story_shapes.SentenceShape(
                at=each.at, seq=each.seq, who=each.who, text=each.text,
                evidence={name: str(plain(value)) for name, value in each.evidence.items()},
            )
            for each in told.sentences
        ],
        calls=[story_shapes.CallShape.model_validate(each) for each in told.calls],
    )  # fmt: skip


def together(found: Together) -> story_shapes.TogetherShape:
    """What happened to several runs, side by side."""
    return story_shapes.TogetherShape(
        stories=[story(each) for each in found.stories], more=found.more,
        doubles=[story_shapes.DoubleShape.model_validate(each) for each in found.doubles],
    )  # fmt: skip
