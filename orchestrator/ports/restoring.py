"""A database that was restored from a backup, and how far it had come before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.core.states import RunStatus
from orchestrator.ports.records import ClaimedRun, LinkWrite


@dataclass(frozen=True, kw_only=True, slots=True)
class HighWater:
    """How far the tables have come. Both only ever grow, unless the database is an older one."""

    newest_run: str = ""  # the greatest id of a run: a UUIDv7, so the one accepted last
    checkpoint: int = 0  # number of the latest checkpoint of the audit

    def above(self, other: HighWater) -> bool:
        """Whether something of this is beyond the other."""
        return self.newest_run > other.newest_run or self.checkpoint > other.checkpoint

    def to_json(self) -> dict[str, Any]:
        """As it is shown."""
        return {"newest_run": self.newest_run, "checkpoint": self.checkpoint}


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoredRun:
    """What is written of a run whose database was restored; `epoch`, `audit_seq` as they were."""

    run_id: str
    epoch: int
    audit_seq: int
    status: RunStatus
    links: tuple[LinkWrite, ...]
    data: Mapping[str, Any]  # of its audit record


class RestoreStore(Protocol):
    """The part of the database that makes a restored one safe to go on with."""

    async def restorable(self, *, after: str, limit: int) -> list[ClaimedRun]:
        """Runs that have not ended, by id, beyond `after`; with all their links."""

    async def restore(self, restored: Sequence[RestoredRun], *, by: str) -> None:
        """Take each run from whoever had it, far beyond any epoch that was given out since.

        With its links and one audit record, `run.restored`. One transaction; raises Conflict when
        one of them is not as it was read.
        """

    async def forget_workers(self) -> None:
        """No worker is known any more: those that the backup knew are not there."""

    async def high_water(self) -> HighWater:
        """How far the tables have come."""

    async def was_deleted(self, run_id: str) -> bool:
        """Whether a run is not there since it was deleted for its age."""


class HighWaterMark(Protocol):
    """What is remembered outside of the database of how far it had come. May be forgotten."""

    async def read(self) -> HighWater:
        """What is remembered; of nothing the least. Raises Unavailable."""

    async def raise_to(self, reached: HighWater) -> HighWater:
        """Remember the higher of both; the answer. Raises Unavailable."""

    async def set_to(self, reached: HighWater) -> None:
        """Remember this, although it may be lower. Raises Unavailable."""
