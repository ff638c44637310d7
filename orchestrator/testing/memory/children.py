"""Runs that steps of other runs begin, in memory; see `store.children`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from orchestrator.core.events import CancelMode
from orchestrator.core.saga import current
from orchestrator.core.states import FINAL, SETTLED, RunStatus
from orchestrator.ports import Beginning, Redelivery, RunWrite, WaitOutcome, hop_ids_at
from orchestrator.ports.children import (
    CHILD_BEGUN,
    CHILD_OF,
    CHILDREN_ENDED,
    NewChild,
    end_of,
    reasons_to_cancel,
    told_of_begin,
    told_of_branch,
)
from orchestrator.store.codec import dump, load_optional
from orchestrator.testing.memory import accepting
from orchestrator.testing.memory.accepting import note
from orchestrator.testing.memory.journal import write_details
from orchestrator.testing.memory.passing import Passing
from orchestrator.testing.memory.records import redelivery_of
from orchestrator.testing.memory.tables import MemoryDatabase, RunRow, WaitRow

_FAILED = FINAL - {RunStatus.SUCCEEDED}


class MemoryChildren(Passing):
    """Implements ports.ChildStore."""

    async def tell_parents(self, wait_ids: Sequence[str]) -> list[Redelivery]:
        """See ChildStore."""
        found = [
            await self._pass("tell_parents", partial(_tell, self.database, wait))
            for wait in sorted(set(wait_ids))
        ]
        return [each for each in found if each is not None]

    async def cancel_forsaken(
        self, wait_id: str | None = None, *, limit: int = 500
    ) -> list[Redelivery]:
        """See ChildStore."""
        return await self._pass(
            "cancel_forsaken", lambda: _cancel_forsaken(self.database, wait_id, limit)
        )

    async def untold_children(self, *, limit: int = 500) -> list[str]:
        """See ChildStore."""
        return await self._pass("untold_children", lambda: untold(self.database)[:limit])


def begin(
    database: MemoryDatabase, parent: RunRow, wait: WaitRow, children: Sequence[NewChild]
) -> None:
    """Insert those of one wait, unless they are there."""
    accepted = accepting.accept(database, [child.run for child in children])
    now = database.clock()
    for child, answer in zip(children, accepted, strict=True):
        if answer.repeated:
            continue
        row = database.runs[child.run.id]
        row.parent_id, row.depth = parent.id, child.depth
        row.wait_id = wait.id if child.answers else None
        if row.wait_id is not None:
            database.awaited.setdefault(wait.id, []).append(row)
        row.branch, row.whole_id, row.fails_fast = child.branch, child.whole_id, child.fails_fast
        if child.begins is not None:
            stand(database, row, child, child.begins, now)
        to_child, to_parent = told_of_begin(child, parent.id, wait.step_id)
        note(row, CHILD_OF, by="engine", data=to_child, now=now)
        note(parent, CHILD_BEGUN, by="engine", data=to_parent, now=now)
    if not any(child.answers for child in children):
        answer_of_detached = {"runs": [{"run": child.run.id} for child in children]}
        wait.closed_at, wait.outcome = now, WaitOutcome.ANSWERED
        wait.answer = dump(answer_of_detached)


def stand(
    database: MemoryDatabase, row: RunRow, child: NewChild, begins: Beginning, now: datetime
) -> None:
    """Where a run begins that takes something over."""
    saga, at = begins.saga, current(begins.saga)
    row.status, row.direction, row.cause = saga.status, saga.direction, saga.cause
    row.step = None if at is None else saga.path.steps[at[0]]
    row.hop_id, row.parent_hop_id = hop_ids_at(row.id, saga, at)
    row.rerun_of, row.path = child.rerun_of, None if saga.path.is_straight else saga.path
    database.shelve(row)
    write = RunWrite(run_id=row.id, owner="", epoch=0, saga=saga, links=begins.links)
    write_details(database, row, write, now, shift=0)


def _tell(database: MemoryDatabase, wait_id: str) -> Redelivery | None:
    children = sorted(database.awaited.get(wait_id, ()), key=lambda row: row.id)
    if not children or any(row.status not in FINAL for row in children):
        return None
    del database.awaited[wait_id]
    for row in children:
        row.wait_id = None
    wait, now = database.waits[wait_id], database.clock()
    if wait.closed_at is not None:
        return None
    told: list[dict[str, Any]] = [
        {
            "run": row.id, "workflow": row.workflow, "status": row.status, "cause": row.cause,
            "outputs": load_optional(row.outputs),
        }
        | told_of_branch(row.branch, cancelled=row.cancel is not None)
        for row in children
    ]  # fmt: skip
    wait.closed_at, wait.outcome, wait.answer = now, WaitOutcome.ANSWERED, dump({"runs": told})
    parent = database.runs[wait.run_id]
    ends = [end_of(end) for end in told]
    note(parent, CHILDREN_ENDED, by="engine", data={"step": wait.step_id, "runs": ends}, now=now)
    if parent.owner is None and parent.status is RunStatus.PAUSED:
        parent.wake_at = now
    if parent.owner is not None or parent.status is not RunStatus.WAITING:
        return None
    parent.published_at = parent.wake_at = now
    database.shelve(parent)
    return redelivery_of(parent, "answered", now)


def untold(database: MemoryDatabase) -> list[str]:
    return sorted(
        wait for wait, rows in database.awaited.items() if all(row.status in FINAL for row in rows)
    )


def _cancel_forsaken(database: MemoryDatabase, wait_id: str | None, limit: int) -> list[Redelivery]:
    found = (
        accepting.request_cancel(
            database, run_id, mode=CancelMode.UNDO, reason=reason, by="engine"
        )
        for run_id, reason in reasons_to_cancel(forsaken(database, wait_id)[:limit]).items()
    )  # fmt: skip
    return [each for each in found if each is not None]


def forsaken(database: MemoryDatabase, wait_id: str | None) -> list[tuple[str, str, str]]:
    """Branches to cancel, with names and causes of those that failed."""
    found = []
    for wait, rows in sorted(database.awaited.items()):
        if wait_id not in (None, wait):
            continue
        failed = [row for row in rows if row.fails_fast and row.status in _FAILED]
        failed.sort(key=lambda row: (row.cancel is not None, row.id))
        found += [
            (row.id, each.branch or "", each.cause)
            for row in rows for each in failed
            if row.status not in SETTLED and row.cancel is None and row.cancel_wish is None
        ]  # fmt: skip
    return found
