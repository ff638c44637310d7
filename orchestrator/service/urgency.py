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

    Both are worked out when they are asked for, so that a change holds for what is open already.
    """

    severities: Mapping[EscalationReason, Severity] = field(default_factory=dict)
    due_minutes: Mapping[Severity, float] = field(default_factory=dict)

    def severity(self, record: EscalationRecord) -> Severity:
        """How bad it is."""
        return self._severity(record.reason)

    def due_at(self, record: EscalationRecord) -> datetime:
        """When somebody should have decided."""
        return record.opened_at + timedelta(seconds=self.due_seconds[record.reason])

    @property
    def due_seconds(self) -> Mapping[str, float]:
        """From opening to when it is due, by reason."""
        minutes = {**DUE_MINUTES, **self.due_minutes}
        return {reason.value: minutes[self._severity(reason)] * 60 for reason in EscalationReason}

    def _severity(self, reason: EscalationReason) -> Severity:
        return self.severities.get(reason, SEVERITIES[reason])
