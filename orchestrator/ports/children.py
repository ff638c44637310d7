"""Runs that a step of another run begins, and runs that undo them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from orchestrator.core.saga import Saga
from orchestrator.ports.hints import Redelivery
from orchestrator.ports.records import LinkWrite, NewRun, PlaceInMap

CHILD_OF = "run.child_of"
"""Audit kind, of the child: which step of which run began it."""
CHILD_BEGUN, CHILDREN_ENDED = "child.begun", "children.ended"
"""Audit kinds, of the run that waits for it."""


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """How a run begins that takes something over: a branch, or one that undoes what others did."""

    saga: Saga  # with the links below
    links: tuple[LinkWrite, ...]
    undoes: tuple[str, ...] = ()  # ids of the runs whose effects it undoes; none: a branch


class NewChild(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be begun with the wait of its parent that it answers, in one transaction."""

    run: NewRun  # its idempotency key is its id: what makes it one of a kind is the wait
    depth: int  # 1: a child of a run that somebody submitted
    answers: bool  # its end answers the wait; False: it is detached
    begins: Beginning | None = None  # None: with the first step of its workflow
    branch: str | None = None  # see RunRecord, as the next
    whole_id: str | None = None
    fails_fast: bool | None = None  # of a branch: the others are cancelled where it fails
    # Of an item of a map that ends as it begins (`begins`), since nothing can be made of it: what
    # the audit says of its end.
    refused: Mapping[str, Any] | None = None

    @property
    def rerun_of(self) -> str | None:
        """The one run whose steps it took over to undo them; a block's are several."""
        undoes = () if self.begins is None else self.begins.undoes
        return undoes[0] if undoes and self.branch is None else None

    @property
    def in_map(self) -> PlaceInMap:
        """Of an item of a map: which one."""
        assert self.run.in_map is not None, "only of items"
        return self.run.in_map


def told_of_begin(child: NewChild, parent: str, step: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the audits of a child and of its parent say when it begins."""
    to_child: dict[str, Any] = {"run": parent, "step": step}
    to_parent: dict[str, Any] = {
        "step": step, "run": child.run.id, "workflow": child.run.workflow,
        "version": child.run.version,
    }  # fmt: skip
    if child.branch is not None:
        to_child["branch"] = to_parent["branch"] = child.branch
    undoes = () if child.begins is None else child.begins.undoes
    if undoes:
        told = undoes[0] if child.branch is None else list(undoes)
        to_child["undoes"] = to_parent["undoes"] = told
    return to_child, to_parent


def told_of_branch(branch: str | None, *, cancelled: bool) -> dict[str, Any]:
    """What its parent is told of a branch that has ended, besides how; nothing of other children.

    A run that undoes a block is none of its branches.
    """
    if branch is None or "/" not in branch:
        return {}
    return {"branch": branch.rpartition("/")[2], "cancelled": cancelled}


def end_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Of a child that has ended, what its parent's audit says."""
    return {name: told[name] for name in ("run", "status", "branch") if name in told}


def reasons_to_cancel(found: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """By the id of a branch the reason: of (its id, a failed branch, its cause) the first one."""
    reasons: dict[str, str] = {}
    for run_id, branch, cause in found:
        name = branch.rpartition("/")[2]
        reasons.setdefault(run_id, f"branch {name} failed: {cause}")
    return reasons


class ChildStore(Protocol):
    """Ends of children, told to the runs that wait for them."""

    async def tell_parents(self, wait_ids: Sequence[str]) -> list[Redelivery]:
        """Answer each wait all of whose children have ended, and wake its run.

        Each in a transaction of its own under the lock of the parent's row; the ends are audited
        with it. A wait that is over, or has a child that goes on, is left as it is. Repeatable.
        Returns what to publish.
        """

    async def untold_children(self, *, limit: int = 500) -> list[str]:
        """Waits, all of whose children have ended without that being told."""

    async def cancel_forsaken(
        self, wait_id: str | None = None, *, limit: int = 500
    ) -> list[Redelivery]:
        """Cancel branches of blocks that fail fast which go on although another one has failed.

        Of one block's wait, or of all; each in a transaction of its own. Those that are to be
        cancelled already, or that wait for a person's decision, are left as they are. Repeatable.
        Returns what to publish.
        """
