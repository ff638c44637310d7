"""Faults of the gate: limits that do not hold, permits that do not come back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.engine.gate import SharedGate
from orchestrator.engine.gate_kinds import Kind
from orchestrator.engine.gate_permit import QueuePermit
from orchestrator.engine.gate_starts import ALWAYS, Start
from orchestrator.engine.gate_supply import Supply
from orchestrator.ports import Seen, Visit
from tests.faults.mutants.patching import replaced, strike
from tests.faults.mutants.planting import World, planted


@planted("P11", world=World.LIMITS)
def permit_not_waited_for() -> Iterator[None]:
    """A request leaves without a permit of the gate."""

    def enter(_: SharedGate, __: Visit) -> Any:
        strike()
        return _AnyTime()

    with replaced(SharedGate, "try_enter", enter):
        yield


class _AnyTime:
    """A permit that nobody has given."""

    fresh = True

    def release(self, seen: Seen | None = None) -> None:
        """Nothing to give back."""

    hand_back = release


@planted("P11", world=World.LIMITS)
def share_of_the_slots_ignored() -> Iterator[None]:
    """Each process fills all slots of the API as if it were alone."""

    def slots(self: Supply) -> float:
        strike()
        return float(self._config.concurrency or 0)

    with replaced(Supply, "slots", slots):
        yield


@planted("P11", world=World.LIMITS)
def reserved_times_ignored() -> Iterator[None]:
    """Each process lets requests go as they come, whatever the rate."""

    def next_start(_: Supply, __: Kind) -> Start:
        strike()
        return ALWAYS

    with replaced(Supply, "next_start", next_start):
        yield


@planted("P1", world=World.LIMITS)
def permits_never_given_back() -> Iterator[None]:
    """A slot of the API stays taken when its request is over."""

    def release(_: Any, __: Seen | None = None) -> None:
        strike()

    with replaced(QueuePermit, "release", release):
        yield
