"""Other values for steps that have not begun, kept with their run: whoever claims it finds them.

Only a run that nobody has in hand is edited, under its lock. So a worker either claims it
afterwards and finds the values, or has claimed it before and is in the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.core.path import straight
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import Confirmation, RunRecord, not_begun
from orchestrator.store import codec, rows
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared
from orchestrator.store.proposals import Proposals
from orchestrator.store.transactions import Tx


class Editing(Part):
    """The editing part of ports.ProposalStore."""

    def __init__(self, shared: Shared, proposals: Proposals) -> None:
        super().__init__(shared)
        self._proposals, self._notes = proposals, Notes(shared)
        self._run = self._sql(f"SELECT {rows.RUN} FROM runs WHERE id = :run_id")
        self._links = self._sql(f"SELECT {rows.LINK} FROM run_steps WHERE run_id = :run_id")
        self._set = self._sql("UPDATE runs SET edits = :edits WHERE id = :run_id AND owner IS NULL")
        # What was prepared of a step that was held up before it left is made anew.
        self._forget = self._sql(
            "UPDATE run_steps SET request = NULL WHERE run_id = :run_id AND step = :step"
            " AND direction = 'forward' AND status = 'pending' AND attempts = 0"
        )

    async def confirm_edit(
        self, confirmation: Confirmation, run_id: str, step: str, values: Mapping[str, Any]
    ) -> RunRecord:
        """Close the proposal and keep the values. See the port."""

        async def work(tx: Tx) -> RunRecord:
            proposal = await self._proposals.confirm_in(tx, confirmation, step)
            run = rows.run_of(await tx.row(self._run, run_id=run_id))
            plan = (await self._shared.plans(tx, [run.workflow_id]))[run.workflow_id]
            links = await tx.rows(self._links, run_id=run.id)
            steps = rows.steps_of(plan, run.path or straight(plan), links)
            ahead = not_begun(run, steps, step)
            if run.owner is not None:
                raise _in_hand(run)
            edits = {**run.edits, step: {**run.edits.get(step, {}), **values}}
            await tx.change(self._set, run_id=run.id, edits=codec.dump_payload(edits))
            for each in ahead:
                await tx.change(self._forget, run_id=run.id, step=each.index)
            data = {
                "proposal": proposal.id, "step": step, "values": sorted(values),
                "reason": proposal.reason, "confirmed_by": confirmation.by,
            }  # fmt: skip
            await self._notes.note(tx, run.id, "run.edited", by=proposal.proposed_by, data=data)
            return rows.run_of(await tx.row(self._run, run_id=run.id))

        return await self._db.write(work)


def _in_hand(run: RunRecord) -> Conflict:
    problem = Problem(
        place=f"run {run.id}", found=f"{run.status}, in the hands of {run.owner}",
        wanted=f"a run that nobody works on: pause it first ({RunStatus.PAUSED}), then confirm",
    )  # fmt: skip
    return Conflict("a worker has the run in hand", problems=[problem])
