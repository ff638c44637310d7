"""What takes the payloads of runs away, and finds the runs below them that have some, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from orchestrator.errors import Conflict, Problem


class ErasableRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run below another one whose payloads were not erased yet."""

    id: str
    has_ended: bool
    has_parts: bool  # there are, or were, runs below it
    item: int = 0  # of an item of a map: its index


def not_ended(run_id: str, status: str) -> Conflict:
    """Why a run cannot be erased."""
    problem = Problem(
        place=f"run {run_id}", found=f"one that is {status}",
        wanted="one that has ended: until then it needs its payloads",
    )  # fmt: skip
    return Conflict("the payloads cannot be erased", problems=[problem])


class ErasingStore(Protocol):
    """Payloads of final runs; whoever erases a run erases those below it first."""

    async def erase(self, run_id: str, *, by: str, reason: str) -> int:
        """Take away all payloads of a final run, in one transaction with the record that says so;
        how many records of its audit have lost their data. Repeatable.

        Raises NotFound, Conflict for a run that has not ended."""

    async def erase_parts(self, run_ids: Sequence[str], *, by: str, reason: str) -> int:
        """The same of several final runs, in one transaction; those that were erased already, or
        are gone, are left as they are."""

    async def children_to_erase(
        self, run_id: str, *, after: str, limit: int
    ) -> Sequence[ErasableRun]:
        """Children, branches and undoing runs that it began, with ids above `after`, in order."""

    async def maps_to_erase(self, run_id: str) -> Sequence[str]:
        """Ids of the maps that it began, those that undo others as well."""

    async def items_to_erase(self, map_id: str, *, after: int, limit: int) -> Sequence[ErasableRun]:
        """Runs of items of a map, with indexes above `after`, in order."""

    async def forget_values(self, map_id: str, *, limit: int) -> int:
        """Delete so many chunks of what a map was given; how many there were to delete."""
