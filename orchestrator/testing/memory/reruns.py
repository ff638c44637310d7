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
from orchestrator.store.rerunning import RERUN_AS, RERUN_OF
from orchestrator.testing.memory import accepting, jobs
from orchestrator.testing.memory.accepting import note
from orchestrator.testing.memory.journal import write_details
from orchestrator.testing.memory.passing import Passing
from orchestrator.testing.memory.records import not_found
from orchestrator.testing.memory.tables import MemoryDatabase


class MemoryReruns(Passing):
    """The rerunning part of ports.RunStore."""

    async def accept_rerun(self, new: NewRerun, *, item: JobItem | None = None) -> Accepted:
        """See RunStore."""
        return await self._pass("accept_rerun", lambda: _accept(self.database, new, item))


def _accept(database: MemoryDatabase, new: NewRerun, item: JobItem | None) -> Accepted:
    old = database.runs.get(new.of)
    if old is None:
        raise not_found("run", new.of, "the whole id of a run")
    known = (new.run.tenant, new.run.idempotency_key) in database.run_by_key
    if item is not None and not known:
        jobs.mark(database, item, JobItemState.DONE)
    (accepted,) = accepting.accept(database, [new.run])
    if accepted.repeated:
        return accepted
    now, saga, run_id = database.clock(), new.saga, new.run.id
    row, at = database.runs[run_id], current(new.saga)
    row.status, row.step = saga.status, None if at is None else saga.path.steps[at[0]]
    row.hop_id, row.parent_hop_id = hop_ids_at(run_id, saga, at)
    row.rerun_of = new.of
    database.shelve(row)
    write = RunWrite(run_id=run_id, owner="", epoch=0, saga=saga, links=new.links)
    write_details(database, row, write, now, shift=0)
    told = {"step": new.step, "reason": new.reason}
    note(row, RERUN_OF, by=new.by, data={"run": new.of, **told}, now=now)
    note(old, RERUN_AS, by=new.by, data={"run": run_id, **told}, now=now)
    return accepted
