"""What runs of a workflow tried, for what can be learned from it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec

from orchestrator.core.insights import Tried
from orchestrator.ports.records import WorkflowVersion


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts of the newest runs of one version."""

    since: datetime
    runs: int  # of which they are
    tried: list[Tried]  # run by run, oldest first; verifications are left out


class HistoryStore(Protocol):
    """The past."""

    async def workflow(self, name: str, version: int | None = None) -> WorkflowVersion:
        """A version, or the latest. Raises NotFound."""

    async def history(self, version: WorkflowVersion, *, days: float, most_runs: int) -> History:
        """Of runs accepted in these days that went straight through the plan, the newest ones."""
