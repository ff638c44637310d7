"""Runs that a step of another run begins, and runs that undo them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from orchestrator.core.saga import Saga
from orchestrator.ports.hints import Redelivery
from orchestrator.ports.records import LinkWrite, NewRun

CHILD_OF = "run.child_of"
"""Audit kind, of the child: which step of which run began it."""
CHILD_BEGUN, CHILDREN_ENDED = "child.begun", "children.ended"
"""Audit kinds, of the run that waits for it."""


class Undoing(msgspec.Struct, frozen=True, kw_only=True):
    """How a run begins that undoes what another did."""

    of: str  # id of that other run
    saga: Saga  # going backward, with the links below
    links: tuple[LinkWrite, ...]


class NewChild(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be begun with the wait of its parent that it answers, in one transaction."""

    run: NewRun  # its idempotency key is its id: what makes it one of a kind is the wait
    depth: int  # 1: a child of a run that somebody submitted
    answers: bool  # its end answers the wait; False: it is detached
    undoing: Undoing | None = None


class ChildStore(Protocol):
    """Ends of children, told to the runs that wait for them."""

    async def tell_parents(self, wait_ids: Sequence[str]) -> list[Redelivery]:
        """Answer each wait all of whose children have ended, and wake its run.

        Each in a transaction of its own under the lock of the parent's row; the ends are audited
        with it. A wait that is over, or has a child that goes on, is left as it is. Repeatable.
        Returns what to publish.
        """

    async def untold_children(self, *, limit: int = 500) -> list[str]:
        """Waits, all or some of whose children have ended without that being told."""
