"""Answer what runs wait for: send signals, decide on approvals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from msgspec.structs import replace

from orchestrator.errors import Conflict, InvalidInput, NotAllowed, Problem
from orchestrator.ports import (
    Confirmation,
    Decision,
    NewSignal,
    Proposal,
    Redelivery,
    Role,
    RunRecord,
    SignalReceipt,
    SignalRecord,
    Store,
    Subject,
    WaitRecord,
)
from orchestrator.service.four_eyes import FourEyes, Wish
from orchestrator.service.privacy import hidden_wait
from orchestrator.service.redelivery import Redeliverer
from orchestrator.telemetry import redact

_NAME = re.compile(r"[A-Za-z0-9._:-]{1,100}")
LONGEST_KEY = 200
LONGEST_REASON = 2_000
THROUGH_THE_AGENT = "agent"
"""The way of an answer that the program vouches for which began the run."""


class Waiting:
    """Waits of runs, for those who answer. `via` says by which way: "cli", "rest", …"""

    def __init__(
        self,
        store: Store,
        redeliverer: Redeliverer,
        *,
        max_data_bytes: int,
        four_eyes: FourEyes,
    ) -> None:
        self._store, self._redeliverer = store, redeliverer
        self._max_data_bytes, self._four_eyes = max_data_bytes, four_eyes

    async def send_signal(
        self, run_id: str, name: str, *, key: str, data: Mapping[str, Any], by: str, via: str
    ) -> SignalReceipt:
        """Tell a run that something has happened; with the same key again it changes nothing.

        A run that does not wait for it yet keeps it. Raises NotFound, InvalidInput; Conflict when
        the run has ended or turned back, or the key is in use for other data.
        """
        self._check_signal(name, key, data)
        run = await self._store.run(run_id)
        receipt = await self._store.send_signal(
            NewSignal(run_id=run.id, name=name, key=key, data=data, by=by, via=via)
        )
        await self._wake(receipt.redelivery)
        return receipt

    async def signals_of(self, run_id: str) -> list[SignalRecord]:
        """All that were sent to a run, in order of arrival."""
        rules, found = redact.rules(), await self._store.signals_of(run_id)
        return [replace(each, data=rules.value(each.data)) for each in found]

    async def waits_of(self, run_id: str) -> list[WaitRecord]:
        """All that a run waits or has waited for, oldest first."""
        rules = redact.rules()
        return [hidden_wait(each, rules) for each in await self._store.waits_of(run_id)]

    async def approvals(
        self,
        *,
        open_only: bool = True,
        tenant: str | None = None,
        after: str | None = None,
        limit: int = 200,
    ) -> list[WaitRecord]:
        """A page of what people are asked, oldest first."""
        rules = redact.rules()
        found = await self._store.approvals(
            open_only=open_only, tenant=tenant, after=after, limit=limit
        )
        return [hidden_wait(each, rules) for each in found]

    async def approval(self, wait_id: str) -> WaitRecord:
        """One. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""
        return hidden_wait(await self._store.wait(wait_id), redact.rules())

    async def decide(
        self,
        wait_id: str,
        decision: Decision,
        *,
        by: str,
        via: str,
        reason: str = "",
        data: Mapping[str, Any] | None = None,
        role: Role = Role.ADMIN,
    ) -> WaitRecord:
        """Approve or reject; a rejection says why. `data` goes to the run with the decision.

        Where two have to approve, the first approval is kept as a proposal and the wait stays open;
        that of another person confirms it. One rejection is enough. `role` is what who decides may
        do. Raises NotFound, InvalidInput; NotAllowed where the
        approval wants another role; Conflict that says who was faster, or why it is too late.
        """
        self._check_decision(decision, reason, data or {})
        found = await self._store.wait(wait_id)
        run = await self._store.run(found.run_id)
        if via != THROUGH_THE_AGENT:
            _check_another(found, run, by)
        check_role(found, role, by)
        if decision is Decision.APPROVED and await self._four_eyes.holds(run):
            wish = Wish(
                subject=Subject.APPROVAL, subject_id=found.id, act=decision,
                arguments={"data": dict(data or {})}, reason=reason, by=by, via=via,
            )  # fmt: skip
            return await self._approve_by_two(run, found, wish)
        wait, redelivery = await self._store.decide(
            wait_id, decision, by=by, via=via, reason=reason, data=data or {}
        )
        await self._wake(redelivery)
        return wait

    async def decide_for_requester(
        self, wait_id: str, decision: Decision, *, by: str, reason: str
    ) -> WaitRecord:
        """As whoever a run is for, through the agent that began it and now vouches for the answer.

        Raises NotAllowed unless the approval says `requester` and `by` has begun the run; else as
        `decide`.
        """
        found = await self._store.wait(wait_id)
        run = await self._store.run(found.run_id)
        if not found.asked.get("requester") or run.actor != by:
            problem = Problem(
                place=f"approval {found.id}", found=f"{by}, for whom it works",
                wanted="an approval with `requester`, of a run that it has begun",
            )  # fmt: skip
            raise NotAllowed("this is for others to decide", problems=[problem])
        # Its roles are those of other people who may decide; that it may was just looked at.
        return await self.decide(found.id, decision, by=by, via=THROUGH_THE_AGENT, reason=reason)

    async def confirm(
        self, proposal: Proposal, confirmation: Confirmation, *, role: Role = Role.ADMIN
    ) -> WaitRecord:
        """Approve as the second person. Raises as `decide` does."""
        found = await self._store.wait(proposal.subject_id)
        _check_another(found, await self._store.run(found.run_id), confirmation.by)
        check_role(found, role, confirmation.by)
        wait, redelivery = await self._four_eyes.decide(
            confirmation, proposal.subject_id, Decision.APPROVED, proposal.arguments["data"]
        )
        await self._wake(redelivery)
        return wait

    async def _approve_by_two(self, run: RunRecord, wait: WaitRecord, wish: Wish) -> WaitRecord:
        first = await self._four_eyes.open_on(run.id, wait.id)
        if first is None:
            await self._four_eyes.propose(run, wish)
            return await self._store.wait(wait.id)
        if wish.arguments["data"] and wish.arguments != first.arguments:
            problem = Problem(
                place="data", found="other data than that of the first approval",
                wanted=f"what {first.proposed_by} has approved, or nothing",
            )  # fmt: skip
            raise Conflict("two persons approve the same or nothing", problems=[problem])
        confirmation = Confirmation(
            proposal_id=first.id, by=wish.by, reason=wish.reason, via=wish.via
        )
        decided, redelivery = await self._four_eyes.decide(
            confirmation, wait.id, Decision.APPROVED, first.arguments["data"]
        )
        await self._wake(redelivery)
        return decided

    async def _wake(self, redelivery: Redelivery | None) -> None:
        if redelivery is not None:
            await self._redeliverer.publish([redelivery])

    # --- checks -----------------------------------------------------------------------------------

    def _check_signal(self, name: str, key: str, data: Mapping[str, Any]) -> None:
        problems = list(self._data_problems(data))
        if not _NAME.fullmatch(name):
            wanted = "letters, digits, '.', '_', ':' and '-', at most 100"
            problems.append(Problem(place="name", found=repr(name[:100]), wanted=wanted))
        if not 0 < len(key) <= LONGEST_KEY:
            wanted = f"1 to {LONGEST_KEY} characters"
            problems.append(Problem(place="key", found=f"{len(key)} characters", wanted=wanted))
        if problems:
            raise InvalidInput("the signal cannot be sent", problems=problems)

    def _check_decision(self, decision: Decision, reason: str, data: Mapping[str, Any]) -> None:
        problems = list(self._data_problems(data))
        if decision is Decision.REJECTED and not reason.strip():
            problems.append(Problem(place="reason", found="nothing", wanted="why it is rejected"))
        if len(reason) > LONGEST_REASON:
            wanted = f"at most {LONGEST_REASON} characters"
            problems.append(Problem(place="reason", found=f"{len(reason)}", wanted=wanted))
        if problems:
            raise InvalidInput("the approval cannot be decided so", problems=problems)

    def _data_problems(self, data: Mapping[str, Any]) -> list[Problem]:
        size, most = len(orjson.dumps(data)), self._max_data_bytes
        if size <= most:
            return []
        return [Problem(place="data", found=f"{size} bytes", wanted=f"at most {most} bytes")]


def check_role(wait: WaitRecord, role: Role, by: str) -> None:
    """Raises NotAllowed unless it is one of those that may decide, or may do all that one may."""
    wanted = [Role(name) for name in wait.asked.get("roles", ())] or [Role.APPROVER]
    if not any(role.covers(each) for each in wanted):
        names = " or ".join(wanted)
        problem = Problem(place=f"role of {by}", found=role, wanted=names)
        raise NotAllowed("this is for others to decide", problems=[problem])


def _check_another(wait: WaitRecord, run: RunRecord, by: str) -> None:
    """Raises NotAllowed for whoever wants the run, where a policy has others asked."""
    if wait.holds_the_run and run.actor == by:
        problem = Problem(
            place=f"approval {wait.id}", found=f"{by}, who wants the run", wanted="somebody else"
        )
        raise NotAllowed("this is for others to decide", problems=[problem])
