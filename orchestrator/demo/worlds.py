"""What a demo needs of its outside world, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from orchestrator.demo.reconcile import Expected, Record, RunView, Verdict
from orchestrator.demo.seeding import Order
from orchestrator.embedded.process import Child
from orchestrator.ports import EscalationRecord
from orchestrator.service.escalations import Escalations

OPERATOR = "operator"
LEFT_OPEN = 5
"""At least this many stay escalated, for the reader to try."""
_MOST_ACTS = 8


class WayOut(StrEnum):
    """What can be done about an undo that was refused."""

    RETRY = "retry"  # the obstacle is gone: let the machine try again
    RESOLVE = "resolve"  # done by hand: vouch for it
    SKIP = "skip"  # the effect may stand: undo the rest
    ABANDON = "abandon"  # leave all of it as it is


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """One act of the operator, and how its run has to end now."""

    run_id: str
    escalation_id: str
    way: WayOut
    expected: Expected


class World(Protocol):
    """A server that is up, with everyone in it who is not the orchestrator."""

    @property
    def workflow(self) -> str:
        """Id of the workflow that changes it."""

    @property
    def child(self) -> Child:
        """The server's process."""

    @property
    def ways_out(self) -> Sequence[WayOut]:
        """What the operator can do here, in turn."""

    def environment(self) -> Mapping[str, str]:
        """What worker processes need to reach it."""

    def seed(self, count: int, *, seed: int, prefix: str) -> Sequence[Order]:
        """The orders of a demo."""

    def named(self, escalation: EscalationRecord, order_id: str) -> frozenset[Record]:
        """The effects of an order that its escalation says are still there."""

    async def open(self) -> None:
        """Prepare it for the first run. Repeatable."""

    async def meanwhile(self) -> None:
        """What others do there while runs are under way; until cancelled."""

    async def act(
        self, escalations: Escalations, escalation: EscalationRecord, way: WayOut, order_id: str
    ) -> Expected:
        """Put right what can be put right by hand, then decide about a claimed escalation."""

    async def reconcile(
        self,
        orders: Sequence[Order],
        views: Mapping[str, RunView],
        expected: Mapping[str, Expected],
    ) -> Verdict:
        """Read the server's state back and judge every run by it."""


def choose(
    open_escalations: Sequence[EscalationRecord], ways: Sequence[WayOut]
) -> list[tuple[EscalationRecord, WayOut]]:
    """The oldest ones, each way out in turn, as many as may be closed."""
    count = max(0, min(_MOST_ACTS, len(open_escalations) - LEFT_OPEN))
    return [(open_escalations[n], ways[n % len(ways)]) for n in range(count)]
