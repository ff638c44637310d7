"""Runs that a person has to approve before they begin.

A run is held from its acceptance on, in the same transaction: it is `paused`, and an approval is
open for it, as attempt 0 of its first step, which no step asks. That row alone holds it. Who closes
the approval lets the run go, in one transaction and under its lock: forward when it was approved,
else as a run that is to be cancelled before it has done anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from orchestrator.core import events as e
from orchestrator.core import journal
from orchestrator.core.guarding import Asking, Charge, Policy, Question, amount_told
from orchestrator.core.saga import Hold
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import HELD, RESUMED, Agent, Redelivery, Role
from orchestrator.store import codec, rows
from orchestrator.store.codec import instant
from orchestrator.store.notes import Notes, resumed_data
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import HOLDING, STOPPED
from orchestrator.store.transactions import Tx

BEFORE_THE_START = "(start)"
"""In place of a step's id, which has no brackets."""
IN_TIME = "nobody approved it in time"


class NewHold(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run that was just accepted waits, and what is asked."""

    run_id: str  # also the id of its approval: both are new
    by: str  # whose rules want it
    asked: Mapping[str, Any]  # as of any approval: message, show, roles, …
    seconds: float | None  # nobody decided within so long: it does not begin


class Holding(Part):
    """Holds runs, and lets them go."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._notes = Notes(shared)
        until = self._dialect.later("{now}", "CAST(:seconds AS {real})")
        self._ask = self._sql(
            "INSERT INTO waits (id, run_id, step, attempt, step_id, asks, asked, opened_at,"
            f" expires_at) SELECT id, id, 0, 0, '{BEFORE_THE_START}', 'approval', :asked, {{now}},"
            f" CASE WHEN CAST(:seconds AS {{real}}) IS NULL THEN deadline_at"
            f" WHEN deadline_at < {until} THEN deadline_at ELSE {until} END"
            " FROM runs WHERE id = :run_id"
        )
        self._hold = self._sql(
            "UPDATE runs SET status = 'paused', published_at = NULL WHERE id = :run_id"
            " RETURNING {now}"
        )
        self._close = self._sql(
            "UPDATE waits SET closed_at = {now}, outcome = :outcome"
            f" WHERE run_id = :run_id AND {HOLDING} RETURNING id"
        )
        self._wish = self._sql(
            "UPDATE runs SET cancel_wish = :mode, cancel_reason = :reason WHERE id = :run_id"
        )
        self._go = self._sql(
            "UPDATE runs SET status = 'running', published_at = {now}, wake_at = NULL"
            " WHERE id = :run_id AND status = 'paused' AND owner IS NULL"
            f" AND NOT {STOPPED} RETURNING {rows.redelivery(self._dialect)}, {{now}}"
        )
        self._policies = self._sql(
            "SELECT p.agent, p.policy FROM agent_uses AS u JOIN agent_policies AS p"
            " ON p.tenant = u.tenant AND p.agent = u.agent"
            " WHERE u.run_id = :run_id AND NOT p.removed ORDER BY p.agent"
        )
        overdue = (
            "SELECT runs.id FROM waits {join_then} runs ON runs.id = waits.run_id"
            f" WHERE {HOLDING} AND waits.expires_at <= {{now}}"
        )
        self._overdue = self._sql(f"{overdue} ORDER BY runs.id LIMIT :most {{for_update_of_runs}}")
        self.looks = {"held": overdue}

    async def hold(self, tx: Tx, new: NewHold) -> None:
        """Of a run that this transaction has accepted: it begins when it is approved."""
        (now,) = await tx.row(self._hold, run_id=new.run_id)
        await tx.change(
            self._ask, run_id=new.run_id, asked=codec.dump_payload(new.asked), seconds=new.seconds
        )
        events = [journal.entry(e.PauseRequested(), instant(now), Hold())]
        data = {"why": new.asked["message"], "wait": new.run_id, "events": events}
        await self._notes.note(tx, new.run_id, HELD, by=new.by, data=data)

    async def check_may_begin(self, tx: Tx, run_id: str) -> None:
        """Raises Conflict where its agent, or all of the tenant, were stopped meanwhile."""
        for agent, text in await tx.rows(self._policies, run_id=run_id):
            stop = policy_from(text).stopped
            if stop is not None:
                problem = Problem(
                    place=f"agent {agent}", found=f"stopped by {stop.by} at {stop.at}",
                    wanted="an agent that may work; the run can be rejected",
                )  # fmt: skip
                raise Conflict("the run does not begin: its agent was stopped", problems=[problem])

    async def let_go(
        self, tx: Tx, run_id: str, *, by: str, refused: str | None
    ) -> Redelivery | None:
        """Its approval is over, and its row locked. `refused`: why it is not to begin.

        None where a pause stops it meanwhile.
        """
        if refused is not None:
            mode = str(e.CancelMode.UNDO)
            reason = codec.storable(refused)
            await tx.change(self._wish, run_id=run_id, mode=mode, reason=reason)
            data = {"mode": mode, "reason": refused}
            await self._notes.note(tx, run_id, "run.cancel_requested", by=by, data=data)
        row = await tx.row(self._go, run_id=run_id)
        if row is None:
            return None
        now = instant(row[rows.REDELIVERY_WIDTH])
        await self._notes.note(tx, run_id, RESUMED, by=by, data=resumed_data(None, now))
        return rows.redelivery_of(row, "answered")

    async def withdraw(self, tx: Tx, run_id: str) -> None:
        """Of a run that is to be cancelled, and locked: nobody is asked any more."""
        await tx.row(self._close, run_id=run_id, outcome="withdrawn")

    async def expire_holds(self, *, limit: int = 500) -> list[Redelivery]:
        """See GuardStore."""
        return await self._db.write(lambda tx: self._expire(tx, limit))

    async def _expire(self, tx: Tx, limit: int) -> list[Redelivery]:
        freed = []
        for run_id in [row[0] for row in await tx.rows(self._overdue, most=limit)]:
            # Somebody may have decided while we waited for the run's lock.
            if await tx.row(self._close, run_id=run_id, outcome="expired") is None:
                continue
            freed.append(await self.let_go(tx, run_id, by="engine", refused=IN_TIME))
        return [each for each in freed if each is not None]


def policy_from(text: str) -> Policy:
    """As it is kept."""
    return msgspec.json.decode(text, type=Policy)


def asked_of(who: str, charge: Charge, given: Sequence[tuple[Agent, Asking, Question]]) -> NewHold:
    """What one person is asked for all policies together, so that each of them is content."""
    why = [
        f"{each.found}; wanted {each.wanted} (policy of agent {agent.name}, {each.rule})"
        for agent, _, each in given
    ]
    rules = [asking for _, asking, _ in given]
    seconds = [each.seconds for each in rules if each.seconds is not None]
    roles = [[Role(role) for role in each.roles] or [Role.APPROVER] for each in rules]
    show = {"agent": who, "workflow": charge.workflow, "why": why}
    if charge.currency:
        show["spends"] = f"{amount_told(charge.amount)} {charge.currency}"
    return NewHold(
        run_id=charge.run_id, by=given[0][0].name, seconds=min(seconds, default=None),
        asked={
            "message": f"May {who} begin a run of {charge.workflow}? {'; '.join(why)}",
            "show": show, "roles": [str(role) for role in max(roles, key=_least)],
            "requester": all(each.requester for each in rules),
        },
    )  # fmt: skip


def _least(roles: Sequence[Role]) -> int:
    """How much somebody has to be allowed to be one of them."""
    return min(list(Role).index(role) for role in roles)
