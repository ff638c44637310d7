"""How a run settles: with an escalation that a person decides, or with its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from orchestrator import crashpoints
from orchestrator.core.saga import Escalate, Finish
from orchestrator.core.states import RunStatus
from orchestrator.definitions.program import Program
from orchestrator.engine.answering import broken
from orchestrator.engine.branches import outputs_of_branch
from orchestrator.engine.deps import Deps
from orchestrator.engine.escalating import as_record, new_escalation
from orchestrator.engine.showing import Showing
from orchestrator.engine.standing import Standing
from orchestrator.errors import Unavailable
from orchestrator.ports import NewEscalation, StepEnd

log = structlog.get_logger(__name__)


async def escalate(
    command: Escalate, run: Standing, shown: Showing, program: Program, deps: Deps
) -> None:
    """Stop the run, open its escalation in the same commit, and announce it."""
    run.note_all_links()
    escalation = new_escalation(
        command, run.saga, run.ledger.steps(run.saga), new_id=deps.new_id,
        urgency=program.escalation.of(run.facts),
    )  # fmt: skip
    run.audit("run.escalated", None, {"reason": command.reason, "detail": command.detail})
    shown.end(StepEnd.FAILED, command.detail)
    await run.flush(release=True, escalation=escalation, traced=run.is_traced)
    _meter_ended(run, deps)
    log.warning("run.escalated", run=run.ledger.run.id, reason=command.reason)
    await _announce(escalation, run, deps)


async def finish(
    command: Finish, run: Standing, shown: Showing, program: Program, deps: Deps
) -> None:
    """Record the end, with the workflow's outputs when it succeeded."""
    outputs = _outputs(run, program) if command.status is RunStatus.SUCCEEDED else None
    run.audit(f"run.{command.status}", None, {"cause": run.saga.cause})
    shown.end(StepEnd.REVOKED, run.saga.cause)
    await run.flush(release=True, outputs=outputs, traced=run.is_traced)
    _meter_ended(run, deps)
    await _tell_parent(run, deps)


async def _tell_parent(run: Standing, deps: Deps) -> None:
    wait_id, map_id = run.ledger.run.wait_id, run.ledger.run.map_id
    if wait_id is None and map_id is None:
        return
    if crashpoints.hook is not None:
        await run.reach("before_publish")
    if wait_id is not None:
        await deps.children.told(wait_id)
    if map_id is not None:
        await deps.children.maps.told(map_id)
    if crashpoints.hook is not None:
        await run.reach("after_publish")


def _meter_ended(run: Standing, deps: Deps) -> None:
    record = run.ledger.run
    if record.branch is not None:  # it is a part of a run, which is counted as one
        return
    seconds = (run.decided_at - record.created_at).total_seconds()
    deps.meter.ended(record.workflow, run.saga.status, max(seconds, 0.0))


async def _announce(escalation: NewEscalation, run: Standing, deps: Deps) -> None:
    """Put it on the dead-letter queue; if that fails, the sweep reconciles queue and table."""
    if crashpoints.hook is not None:
        await run.reach("before_publish")
    record = as_record(escalation, run.ledger.run, run.saga, deps.clock.now())
    try:
        await deps.dead_letters.publish([record])
    except Unavailable as error:
        log.warning("dead_letter.postponed", escalation=escalation.id, why=str(error))
    if crashpoints.hook is not None:
        await run.reach("after_publish")


def _outputs(run: Standing, program: Program) -> Mapping[str, Any] | None:
    """The workflow's outputs; a run whose effects are all there succeeds also without them."""
    if run.saga.is_branch:
        return outputs_of_branch(run.ledger.steps(run.saga))
    try:
        return program.outputs(run.facts)
    except Exception as error:
        log.exception("outputs.broken", run=run.ledger.run.id)
        run.audit("outputs.failed", None, {"why": broken("the making of them", error)})
        return None
