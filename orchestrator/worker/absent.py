"""The broker of a process that knows none: looking at the table works, waking runs does not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

from orchestrator.errors import Unavailable
from orchestrator.ports import BrokerFacts, EscalationRecord, Hint
from orchestrator.ports.gate_view import ApiState
from orchestrator.ports.restoring import HighWater


class AbsentBroker:
    """Implements HintPublisher, DeadLetterQueue, BrokerInspector, GateView, HighWaterMark by
    raising Unavailable.

    Runs that are accepted meanwhile start when a worker's sweep finds them.
    """

    def __init__(self, why: str) -> None:
        self._why = why

    async def publish(self, items: Sequence[Hint] | Sequence[EscalationRecord]) -> None:
        """Raises Unavailable unless there is nothing to publish."""
        if items:
            self._raise()

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Raises Unavailable."""
        self._raise()

    async def take_next(self) -> str | None:
        """Raises Unavailable."""
        self._raise()

    async def remove(self, escalation_ids: Sequence[str]) -> None:
        """Nothing: the sweep of the next worker brings the queue in line."""

    async def listed(self) -> list[str]:
        """Raises Unavailable."""
        self._raise()

    async def facts(self) -> BrokerFacts:
        """Raises Unavailable."""
        self._raise()

    async def states(self, apis: Collection[str]) -> Mapping[str, ApiState]:
        """Raises Unavailable."""
        self._raise()

    async def read(self) -> HighWater:
        """Raises Unavailable."""
        self._raise()

    async def raise_to(self, reached: HighWater) -> HighWater:
        """Raises Unavailable."""
        self._raise()

    async def set_to(self, reached: HighWater) -> None:
        """Raises Unavailable."""
        self._raise()

    async def close(self) -> None:
        """Nothing to close."""

    def _raise(self) -> NoReturn:
        raise Unavailable("broker", "no known address", self._why)
