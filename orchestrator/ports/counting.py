"""What a deployment stands at, counted in the tables: for metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import RunStatus


class RunCount(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that are not final."""

    workflow: str
    tenant: str
    status: RunStatus
    number: int


class EscalationCount(msgspec.Struct, frozen=True, kw_only=True):
    """Open escalations."""

    reason: EscalationReason
    older_than_seconds: float  # the highest of the ages asked for that it has reached; 0: of none
    overdue: bool
    number: int


class CountingStore(Protocol):
    """Costs grow with what is under way, not with what has ended."""

    async def count_unfinished(self) -> list[RunCount]:
        """By workflow, tenant and status; what there is none of is left out."""

    async def count_recent_successes(self, most: int) -> Mapping[str, Mapping[str, int]]:
        """By tenant and workflow, among the `most` newest runs that succeeded."""

    async def count_open_escalations(
        self, *, ages: tuple[float, ...], due_seconds: Mapping[str, float]
    ) -> list[EscalationCount]:
        """By reason and age. `ages` in seconds, upwards; `due_seconds` from opening, by reason
        and severity."""
