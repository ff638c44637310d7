"""Leave to send one request to an API."""

from __future__ import annotations

import time
from typing import Protocol

from orchestrator.engine.gate_health import GateHealth
from orchestrator.engine.gate_kinds import Kind
from orchestrator.engine.gate_side import Ticket
from orchestrator.engine.gate_starts import Start
from orchestrator.engine.gate_supply import Supply
from orchestrator.ports import Seen

Tickets = tuple[tuple[GateHealth, Ticket | None], ...]
"""The API's, then those of the scopes that have breakers of their own."""


class Giver(Protocol):
    """The queue that a permit is of."""

    supply: Supply

    @property
    def held(self) -> bool:
        """Whether an operator lets nothing leave."""

    def released(self, kind: Kind, tickets: Tickets, seen: Seen | None) -> None:
        """A permit was given back."""

    def given_up(
        self, kind: Kind, tickets: Tickets, after_seconds: float, timeout_seconds: float | None
    ) -> None:
        """A call is not waited for any more; what it holds is free when its time is over."""


class QueuePermit:
    """Leave to send one request. Implements Permit."""

    __slots__ = ("_queue", "_released", "_tickets", "handed_at", "kind", "start")

    def __init__(self, queue: Giver, start: Start, kind: Kind, tickets: Tickets) -> None:
        self._queue, self._tickets, self.kind = queue, tickets, kind
        self._released = False
        self.start = start
        self.handed_at = time.monotonic()

    @property
    def fresh(self) -> bool:
        """Whether the request may still leave on it."""
        if self._queue.held:
            return False
        if time.monotonic() > self.start.good_until:
            return False
        return self._queue.supply.still_holds(self.handed_at, self.kind)

    def release(self, seen: Seen | None = None) -> None:
        """See Permit."""
        if not self._released:
            self._released = True
            self._queue.released(self.kind, self._tickets, seen)

    def give_up(self, *, after_seconds: float, timeout_seconds: float | None) -> None:
        """See Permit."""
        if not self._released:
            self._released = True
            self._queue.given_up(self.kind, self._tickets, after_seconds, timeout_seconds)

    def hand_back(self) -> None:
        """See Permit."""
        if not self._released:
            self._queue.supply.give_back(self.start, self.kind)
            self.release()
