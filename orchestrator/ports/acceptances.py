"""Who has accepted compensations that nobody has written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec


class NewAcceptance(msgspec.Struct, frozen=True, kw_only=True):
    """A derived compensation that a person takes over as it stands."""

    workflow: str
    step: str
    digest: str  # SHA-256 of what would run
    compensation: Mapping[str, Any]  # as in the document, with rule, confidence and evidence
    by: str
    reason: str


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """An acceptance that was given; kept for ever."""

    id: str
    workflow: str
    step: str
    digest: str
    compensation: Mapping[str, Any]
    at: datetime
    by: str
    reason: str


class AcceptanceStore(Protocol):
    """The part of the database that remembers acceptances."""

    async def note_acceptances(self, new: Sequence[NewAcceptance]) -> list[Acceptance]:
        """Record them in one transaction, at the database's time."""

    async def acceptances(self, workflow: str, *, limit: int = 50) -> list[Acceptance]:
        """Those of one workflow, newest first."""
