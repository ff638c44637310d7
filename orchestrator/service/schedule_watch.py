"""The pass of every worker that begins the runs of schedules.

No worker leads: whoever looks first decides on a schedule's times, in one write, and begins their
runs with a key of schedule and time. If it dies in between, any other begins them some seconds
later, with the same key; so a time has one run.
"""

from __future__ import annotations

import structlog

from orchestrator.core.schedules import key_of, take_turn, to_end
from orchestrator.definitions.calendars import times_of
from orchestrator.errors import Conflict, RefusedError, Unavailable
from orchestrator.ports.schedules import Looked, ScheduleStore, ToBegin
from orchestrator.ports.surveys import Surveys
from orchestrator.service.runs import Runs
from orchestrator.service.submitting import Submission, Submitter

log = structlog.get_logger(__name__)

AT_ONCE = 200
LEFT_SECONDS = 5.0
"""After so long others begin what whoever decided on it has not."""


class ScheduleWatch:
    """Decides on times that have come, and begins runs."""

    def __init__(
        self,
        store: ScheduleStore,
        submitter: Submitter,
        runs: Runs,
        *,
        left_seconds: float = LEFT_SECONDS,
    ) -> None:
        self._store, self._submitter, self._runs = store, submitter, runs
        self._left_seconds = left_seconds

    async def run_passes(self, surveys: Surveys) -> None:
        """One pass for each survey that has found something, until cancelled."""
        while True:
            if not (await surveys.next()).scheduled:
                continue
            try:
                await self.one_pass()
            except Unavailable as error:
                log.warning("schedules.postponed", why=str(error))
            except Exception:
                # A pass is repeatable, and the next one must come.
                log.exception("schedules.failed")

    async def one_pass(self) -> None:
        """Look at all that something is to be decided on. Raises Unavailable."""
        for looked in await self._store.schedules_to_look_at(limit=AT_ONCE):
            await self._look(looked)
        for due in await self._store.to_begin(older_than_seconds=self._left_seconds, limit=AT_ONCE):
            await self._begin(due)

    async def _look(self, looked: Looked) -> None:
        record = looked.record
        turn = take_turn(
            record.schedule, times_of(record.schedule.rhythm), schedule_id=record.id,
            next_at=record.next_at, opens=looked.opens, now=looked.now,
        )  # fmt: skip
        if turn.is_nothing and turn.due_at == record.due_at:
            await self._cancel(looked)
            return
        if not await self._store.record_turn(looked, turn):
            return
        for due in await self._store.to_begin(
            older_than_seconds=0, schedule_id=record.id, limit=AT_ONCE
        ):
            await self._begin(due)
        await self._cancel(looked)

    async def _begin(self, due: ToBegin) -> None:
        try:
            (accepted,) = await self._submitter.submit([_submission(due)])
        except RefusedError as refused:
            # It would be refused again for ever: people have to change the schedule.
            why = "; ".join((refused.message, *(str(each) for each in refused.problems)))
            log.warning("schedules.refused", schedule=due.name, tenant=due.tenant, why=why)
            await self._store.note_begun(due.schedule_id, due.at, run_id=None, reason=why)
            return
        await self._store.note_begun(due.schedule_id, due.at, run_id=accepted.run_id)

    async def _cancel(self, looked: Looked) -> None:
        for each in to_end(looked.record.schedule, looked.opens):
            assert each.run_id is not None
            try:
                await self._runs.cancel(
                    each.run_id, by=_actor(looked.record.name),
                    reason="a later time takes its place",
                )  # fmt: skip
            except Conflict as refused:  # it ends anyway, or cannot be undone any more
                log.info("schedules.not_cancelled", run_id=each.run_id, why=str(refused))
            await self._store.note_ending(looked.record.id, each.at)


def _submission(due: ToBegin) -> Submission:
    wanted = due.schedule
    return Submission(
        workflow=wanted.workflow, version=wanted.version, inputs=wanted.inputs_at(due.at),
        idempotency_key=key_of(due.schedule_id, due.at), tenant=due.tenant,
        actor=_actor(due.name), priority=wanted.priority,
        deadline_seconds=wanted.deadline_seconds, attributes=wanted.attributes,
    )  # fmt: skip


def _actor(name: str) -> str:
    return f"schedule:{name}"
