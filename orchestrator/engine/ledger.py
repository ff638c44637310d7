"""What one run has to write: changes since the last commit, gathered into one guarded write."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import reduce
from typing import Any

from msgspec.structs import replace

from orchestrator.core.saga import Link, Saga
from orchestrator.core.states import Direction
from orchestrator.ports import (
    AttemptRecord,
    AuditRecord,
    ClaimedRun,
    LinkRecord,
    LinkWrite,
    NewEscalation,
    RunWrite,
    StepRecord,
    untouched_steps,
)

At = tuple[int, Direction]
_UNTOUCHED = LinkRecord()
LONGEST_HISTORY = 8
"""Changes of one link that are kept one by one, until somebody asks for the whole of it."""


class Ledger:
    """The records of one run in memory, and what of them is not committed yet."""

    def __init__(self, claimed: ClaimedRun, *, worker_id: str) -> None:
        self.run = claimed.run
        self._worker_id = worker_id
        self._claimed = claimed.steps
        self._history: dict[At, list[LinkWrite]] = {}  # of links that have changed since
        self._changed: dict[At, LinkWrite] = {}
        self._attempts: list[AttemptRecord] = []
        self._audit: list[AuditRecord] = []
        self._audit_seq = claimed.run.audit_seq
        self._progressed = False
        self._writes = 0  # taken since the claim

    @property
    def dirty(self) -> bool:
        """Whether anything waits for a commit."""
        return bool(self._changed or self._attempts or self._audit)

    @property
    def writes(self) -> int:
        """How many were taken since the claim."""
        return self._writes

    def steps(self, saga: Saga) -> tuple[StepRecord, ...]:
        """All steps of the chain as they stand now."""
        return tuple(
            replace(
                step,
                forward=self.link((step.index, Direction.FORWARD)),
                undo=self.link((step.index, Direction.BACKWARD)),
            )
            for step in untouched_steps(saga.plan, saga.path)
        )

    def link(self, at: At) -> LinkRecord:
        """A link as it stands now, committed or not."""
        step, direction = at
        record = _UNTOUCHED
        if step < len(self._claimed):  # of what a jump has added since, nothing was known
            claimed = self._claimed[step]
            record = claimed.forward if direction is Direction.FORWARD else claimed.undo
        for write in self._history.get(at, ()):
            record = _applied(record, write)
        return record

    def state(self, at: At) -> Link:
        """What the core knows of a link, as it stands in these books."""
        history = self._history.get(at)
        return history[-1].link if history else self.link(at).link

    def change(self, at: At, write: LinkWrite) -> None:
        """Take a changed link over; several changes between commits become one write."""
        before = self._changed.get(at)
        self._changed[at] = write if before is None else _merged(before, write)
        history = self._history.setdefault(at, [])
        history.append(write)
        if len(history) > LONGEST_HISTORY:  # a link that is tried again and again
            history[:] = [reduce(_merged, history)]

    def attempt(self, record: AttemptRecord) -> None:
        """Add a finished attempt."""
        self._attempts.append(record)

    def progressed(self) -> None:
        """A link got an outcome, so the run does not kill its workers."""
        self._progressed = True

    def audit(self, kind: str, at: datetime, *, actor: str, data: Mapping[str, Any]) -> None:
        """Append the run's next audit record."""
        self._audit_seq += 1
        self._audit.append(
            AuditRecord(seq=self._audit_seq, at=at, kind=kind, actor=actor, data=data)
        )

    def take_write(
        self,
        saga: Saga,
        *,
        escalation: NewEscalation | None = None,
        outputs: Mapping[str, Any] | None = None,
        release: bool = False,
        hinted: bool = False,
        refuses_cancel: bool = False,
        withdraws: bool = False,
        traced: bool = False,
    ) -> RunWrite:
        """Everything uncommitted as one write; the ledger counts it as committed from here on."""
        self._writes += 1
        write = RunWrite(
            run_id=self.run.id,
            owner=self._worker_id,
            epoch=self.run.epoch,
            saga=saga,
            links=tuple(self._changed.values()),
            attempts=tuple(self._attempts),
            audit=tuple(self._audit),
            number=self._writes,
            escalation=escalation,
            outputs=outputs,
            progressed=self._progressed,
            release=release,
            hinted=hinted,
            refuses_cancel=refuses_cancel,
            withdraws=withdraws,
            traced=traced,
        )
        self._changed, self._attempts, self._audit = {}, [], []
        self._progressed = False
        return write


def _merged(before: LinkWrite, after: LinkWrite) -> LinkWrite:
    return replace(
        after,
        request=after.request or before.request,
        outputs=before.outputs if after.outputs is None else after.outputs,
        error=after.error or before.error,
        started_at=after.started_at or before.started_at,
        finished_at=after.finished_at or before.finished_at,
    )


def _applied(record: LinkRecord, write: LinkWrite) -> LinkRecord:
    return LinkRecord(
        link=write.link,
        request=write.request or record.request,
        outputs=record.outputs if write.outputs is None else write.outputs,
        error=write.error or record.error,
        started_at=write.started_at or record.started_at,
        finished_at=write.finished_at or record.finished_at,
    )
