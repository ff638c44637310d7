"""What the tables tell of each lane: where its runs stand, who has them, how many end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.core.plan import Plan
from orchestrator.core.scaling import Where
from orchestrator.core.states import Direction


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneGroup:
    """Runs of one lane that stand at the same step of one version."""

    lane: str
    plan: Plan
    direction: Direction
    step: int | None  # of the plan; None: behind the last one
    where: Where
    number: int
    oldest_seconds: float  # for how long the first of them has been due; 0 of others


@dataclass(frozen=True, kw_only=True, slots=True)
class LanesSeen:
    """All lanes that have a run under way, or had one lately; from one snapshot."""

    groups: Sequence[LaneGroup]  # of versions whose plans can be read
    owners: Mapping[str, Mapping[str, float]]  # lane -> worker with runs of it -> seconds it lives
    settled: Mapping[str, int]  # by lane, among the newest
    settled_seconds: float  # within which these have


class LanesStore(Protocol):
    """The part of the database that knows."""

    async def lanes_seen(self, *, seconds: float, most: int) -> LanesSeen:
        """Of runs that have settled at most `most`, within `seconds` at most.

        Costs a pass over the indexes of what is under way, and over so many rows.
        """
