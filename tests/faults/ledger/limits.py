"""The limits that the API asks its callers to keep. It refuses nobody; it counts who broke them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.ledger.book import KEYED, PLAIN, READ

EVERY_ROUTE = (KEYED, PLAIN, READ)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """At most `amount` requests in any `seconds`, or (None) at once, on these routes together."""

    amount: int
    seconds: float | None = None
    routes: tuple[str, ...] = EVERY_ROUTE

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.amount} at once"
        return f"{self.amount}/{self.seconds:g}s"

    @staticmethod
    def from_json(data: dict[str, Any]) -> Limit:
        """From {"amount": 20, "seconds": 1.0, "routes": […]}; the last two may be missing."""
        routes = tuple(data.get("routes", EVERY_ROUTE))
        return Limit(amount=data["amount"], seconds=data.get("seconds"), routes=routes)


@dataclass(slots=True)
class _Counted:
    limit: Limit
    arrivals: deque[float] = field(default_factory=deque)  # those that still count
    in_flight: int = 0

    def arrived(self, now: float) -> int:
        """How many there are with this one."""
        self.in_flight += 1
        if self.limit.seconds is None:
            return self.in_flight
        oldest = now - self.limit.seconds
        while self.arrivals and self.arrivals[0] <= oldest:
            self.arrivals.popleft()
        self.arrivals.append(now)
        return len(self.arrivals)


class Limits:
    """Exact counts: every arrival of the window is kept. Times in UNIX seconds, ascending."""

    def __init__(self, limits: Sequence[Limit] = ()) -> None:
        self._counted = [_Counted(limit) for limit in limits]

    def arrived(self, route: str, now: float) -> Iterator[tuple[Limit, int]]:
        """Count a request; the limits that it broke, and what was found."""
        for counted in self._counted:
            if route in counted.limit.routes:
                found = counted.arrived(now)
                if found > counted.limit.amount:
                    yield counted.limit, found

    def left(self, route: str) -> None:
        """It is over: answered, cut, or given up."""
        for counted in self._counted:
            if route in counted.limit.routes:
                counted.in_flight -= 1
