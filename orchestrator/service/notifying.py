"""Tells targets outside of escalations, alarms and approvals: each once, until it was taken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import structlog

from orchestrator.errors import Unavailable
from orchestrator.ports import EscalationRecord, Proposal, WaitRecord
from orchestrator.ports.notices import Notice, NoticeSender, NoticeStore, Occasion, Untold
from orchestrator.ports.slo import AlarmRecord
from orchestrator.service.links import LONGEST_LIFE, LinkSigner
from orchestrator.service.urgency import Urgency

log = structlog.get_logger(__name__)

PASS_SECONDS = 2.0
AT_ONCE = 20
MOST_ATTEMPTS = 30
"""About a day."""
LONGEST_DETAIL = 500
LINK_LIFE = timedelta(hours=72)
"""Of a link to an approval that waits for ever."""


class Invitations:
    """Where who is told of an approval can decide: a page, or a link where a target has a name."""

    def __init__(
        self, signer: LinkSigner, *, console: str | None, decides_as: Mapping[str, str]
    ) -> None:
        """`console`: where it is; None: not known. `decides_as`: by target."""
        self._signer, self._console, self._decides_as = signer, console, decides_as

    def page(self, path: str) -> Mapping[str, str]:
        """The field that says where in the console it stands."""
        return {} if self._console is None else {"page": f"{self._console}/{path}"}

    def of(self, wait: WaitRecord, target: str, *, at: datetime) -> Mapping[str, str]:
        """The fields of a notice of this time that say so: always the same of the same notice."""
        told = {**self.page(f"approvals/{wait.id}")}
        name = self._decides_as.get(target)
        if name is not None and wait.is_open:
            until = min(wait.expires_at or at + LINK_LIFE, at + LONGEST_LIFE)
            told["link"] = self._signer.address(wait.id, name=name, until=until)
            told["decides_as"] = name
        return told


class Notifier:
    """The pass that every worker makes; the database gives each notice to one of them."""

    def __init__(
        self,
        store: NoticeStore,
        senders: Mapping[str, NoticeSender],
        urgency: Urgency,
        *,
        invitations: Invitations | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._senders, self._urgency = store, senders, urgency
        self._invitations, self._jitter = invitations, jitter

    async def run_passes(self) -> None:
        """One pass after the other, until cancelled; nothing at all without targets."""
        while self._senders:
            try:
                await self.one_pass()
            except Unavailable as error:
                log.warning("notices.postponed", why=str(error))
            except Exception:
                # A pass is repeatable, and the next one must come.
                log.exception("notices.failed")
            await asyncio.sleep(PASS_SECONDS * (0.75 + self._jitter() / 2))

    async def one_pass(self) -> None:
        """Notices of what is new, and all that are due."""
        targets = sorted(self._senders)
        await self._store.add_notices(targets)
        due = await self._store.take_notices(targets, most_attempts=MOST_ATTEMPTS, limit=AT_ONCE)
        await asyncio.gather(*(self._tell(notice) for notice in due))

    async def aclose(self) -> None:
        """Close what its senders keep open, all of them."""
        async with AsyncExitStack() as stack:
            for sender in self._senders.values():
                stack.push_async_callback(sender.aclose)

    async def _tell(self, notice: Notice) -> None:
        try:
            await self._senders[notice.target].send(notice.id, self.body(notice))
        except Untold as untold:
            why = str(untold)
            log.warning("notice.not_taken", notice=notice.id, attempt=notice.attempt, why=why)
            await self._store.note_untold(notice, why)
            return
        await self._store.note_told(notice)

    def body(self, notice: Notice) -> Mapping[str, Any]:
        """What is told: enough to know whose it is, nothing of what the run holds."""
        if isinstance(notice.about, WaitRecord):
            return self._of_approval(notice, notice.about)
        if isinstance(notice.about, Proposal):
            return self._of_proposal(notice.about)
        if isinstance(notice.about, AlarmRecord):
            return _of_alarm(notice.about)
        return self._of_escalation(notice.about)

    def _of_escalation(self, one: EscalationRecord) -> Mapping[str, Any]:
        return {
            "type": "escalation.opened",
            "timestamp": one.opened_at.isoformat(),
            "data": {
                "id": one.id, "run_id": one.run_id, "workflow": one.workflow,
                "tenant": one.tenant, "step": one.step_id, "api": one.api,
                "direction": one.direction, "reason": one.reason,
                "detail": one.detail[:LONGEST_DETAIL],
                "severity": self._urgency.severity(one),
                "due_at": self._urgency.due_at(one).isoformat(),
                **self._page(f"escalations/{one.id}"),
            },
        }  # fmt: skip

    def _of_proposal(self, one: Proposal) -> Mapping[str, Any]:
        return {
            "type": "proposal.opened",
            "timestamp": one.proposed_at.isoformat(),
            "data": {
                "id": one.id, "run_id": one.run_id, "workflow": one.workflow,
                "tenant": one.tenant, "about": one.subject, "about_id": one.subject_id,
                "act": one.act, "reason": one.reason[:LONGEST_DETAIL],
                "proposed_by": one.proposed_by, "expires_at": one.expires_at.isoformat(),
                **self._page("proposals"),
            },
        }  # fmt: skip

    def _page(self, path: str) -> Mapping[str, str]:
        return {} if self._invitations is None else self._invitations.page(path)

    def _of_approval(self, notice: Notice, one: WaitRecord) -> Mapping[str, Any]:
        at = _time_of(notice.occasion, one)
        invited = self._invitations.of(one, notice.target, at=at) if self._invitations else {}
        return {
            "type": f"approval.{notice.occasion}",
            "timestamp": at.isoformat(),
            "data": {
                "id": one.id, "run_id": one.run_id, "workflow": one.workflow,
                "tenant": one.tenant, "step": one.step_id,
                "message": str(one.asked.get("message", ""))[:LONGEST_DETAIL],
                "roles": list(one.asked.get("roles", ())), "reminders": notice.number,
                "opened_at": one.opened_at.isoformat(),
                "expires_at": None if one.expires_at is None else one.expires_at.isoformat(),
                **invited,
            },
        }  # fmt: skip


def _of_alarm(alarm: AlarmRecord) -> Mapping[str, Any]:
    return {
        "type": "slo.alarm",
        "timestamp": alarm.opened_at.isoformat(),
        "data": {
            "id": alarm.id, "workflow": alarm.workflow, "objective": alarm.kind,
            "urgency": alarm.urgency, "target": alarm.target, "burn_rate": alarm.burn_rate,
            "within_seconds": alarm.long_seconds, "bad": alarm.bad, "total": alarm.total,
        },
    }  # fmt: skip


def _time_of(occasion: Occasion, one: WaitRecord) -> datetime:
    """When it happened. Of reminders the last one counts, after which the next time was set."""
    if occasion is Occasion.REMINDED and one.remind_at is not None:
        return one.remind_at - timedelta(seconds=float(one.asked["remind"]))
    if occasion is Occasion.EXPIRED and one.closed_at is not None:
        return one.closed_at
    return one.opened_at
