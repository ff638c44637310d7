"""Something happens at the n-th moment at which a driver waits for the outside, for each n.

A moment is the begin or the end of a commit, of a request, or of a stay at the gate. A run without
harm tells how many there are; then each of them gets its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ports import GateBusy, Permit, Seen, Visit
from tests.integration.engine.house import House, Worker

Happening = Callable[[], Awaitable[None]]


@dataclass
class Moments:
    """Counts them; at number `at` (0-based) `happens` is awaited."""

    at: int = -1
    happens: Happening | None = None
    passed: list[str] = field(default_factory=list)

    async def come(self, what: str) -> None:
        self.passed.append(what)
        if self.happens is not None and len(self.passed) == self.at + 1:
            await self.happens()

    def watch(self, house: House, worker: Worker) -> None:
        """Let the commits and requests of this worker be moments."""
        house.shop.on_send = lambda name: self.come(f"request {name}")

        async def begins(writes: Any) -> None:
            await self.come("commit begins")

        async def ends(writes: Any) -> None:
            await self.come("commit ends")

        worker.on_record, worker.after_record = begins, ends


class SlowGate:
    """Implements Gate: nobody gets in at once, everybody a moment later."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self.inside = 0

    def turns_away(self, visit: Visit, *, patience_seconds: float) -> GateBusy | None:
        return None

    def try_enter(self, visit: Visit) -> Permit | None:
        return None

    async def enter(self, visit: Visit, *, patience_seconds: float) -> Permit:
        await self._moments.come("at the gate")
        await asyncio.sleep(0)  # where a cancelled stay ends
        self.inside += 1
        return _Permit(self)


class _Permit:
    fresh = True

    def __init__(self, gate: SlowGate) -> None:
        self._gate = gate
        self._held = True

    def release(self, seen: Seen | None = None) -> None:
        self._gate.inside -= self._held
        self._held = False

    def give_up(self, *, after_seconds: float, timeout_seconds: float | None) -> None:
        self.release()

    def hand_back(self) -> None:
        self.release()
