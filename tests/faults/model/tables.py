"""A state's row in the store that the simulations use, and back.

That store passes the conformance suite of the real ones (tests/store), so what it refuses here, the
database refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from orchestrator.core.plan import Plan
from orchestrator.core.saga import Saga
from orchestrator.core.states import Direction
from orchestrator.ports import LinkWrite, RunWrite, WorkflowVersion
from orchestrator.store.codec import dump
from orchestrator.testing.memory.records import blank_steps, claimed_of
from orchestrator.testing.memory.tables import (
    EscalationRow,
    LinkRow,
    MemoryDatabase,
    RunRow,
    WorkerRow,
    place_of,
)
from tests.faults.model.values import EPOCH, NOW, WAKE, Core, Driver, Letter, State, in_order

RUN, LETTER, PLAN = "run", "letter", "plan"
OTHER_RUN = "run 2"
_NOTHING = dump({})


class Table:
    """A run in a database of its own, for one move, or beside another one in that one's."""

    def __init__(
        self, plan: Plan, state: State, *, alive: Iterable[str], later: bool,
        run: str = RUN, beside: Table | None = None,
    ) -> None:  # fmt: skip
        self.run = run if beside is None else OTHER_RUN
        self.letter = LETTER if self.run == RUN else "letter 2"
        now = WAKE if later else NOW
        self.database = _database(plan, alive, now) if beside is None else beside.database
        self.plan, self.before = plan, state
        self.row = _row(plan, state, self.run)
        if state.letter is not None:
            self._open(state.letter)
        self.database.add_run(self.row)

    def _open(self, letter: Letter) -> None:
        row = EscalationRow(
            id=self.letter, run_id=self.run, reason=letter.reason, detail="", step=letter.step,
            step_id=None, direction=letter.direction, context="{}", opened_at=NOW,
        )  # fmt: skip
        self.database.escalations[self.letter] = row
        self.database.open_escalations[self.letter] = row
        self.row.escalations.append(self.letter)
        self.row.open_escalation = self.letter

    def saga(self) -> Saga:
        """As whoever claims the run reads it."""
        return claimed_of(self.database, self.row).saga(self.plan)

    def state(self, drivers: Iterable[Driver], *, hint: bool | None = None) -> State:
        """What the row says now; of the rest what it was, but for the drivers and the hint.

        Without a word on the hint it is the one from before, unless that is of an older epoch now.
        """
        row = self.row
        same = row.epoch == EPOCH
        left = (each if same else each._replace(current=False) for each in drivers)
        return self.before._replace(
            core=Core.of(self.saga()), owner=row.owner, claims=row.claims,
            announced=row.published_at is not None, wish=row.cancel_wish,
            letter=self._letter(), hint=(same and self.before.hint) if hint is None else hint,
            drivers=in_order(left),
        )  # fmt: skip

    def _letter(self) -> Letter | None:
        if self.row.open_escalation is None:
            return None
        found = self.database.escalations[self.row.open_escalation]
        return Letter(found.reason, found.step, found.direction)


def _database(plan: Plan, alive: Iterable[str], now: datetime) -> MemoryDatabase:
    database = MemoryDatabase(lambda: now)
    database.version_by_id[PLAN] = WorkflowVersion(
        id=PLAN, workflow=plan.workflow, version=1, plan=plan, document="", published_at=NOW,
        published_by="",
    )  # fmt: skip
    database.blank_steps[PLAN] = blank_steps(plan)
    for owner in alive:
        database.workers[owner] = WorkerRow(
            id=owner, name=owner, pid=1, started_at=NOW, heartbeat_at=now, active_runs=0,
            reserved=0, version="",
        )  # fmt: skip
    return database


def _row(plan: Plan, state: State, run: str) -> RunRow:
    core = state.core
    row = RunRow(
        id=run, workflow_id=PLAN, workflow=plan.workflow, version=1, tenant="", actor="", lane="",
        priority=0, idempotency_key=run, inputs_digest="", inputs=_NOTHING, created_at=NOW,
        deadline_at=None, published_at=NOW if state.announced else None, hop_id="",
        status=core.status, direction=core.direction, epoch=EPOCH, owner=state.owner,
        claims=state.claims, wake_at=WAKE if core.waits else None, cancel=core.cancel,
        cancel_wish=state.wish, write_number=1,
    )  # fmt: skip
    for step, links in enumerate(core.steps):
        for direction, link in (
            (Direction.FORWARD, links.forward),
            (Direction.BACKWARD, links.undo),
        ):
            row.links[place_of(step, direction)] = LinkRow(link=link)
    return row


def write_of(plan: Plan, driver: Driver, **more: object) -> RunWrite:
    """What a driver commits: the guard, the run, and all of its links."""
    core = driver.core
    links = tuple(
        LinkWrite(step=step, direction=direction, link=link)
        for step, both in enumerate(core.steps)
        for direction, link in ((Direction.FORWARD, both.forward), (Direction.BACKWARD, both.undo))
    )
    return RunWrite(
        run_id=RUN, owner=driver.owner, epoch=EPOCH if driver.current else EPOCH - 1,
        saga=core.saga(plan), links=links, number=1 if driver.unheard else 2,
        refuses_cancel=driver.refuses, **more,
    )  # fmt: skip
