"""Word of escalations to the outside: once to each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from orchestrator.ports.records import EscalationRecord


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One escalation for one target."""

    escalation: EscalationRecord
    target: str  # its name in the settings
    attempt: int  # 1-based

    @property
    def id(self) -> str:
        """The same with each attempt, so that who gets it twice can tell."""
        return f"{self.escalation.id}.{self.target}"


class NoticeStore(Protocol):
    """The part of the database that knows who was told of what."""

    async def add_notices(self, targets: Sequence[str]) -> int:
        """One for each open escalation of the last day and target that has none; how many."""

    async def take_notices(
        self, targets: Sequence[str], *, most_attempts: int, limit: int
    ) -> list[Notice]:
        """Those that are due, for these targets, each to one caller.

        A taken one is due again after a while, twice as long with each attempt, unless the caller
        says that it was told.
        """

    async def note_told(self, notice: Notice) -> None:
        """It need not be told again."""

    async def note_untold(self, notice: Notice, why: str) -> None:
        """Keep why not; it is due again in its time."""


class NoticeSender(Protocol):
    """A way to tell one target."""

    async def send(self, notice_id: str, body: Mapping[str, Any]) -> None:
        """Raises Untold with the reason when it was not taken."""

    async def aclose(self) -> None:
        """Close what it keeps open."""


class Untold(Exception):
    """The target did not take it."""
