"""What an engine tells of its work while it works, for whoever counts and times it.

Each act is told once, after it has happened. Tellers are on the hot path: an implementation only
counts, in memory, and never raises.
"""

from __future__ import annotations

from typing import Protocol

from orchestrator.core.exchange import Outcome, Response
from orchestrator.core.plan import Call
from orchestrator.core.states import Direction, LinkStatus, RunStatus


class Meter(Protocol):
    """Counts and times what one process does. Durations in seconds."""

    def attempted(
        self, api: str, direction: Direction, outcome: Outcome, status: int | None, seconds: float
    ) -> None:
        """An attempt (or verification) has ended; `status` is None without a complete answer."""

    def settled(
        self, workflow: str, step: str, direction: Direction, status: LinkStatus, seconds: float
    ) -> None:
        """A link has come to its end, so long after its first attempt began."""

    def ended(self, workflow: str, status: RunStatus, seconds: float) -> None:
        """A run has settled, so long after it was accepted."""

    def claimed(self, lane: str, direction: Direction, seconds: float) -> None:
        """A run was taken up, so long after its hint was sent."""

    def passed_gate(self, api: str, seconds: float) -> None:
        """A call that the gate had kept was let in, so long after it came."""

    def parked(self, api: str) -> None:
        """A run was told to come back to the gate later."""

    def batched(self, batch: str, items: int, seconds: float) -> None:
        """One round trip for so many items, to the database or the broker."""

    def recovered(self, what: str, runs: int) -> None:
        """A recovery pass has brought runs back: of the `dead`, `due`, or whose hint was `lost`."""

    def gave_up(self, why: str) -> None:
        """The process ends since it cannot go on: it is `deaf`, or its loop is `stuck`."""


class ApiObserver(Protocol):
    """Counts what calls of APIs were like."""

    def called(
        self,
        call: Call,
        outcome: Outcome,
        response: Response | None,
        seconds: float,
        waited: float,
    ) -> None:
        """One has ended; without a complete answer if `response` is None. `waited`: at the gate."""


class Unobserved:
    """Nobody counts. Implements ApiObserver."""

    def called(
        self,
        call: Call,
        outcome: Outcome,
        response: Response | None,
        seconds: float,
        waited: float,
    ) -> None:
        """See ApiObserver."""


class Unmetered:
    """Nobody counts. Implements Meter."""

    def attempted(
        self, api: str, direction: Direction, outcome: Outcome, status: int | None, seconds: float
    ) -> None:
        """See Meter."""

    def settled(
        self, workflow: str, step: str, direction: Direction, status: LinkStatus, seconds: float
    ) -> None:
        """See Meter."""

    def ended(self, workflow: str, status: RunStatus, seconds: float) -> None:
        """See Meter."""

    def claimed(self, lane: str, direction: Direction, seconds: float) -> None:
        """See Meter."""

    def passed_gate(self, api: str, seconds: float) -> None:
        """See Meter."""

    def parked(self, api: str) -> None:
        """See Meter."""

    def batched(self, batch: str, items: int, seconds: float) -> None:
        """See Meter."""

    def recovered(self, what: str, runs: int) -> None:
        """See Meter."""

    def gave_up(self, why: str) -> None:
        """See Meter."""


UNMETERED = Unmetered()
UNOBSERVED = Unobserved()
