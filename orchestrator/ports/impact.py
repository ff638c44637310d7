"""Where all runs stand that are not final, in groups: what a question about all of them needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.core.impact import Standing


@dataclass(frozen=True, kw_only=True, slots=True)
class RunGroup:
    """Runs that stand alike."""

    workflow: str
    standing: Standing  # of each of them, as far as plan, way, direction and states of links go
    late: bool  # their deadline is within the time asked for, or has passed
    tenants: Sequence[str]  # whose each of them is

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.tenants)


class StandingsStore(Protocol):
    """Answers from one snapshot."""

    async def run_groups(self, *, deadline_within_seconds: float) -> list[RunGroup]:
        """All runs that are not final; each is in one group.

        Costs one pass over their rows, and one over the links of those that do not simply go
        straight forward: those on their way back, off the straight way, or begun as a rerun.
        """
