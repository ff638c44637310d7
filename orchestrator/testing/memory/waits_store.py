"""The waiting part of the store in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.ports import (
    Awaited,
    Awaiting,
    Decision,
    NewSignal,
    Redelivery,
    SignalReceipt,
    SignalRecord,
    WaitRecord,
)
from orchestrator.testing.memory import waits
from orchestrator.testing.memory.passing import Passing


class MemoryWaits(Passing):
    """Implements ports.WaitStore."""

    async def await_answers(self, given: Sequence[Awaiting]) -> list[Awaited | None]:
        """See WaitStore."""
        if not given:
            return []
        return await self._pass("await_answers", lambda: waits.await_answers(self.database, given))

    async def send_signal(self, new: NewSignal) -> SignalReceipt:
        """See WaitStore."""
        return await self._pass("send_signal", lambda: waits.send_signal(self.database, new))

    async def signals_of(self, run_id: str) -> list[SignalRecord]:
        """See WaitStore."""
        return await self._pass("signals_of", lambda: waits.signals_of(self.database, run_id))

    async def wait(self, wait_id: str) -> WaitRecord:
        """See WaitStore."""
        return await self._pass("wait", lambda: waits.wait(self.database, wait_id))

    async def waits_of(self, run_id: str) -> list[WaitRecord]:
        """See WaitStore."""
        return await self._pass("waits_of", lambda: waits.waits_of(self.database, run_id))

    async def approvals(
        self,
        *,
        open_only: bool = True,
        tenant: str | None = None,
        after: str | None = None,
        limit: int = 200,
    ) -> list[WaitRecord]:
        """See WaitStore."""
        return await self._pass(
            "approvals",
            lambda: waits.approvals(
                self.database, open_only=open_only, tenant=tenant, after=after, limit=limit
            ),
        )

    async def decide(
        self,
        wait_id: str,
        decision: Decision,
        *,
        by: str,
        via: str,
        reason: str,
        data: Mapping[str, Any],
    ) -> tuple[WaitRecord, Redelivery | None]:
        """See WaitStore."""
        return await self._pass(
            "decide",
            lambda: waits.decide(
                self.database, wait_id, decision, by=by, via=via, reason=reason, data=data
            ),
        )
