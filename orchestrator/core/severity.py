"""How bad it is to leave an escalation, and how soon somebody should decide on it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from orchestrator.core.saga import EscalationReason


class Severity(StrEnum):
    """How bad it is to leave it."""

    CRITICAL = "critical"  # it harms others as long as it is there
    HIGH = "high"  # an effect may stand that should not
    NORMAL = "normal"
    LOW = "low"


SEVERITIES: Mapping[EscalationReason, Severity] = {
    EscalationReason.POISONED: Severity.CRITICAL,
    EscalationReason.UNTRUSTED: Severity.CRITICAL,
    EscalationReason.IN_DOUBT: Severity.HIGH,
    EscalationReason.COMPENSATION_FAILED: Severity.HIGH,
    EscalationReason.FAILED_AFTER_PIVOT: Severity.HIGH,
    EscalationReason.DEADLINE_AFTER_PIVOT: Severity.NORMAL,
}
DUE_MINUTES: Mapping[Severity, float] = {
    Severity.CRITICAL: 15, Severity.HIGH: 60, Severity.NORMAL: 480, Severity.LOW: 2880,
}  # fmt: skip
