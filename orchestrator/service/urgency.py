"""How urgent an escalation is, and until when somebody should have decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.core.saga import EscalationReason
from orchestrator.core.severity import DUE_MINUTES, SEVERITIES, Severity
from orchestrator.ports import EscalationRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Urgency:
    """Severities and times as this deployment has them; what it does not name has the usual ones.
    What a workflow says of an escalation of its runs (`x-escalation`) goes before both.

    Both are worked out when they are asked for, so that a change holds for what is open already.
    """

    severities: Mapping[EscalationReason, Severity] = field(default_factory=dict)
    due_minutes: Mapping[Severity, float] = field(default_factory=dict)

    def severity(self, record: EscalationRecord) -> Severity:
        """How bad it is."""
        return record.severity or self._severity(record.reason)

    def due_at(self, record: EscalationRecord) -> datetime:
        """When somebody should have decided."""
        seconds = record.due_seconds
        if seconds is None:
            seconds = self.due_seconds[record.severity or record.reason]
        return record.opened_at + timedelta(seconds=seconds)

    @property
    def due_seconds(self) -> Mapping[str, float]:
        """From opening to when it is due, by reason; by severity, where its workflow says one."""
        minutes = {**DUE_MINUTES, **self.due_minutes}
        by_reason = {reason.value: minutes[self._severity(reason)] for reason in EscalationReason}
        by_severity = {severity.value: minutes[severity] for severity in Severity}
        return {name: 60 * each for name, each in {**by_reason, **by_severity}.items()}

    def _severity(self, reason: EscalationReason) -> Severity:
        return self.severities.get(reason, SEVERITIES[reason])
