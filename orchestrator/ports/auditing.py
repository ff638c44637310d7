"""What an auditor asks for: whether the audit is as it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from orchestrator.core.chain import Story, checkpoint_text
from orchestrator.ports.vouching import Signer


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """How far the chains of all runs had come at a time; `digest` is over all but the last three.

    Number 0 is made with the tables: until then there were no chains.
    """

    number: int
    at: int  # microseconds since 1970
    upto: str  # of what is new: runs with ids up to here are covered by it, or by one before
    heads: int  # runs whose chains had changed since the one before
    deletions: int
    content: str  # digest of these heads and deletions
    previous: str  # digest of the checkpoint before
    digest: str
    key_id: str | None = None  # whose signature; None: it is not signed
    signature: bytes | None = None

    def text(self) -> bytes:
        """What its digest and its signature are made over."""
        names = ("number", "at", "upto", "heads", "deletions", "content", "previous")
        return checkpoint_text({name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True, slots=True)
class Stories:
    """Some runs' audits, of one snapshot, in order of their ids; `after` asks for the next."""

    stories: Sequence[Story]
    after: str | None  # None: these were the last


ERASED_INPUTS: Mapping[str, Any] = {"$erased": True}
"""What stands for the inputs of a run whose payloads were erased."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Covered:
    """One record that a checkpoint has come to cover. `chain` as in core/chain."""

    checkpoint: int
    run_id: str
    seq: int
    at: datetime
    kind: str
    actor: str
    data: Mapping[str, Any]
    chain: bytes | None
    tenant: str | None  # None: its run was deleted meanwhile
    workflow: str | None


class AuditStore(Protocol):
    """The audit of all runs, for auditors and for the passes that serve them."""

    async def now(self) -> datetime:
        """The database's clock."""

    async def stories(self, *, after: str, most: int) -> Stories:
        """Of about `most` runs with ids above `after`, deleted ones included."""

    async def story(self, run_id: str) -> Story:
        """Of one run, by its whole id; without row, records and proof if there is no such run."""

    async def checkpoints(self) -> list[Checkpoint]:
        """All, oldest first."""

    async def checkpoint_content(self, number: int) -> str:
        """The digest of what is kept of its heads and deletions, worked out anew."""

    async def last_checkpoint(self) -> int:
        """The number of the newest one; 0: there is none."""

    async def covered(
        self, number: int, *, after: str, most: int, tenant: str | None = None
    ) -> tuple[Sequence[Covered], str | None]:
        """What checkpoint `number` covers and none before it did, of `most` runs with ids above
        `after`, in order of runs and records; and the `after` of the next. None: that was all.

        With a tenant: of the runs that are kept of it. What retention has deleted is not
        among it."""

    async def make_checkpoint(
        self, signer: Signer | None, *, at_least_seconds: float, everything: bool
    ) -> Checkpoint | None:
        """One transaction. None when the last one is younger, or somebody else is at it.

        `everything` looks for uncovered runs among all instead of the new ones.
        """
