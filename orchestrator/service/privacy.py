"""Runs as they may be shown: the same records without what is secret in them.

What a run needs in order to go on stands in its row as it is; nobody is shown it. Whatever its
workflow cannot be read for (a plan of a newer release) is hidden altogether.
"""

from __future__ import annotations

import structlog
from msgspec.structs import replace

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.redaction import Rules
from orchestrator.definitions.programs import Programs
from orchestrator.definitions.secrets import Secrets
from orchestrator.ports import (
    AttemptRecord,
    AuditRecord,
    EscalationRecord,
    LinkRecord,
    RunRecord,
    StepRecord,
    WaitRecord,
    outputs_of,
)
from orchestrator.telemetry import redact

log = structlog.get_logger(__name__)


class Privacy:
    """Knows what is secret of each workflow's runs."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def run(self, run: RunRecord) -> RunRecord:
        """A run's row."""
        try:
            secrets = (await self._programs.get(run.workflow_id)).secrets
        except Exception as error:  # noqa: BLE001 - whatever a plan is like: nothing is shown then
            log.warning("plan.unreadable", run=run.id, why=str(error))
            return _closed(run)
        return Veil(secrets, run, ()).run(run)


class Veil:
    """What is hidden of one run, whose steps are given as far as they are known."""

    def __init__(self, secrets: Secrets, run: RunRecord, steps: tuple[StepRecord, ...]) -> None:
        self._secrets = secrets
        besides = redact.rules()
        self.rules = besides | secrets.of_run(run.inputs, outputs_of(steps), besides)

    def run(self, run: RunRecord) -> RunRecord:
        """Its row."""
        rules = self.rules
        inputs = (rules | Rules(paths=self._secrets.input_paths)).value(run.inputs)
        outputs = run.outputs
        if outputs is not None:
            hidden = {n: redact.HIDDEN for n in outputs if n in self._secrets.output_names}
            outputs = rules.value({**outputs, **hidden} if hidden else outputs)
        cause, edits = rules.text(run.cause), rules.value(run.edits)
        return replace(run, inputs=inputs, outputs=outputs, cause=cause, edits=edits)

    def link(self, step_id: str, record: LinkRecord) -> LinkRecord:
        """A link with what it sent and was given."""
        rules, outputs, request = self.rules, record.outputs, record.request
        if outputs is not None:
            named = self._secrets.names_of_outputs(step_id, outputs)
            outputs = rules.value({**outputs, **dict.fromkeys(named, redact.HIDDEN)})
        return replace(
            record, outputs=outputs, error=record.error and rules.text(record.error),
            request=None if request is None else hidden_request(request, rules),
        )  # fmt: skip

    def attempt(self, record: AttemptRecord) -> AttemptRecord:
        """An attempt; those of this release were made without secrets."""
        return replace(record, reason=self.rules.text(record.reason))

    def audit(self, record: AuditRecord) -> AuditRecord:
        """A record of what happened."""
        return replace(record, data=self.rules.value(record.data))

    def escalation(self, record: EscalationRecord) -> EscalationRecord:
        """A dead letter."""
        return hidden_escalation(record, self.rules)


def hidden_escalation(record: EscalationRecord, rules: Rules) -> EscalationRecord:
    """A dead letter without what these rules hide."""
    return replace(record, detail=rules.text(record.detail), context=rules.value(record.context))


def hidden_wait(record: WaitRecord, rules: Rules) -> WaitRecord:
    """What is asked, and what was answered, without what these rules hide."""
    answer = None if record.answer is None else rules.value(record.answer)
    return replace(record, asked=rules.value(record.asked), answer=answer)


def hidden_request(request: FrozenRequest, rules: Rules) -> FrozenRequest:
    """A request as it may be shown; not what was sent."""
    shown = rules.value(request.to_json())
    headers = [(n, redact.HIDDEN if rules.is_secret(n) else v) for n, v in shown["headers"]]
    whole = request.to_json() | shown | {"headers": headers}
    if whole.get("body64") == redact.HIDDEN:
        del whole["body64"]
        whole["body"] = redact.HIDDEN
    return FrozenRequest.from_json(whole)


def _closed(run: RunRecord) -> RunRecord:
    """Without anything of which nobody can say whether it is secret."""
    outputs = None if run.outputs is None else dict.fromkeys(run.outputs, redact.HIDDEN)
    return replace(
        run, inputs=dict.fromkeys(run.inputs, redact.HIDDEN), outputs=outputs, edits={},
        cause=redact.hidden_text(run.cause),
    )  # fmt: skip
