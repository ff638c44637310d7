"""Word of escalations, alarms, approvals to the outside: once of each occasion to each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from orchestrator.ports.proposals import Proposal
from orchestrator.ports.records import EscalationRecord
from orchestrator.ports.slo import AlarmRecord
from orchestrator.ports.waiting import WaitRecord


class Occasion(StrEnum):
    """What there is to tell."""

    OPENED = "opened"  # an escalation, an alarm or a proposal was
    ASKED = "asked"  # a run asks for an approval
    REMINDED = "reminded"  # it has waited for another while
    EXPIRED = "expired"  # nobody answered in time


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One occasion for one target."""

    about: EscalationRecord | AlarmRecord | Proposal | WaitRecord
    occasion: Occasion
    number: int = 0  # of a reminder: the how manyth, 1-based
    target: str  # its name in the settings
    attempt: int  # 1-based

    @property
    def id(self) -> str:
        """The same with each attempt, so that who gets it twice can tell."""
        told = {Occasion.OPENED: "", Occasion.REMINDED: f".reminded-{self.number}"}
        return f"{self.about.id}{told.get(self.occasion, f'.{self.occasion}')}.{self.target}"


class NoticeStore(Protocol):
    """The part of the database that knows who was told of what."""

    async def add_notices(self, targets: Sequence[str]) -> int:
        """One for each occasion and target that has none; how many.

        Of escalations, alarms and approvals that are open and of the last day, of the last
        reminder of each open approval, and of approvals whose time ran out in the last day; of
        proposals likewise, but those that a job has made.
        """

    async def take_notices(
        self, targets: Sequence[str], *, most_attempts: int, limit: int
    ) -> list[Notice]:
        """Those that are due, for these targets, each to one caller; `limit` of each kind.

        A taken one is due again after a while, twice as long with each attempt, unless the caller
        says that it was told. What somebody has dealt with meanwhile is not told any more, nor a
        reminder after which there was another one.
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
