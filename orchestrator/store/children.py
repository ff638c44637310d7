"""Runs that steps of other runs begin: their beginning with the wait, and the telling of their end.

A child is inserted by the transaction that opens the wait which its end answers, so that there is
one for each wait, and none without. Its end is told by a transaction of its own, which locks the
parent alone: a final run does not change any more, so whoever tells it, and however often, it is
the same answer. What nobody has told yet stands in an index (`runs_untold`), for the sweep.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from orchestrator.core.events import CancelMode
from orchestrator.core.saga import current
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.errors import Conflict
from orchestrator.ports import Beginning, Redelivery, RunWrite, WaitRecord, hop_ids_at
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
from orchestrator.store import codec, rows, writes
from orchestrator.store.accepting import Accepting
from orchestrator.store.cancelling import Cancelling
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import UNENDED, UNTOLD
from orchestrator.store.transactions import Tx


class Children(Part):
    """Implements ports.ChildStore."""

    def __init__(self, shared: Shared, accepting: Accepting, cancelling: Cancelling) -> None:
        super().__init__(shared)
        self._accepting, self._notes = accepting, Notes(shared)
        self._cancelling = cancelling
        self._links = writes.LINKS.bulk(self._dialect)
        self._belong = self._sql(
            "UPDATE runs SET parent_id = :parent_id, wait_id = :wait_id, depth = :depth,"
            " branch = :branch, whole_id = :whole_id, fails_fast = :fails_fast WHERE id = :run_id"
        )
        self._stand = self._sql(
            "UPDATE runs SET status = :status, direction = :direction, step = :step,"
            " hop_id = :hop_id, parent_hop_id = :parent_hop_id, rerun_of = :rerun_of, path = :path,"
            " cause = :cause WHERE id = :run_id"
        )
        self._end = self._sql(
            "UPDATE runs SET settled_at = {now}, published_at = NULL, cancel = :cancel"
            " WHERE id = :run_id"
        )
        self._answer = self._sql(
            "UPDATE waits SET closed_at = {now}, outcome = 'answered', answer = :answer"
            " WHERE id = :wait_id AND closed_at IS NULL RETURNING id"
        )
        self._waiting = self._sql("SELECT run_id, step_id FROM waits WHERE id = :wait_id")
        self._lock = self._sql("SELECT id FROM runs WHERE id = :run_id {for_update}")
        self._ends = self._sql(
            "SELECT id, workflow, status, cause, outputs, branch, cancel FROM runs"
            " WHERE wait_id = :wait_id ORDER BY id"
        )
        self._told = self._sql("UPDATE runs SET wait_id = NULL WHERE wait_id = :wait_id")
        self._wake = self._sql(rows.waking(self._dialect))
        untold = (
            f"FROM runs WHERE {UNTOLD} AND NOT EXISTS (SELECT 1 FROM runs"
            f" AS r WHERE r.wait_id = runs.wait_id AND r.{UNENDED})"
        )
        self._untold = self._sql(f"SELECT DISTINCT wait_id {untold} ORDER BY wait_id LIMIT :most")

        failed = (
            "SELECT r.id, f.branch, f.cause FROM runs AS f JOIN runs AS r ON r.wait_id = f.wait_id"
            " WHERE f.wait_id IS NOT NULL"
            " AND f.standing IN ('abandoned', 'compensated', 'succeeded')"  # as UNTOLD's index
            f" AND f.fails_fast AND f.status <> 'succeeded' AND r.{UNENDED}"
            " AND r.status <> 'escalated' AND r.cancel IS NULL AND r.cancel_wish IS NULL"
        )
        # One that was cancelled is no reason where there is another.
        order = "ORDER BY r.id, CASE WHEN f.cancel IS NULL THEN 0 ELSE 1 END, f.id LIMIT :most"
        self._forsaken = self._sql(f"{failed} {order}")
        self._forsaken_of = self._sql(f"{failed} AND f.wait_id = :wait_id {order}")
        self.looks = {"untold": f"SELECT 1 {untold}", "forsaken": failed}

    # --- their beginning --------------------------------------------------------------------------

    async def begin_in(self, tx: Tx, children: Sequence[NewChild], wait: WaitRecord) -> None:
        """Insert those of one wait, whose run is locked, unless they are there."""
        accepted = await self._accepting.accept_in(tx, [child.run for child in children])
        for child, answer in zip(children, accepted, strict=True):
            if not answer.repeated:
                await self._begun(tx, child, wait)

    async def begin_items_in(self, tx: Tx, items: Sequence[NewChild]) -> None:
        """Insert items of one map, whose row is locked."""
        await self._accepting.accept_items_in(tx, [item.run for item in items])
        for item in items:
            if item.begins is not None:
                await self._stands(tx, item, item.begins)
            if item.refused is not None:
                assert item.begins is not None, "it says how it ends"
                saga = item.begins.saga
                await tx.change(self._end, run_id=item.run.id, cancel=str(saga.cancel))
                kind = f"run.{saga.status}"
                await self._notes.note(tx, item.run.id, kind, by="engine", data=item.refused)

    async def _begun(self, tx: Tx, child: NewChild, wait: WaitRecord) -> None:
        run_id = child.run.id
        await tx.change(
            self._belong, run_id=run_id, parent_id=wait.run_id, depth=child.depth,
            wait_id=wait.id if child.answers else None, branch=child.branch,
            whole_id=child.whole_id, fails_fast=child.fails_fast,
        )  # fmt: skip
        if child.begins is not None:
            await self._stands(tx, child, child.begins)
        to_child, to_parent = told_of_begin(child, wait.run_id, wait.step_id)
        await self._notes.note(tx, run_id, CHILD_OF, by="engine", data=to_child)
        await self._notes.note(tx, wait.run_id, CHILD_BEGUN, by="engine", data=to_parent)

    async def _stands(self, tx: Tx, child: NewChild, begins: Beginning) -> None:
        """Where a run begins that takes something over."""
        run_id, saga, at = child.run.id, begins.saga, current(begins.saga)
        hop_id, parent_hop_id = hop_ids_at(run_id, saga, at)
        await tx.change(
            self._stand, run_id=run_id, status=str(saga.status), direction=str(saga.direction),
            step=None if at is None else saga.path.steps[at[0]], hop_id=hop_id,
            parent_hop_id=parent_hop_id, rerun_of=child.rerun_of, cause=codec.storable(saga.cause),
            path=None if saga.path.is_straight else rows.path_text(saga.path),
        )  # fmt: skip
        write = RunWrite(run_id=run_id, owner="", epoch=0, saga=saga, links=begins.links)
        await tx.apply(self._links, list(writes.link_rows(write, self._dialect)))

    # --- their end --------------------------------------------------------------------------------

    async def tell_parents(self, wait_ids: Sequence[str]) -> list[Redelivery]:
        """See ChildStore."""
        found = [await self._db.write(self._telling(each)) for each in sorted(set(wait_ids))]
        return [each for each in found if each is not None]

    def _telling(self, wait_id: str) -> Callable[[Tx], Awaitable[Redelivery | None]]:
        return lambda tx: self._tell(tx, wait_id)

    async def _tell(self, tx: Tx, wait_id: str) -> Redelivery | None:
        waiting = await tx.row(self._waiting, wait_id=wait_id)
        if waiting is None:  # its run has been deleted
            await tx.change(self._told, wait_id=wait_id)
            return None
        parent, step_id = waiting
        await tx.row(self._lock, run_id=parent)
        ends = await tx.rows(self._ends, wait_id=wait_id)
        if not ends or any(row[2] not in FINAL for row in ends):
            return None
        told = [_told(row) for row in ends]
        answer = codec.dump_payload({"runs": told})
        answered = await tx.row(self._answer, wait_id=wait_id, answer=answer)
        await tx.change(self._told, wait_id=wait_id)
        if answered is None:  # nobody waits any more
            return None
        data = {"step": step_id, "runs": [end_of(each) for each in told]}
        await self._notes.note(tx, parent, CHILDREN_ENDED, by="engine", data=data)
        row = await tx.row(self._wake, run_id=parent)
        if row is None or row[rows.REDELIVERY_WIDTH] == RunStatus.PAUSED:
            return None
        return rows.redelivery_of(row, "answered")

    async def cancel_forsaken(
        self, wait_id: str | None = None, *, limit: int = 500
    ) -> list[Redelivery]:
        """See ChildStore."""
        found = (
            await self._db.rows(self._forsaken, most=limit)
            if wait_id is None
            else await self._db.rows(self._forsaken_of, wait_id=wait_id, most=limit)
        )
        redeliveries = []
        for run_id, reason in reasons_to_cancel((row[0], row[1], row[2]) for row in found).items():
            try:
                redeliveries.append(
                    await self._cancelling.request_cancel(
                        run_id, mode=CancelMode.UNDO, reason=reason, by="engine"
                    )
                )
            except Conflict:  # it has ended meanwhile, or a person decides about it
                continue
        return [each for each in redeliveries if each is not None]

    async def untold_children(self, *, limit: int = 500) -> list[str]:
        """See ChildStore."""
        return [row[0] for row in await self._db.rows(self._untold, most=limit)]


def _told(row: Sequence[Any]) -> dict[str, Any]:
    """How a child ended."""
    told = {
        "run": row[0], "workflow": row[1], "status": row[2], "cause": row[3],
        "outputs": codec.load_optional(row[4]),
    }  # fmt: skip
    return told | told_of_branch(row[5], cancelled=row[6] is not None)
