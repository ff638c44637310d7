"""Runs that steps of other runs begin: their beginning with the wait, and the telling of their end.

A child is inserted by the transaction that opens the wait which its end answers, so that there is
one for each wait, and none without. Its end is told by a transaction of its own, which locks the
parent alone: a final run does not change any more, so whoever tells it, and however often, it is
the same answer. What nobody has told yet stands in an index (`runs_untold`), for the sweep.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from orchestrator.core.saga import current
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.ports import Redelivery, RunWrite, WaitRecord, hop_ids_at
from orchestrator.ports.children import CHILD_BEGUN, CHILD_OF, CHILDREN_ENDED, NewChild, Undoing
from orchestrator.store import codec, rows, writes
from orchestrator.store.accepting import Accepting
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import UNENDED, UNTOLD
from orchestrator.store.transactions import Tx


class Children(Part):
    """Implements ports.ChildStore."""

    def __init__(self, shared: Shared, accepting: Accepting) -> None:
        super().__init__(shared)
        self._accepting, self._notes = accepting, Notes(shared)
        self._links = writes.LINKS.bulk(self._dialect)
        self._belong = self._sql(
            "UPDATE runs SET parent_id = :parent_id, wait_id = :wait_id, depth = :depth"
            " WHERE id = :run_id"
        )
        self._stand = self._sql(
            "UPDATE runs SET status = :status, direction = :direction, step = :step,"
            " hop_id = :hop_id, parent_hop_id = :parent_hop_id, rerun_of = :rerun_of, path = :path,"
            " cause = :cause WHERE id = :run_id"
        )
        self._answer = self._sql(
            "UPDATE waits SET closed_at = {now}, outcome = 'answered', answer = :answer"
            " WHERE id = :wait_id AND closed_at IS NULL RETURNING id"
        )
        self._waiting = self._sql("SELECT run_id, step_id FROM waits WHERE id = :wait_id")
        self._lock = self._sql("SELECT id FROM runs WHERE id = :run_id {for_update}")
        self._ends = self._sql(
            "SELECT id, workflow, status, cause, outputs FROM runs WHERE wait_id = :wait_id"
            " ORDER BY id"
        )
        self._told = self._sql("UPDATE runs SET wait_id = NULL WHERE wait_id = :wait_id")
        self._wake = self._sql(rows.waking(self._dialect))
        self._untold = self._sql(
            f"SELECT DISTINCT wait_id FROM runs WHERE {UNTOLD} AND NOT EXISTS (SELECT 1 FROM runs"
            f" AS r WHERE r.wait_id = runs.wait_id AND r.{UNENDED}) ORDER BY wait_id LIMIT :most"
        )

    # --- their beginning --------------------------------------------------------------------------

    async def begin_in(self, tx: Tx, children: Sequence[NewChild], wait: WaitRecord) -> None:
        """Insert those of one wait, whose run is locked, unless they are there."""
        accepted = await self._accepting.accept_in(tx, [child.run for child in children])
        for child, answer in zip(children, accepted, strict=True):
            if not answer.repeated:
                await self._begun(tx, child, wait)

    async def _begun(self, tx: Tx, child: NewChild, wait: WaitRecord) -> None:
        run_id = child.run.id
        await tx.change(
            self._belong, run_id=run_id, parent_id=wait.run_id, depth=child.depth,
            wait_id=wait.id if child.answers else None,
        )  # fmt: skip
        if child.undoing is not None:
            await self._stands(tx, run_id, child.undoing)
        to_child: dict[str, Any] = {"run": wait.run_id, "step": wait.step_id}
        to_parent: dict[str, Any] = {
            "step": wait.step_id, "run": run_id, "workflow": child.run.workflow,
            "version": child.run.version,
        }  # fmt: skip
        if child.undoing is not None:
            to_child["undoes"] = to_parent["undoes"] = child.undoing.of
        await self._notes.note(tx, run_id, CHILD_OF, by="engine", data=to_child)
        await self._notes.note(tx, wait.run_id, CHILD_BEGUN, by="engine", data=to_parent)

    async def _stands(self, tx: Tx, run_id: str, undoing: Undoing) -> None:
        """Where a run that undoes another begins."""
        saga, at = undoing.saga, current(undoing.saga)
        hop_id, parent_hop_id = hop_ids_at(run_id, saga, at)
        await tx.change(
            self._stand, run_id=run_id, status=str(saga.status), direction=str(saga.direction),
            step=None if at is None else saga.path.steps[at[0]], hop_id=hop_id,
            parent_hop_id=parent_hop_id, rerun_of=undoing.of, cause=codec.storable(saga.cause),
            path=None if saga.path.is_straight else rows.path_text(saga.path),
        )  # fmt: skip
        write = RunWrite(run_id=run_id, owner="", epoch=0, saga=saga, links=undoing.links)
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
        data = {"step": step_id, "runs": [{k: r[k] for k in ("run", "status")} for r in told]}
        await self._notes.note(tx, parent, CHILDREN_ENDED, by="engine", data=data)
        row = await tx.row(self._wake, run_id=parent)
        if row is None or row[rows.REDELIVERY_WIDTH] == RunStatus.PAUSED:
            return None
        return rows.redelivery_of(row, "answered")

    async def untold_children(self, *, limit: int = 500) -> list[str]:
        """See ChildStore."""
        return [row[0] for row in await self._db.rows(self._untold, most=limit)]


def _told(row: Sequence[Any]) -> dict[str, Any]:
    """How a child ended."""
    return {
        "run": row[0], "workflow": row[1], "status": row[2], "cause": row[3],
        "outputs": codec.load_optional(row[4]),
    }  # fmt: skip
