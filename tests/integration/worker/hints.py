"""Hints and dead letters for tests."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import Direction
from orchestrator.ports import FORWARD_TASK, EscalationRecord, Hint

RECORD = EscalationRecord(
    id="e0", run_id="r0", workflow="checkout", tenant="default",
    reason=next(iter(EscalationReason)), detail="", step=1, step_id="charge",
    direction=Direction.BACKWARD, context={"card": "4000"},
    opened_at=datetime(2026, 1, 1, tzinfo=UTC), claimed_by=None, claimed_at=None, closed_at=None,
    resolution=None, closed_by=None, closing_reason=None,
)  # fmt: skip


def a_hint(label: str = "checkout.noop", **changes: Any) -> Hint:
    fields = {
        "run_id": str(uuid.uuid4()),
        "epoch": 3,
        "hop_id": str(uuid.uuid4()),
        "parent_hop_id": str(uuid.uuid4()),
        "label": label,
        "task": FORWARD_TASK,
        "queue": "default.forward",
    }
    return Hint(**(fields | changes))


def letters(*ids: str) -> list[EscalationRecord]:
    return [replace(RECORD, id=each, run_id=f"run-of-{each}") for each in ids]
