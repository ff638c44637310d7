"""Accept a run that takes over what another has done."""

from __future__ import annotations

from orchestrator.core.saga import current
from orchestrator.ports import (
    Accepted,
    JobItem,
    JobItemState,
    NewRerun,
    RunWrite,
    hop_ids_at,
)
from orchestrator.store import writes
from orchestrator.store.accepting import Accepting
from orchestrator.store.jobs import Marks
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx

RERUN_OF, RERUN_AS = "run.rerun_of", "run.rerun_as"
"""Audit kinds: of the new run, and of the old one."""


class Rerunning(Part):
    """The rerunning part of ports.RunStore."""

    def __init__(self, shared: Shared, accepting: Accepting) -> None:
        super().__init__(shared)
        self._accepting, self._notes, self._marks = accepting, Notes(shared), Marks(shared)
        self._links = writes.LINKS.bulk(self._dialect)
        self._stand = self._sql(
            "UPDATE runs SET status = :status, step = :step, hop_id = :hop_id,"
            " parent_hop_id = :parent_hop_id, rerun_of = :rerun_of WHERE id = :run_id"
        )

    async def accept_rerun(self, new: NewRerun, *, item: JobItem | None = None) -> Accepted:
        """Insert a run that stands where its saga does, with its links. See RunStore."""
        return await self._db.write(lambda tx: self._accept(tx, new, item))

    async def _accept(self, tx: Tx, new: NewRerun, item: JobItem | None) -> Accepted:
        (accepted,) = await self._accepting.accept_in(tx, [new.run])
        if accepted.repeated:
            return accepted
        at, saga, run_id = current(new.saga), new.saga, new.run.id
        hop_id, parent_hop_id = hop_ids_at(run_id, saga, at)
        await tx.change(
            self._stand, run_id=run_id, status=str(saga.status), hop_id=hop_id,
            parent_hop_id=parent_hop_id, rerun_of=new.of,
            step=None if at is None else saga.path.steps[at[0]],
        )  # fmt: skip
        write = RunWrite(run_id=run_id, owner="", epoch=0, saga=saga, links=new.links)
        await tx.apply(self._links, list(writes.link_rows(write, self._dialect)))
        told = {"step": new.step, "reason": new.reason}
        of, become = {"run": new.of, **told}, {"run": run_id, **told}
        await self._notes.note(tx, run_id, RERUN_OF, by=new.by, data=of)
        await self._notes.note(tx, new.of, RERUN_AS, by=new.by, data=become)
        if item is not None:
            await self._marks.mark(tx, item, JobItemState.DONE)
        return accepted
