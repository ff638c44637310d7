"""Tells targets outside of escalations: each of each, until it was taken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from orchestrator.errors import Unavailable
from orchestrator.ports.notices import Notice, NoticeSender, NoticeStore, Untold
from orchestrator.service.urgency import Urgency

log = structlog.get_logger(__name__)

PASS_SECONDS = 2.0
AT_ONCE = 20
MOST_ATTEMPTS = 30
"""About a day."""
LONGEST_DETAIL = 500


class Notifier:
    """The pass that every worker makes; the database gives each notice to one of them."""

    def __init__(
        self,
        store: NoticeStore,
        senders: Mapping[str, NoticeSender],
        urgency: Urgency,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._senders, self._urgency = store, senders, urgency
        self._jitter = jitter

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
        one = notice.escalation
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
            },
        }  # fmt: skip
