"""The limits that the API asks its callers to keep. It refuses nobody; it counts who broke them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
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
    def from_json(data: Mapping[str, Any]) -> Limit:
        """From {"amount": 20, "seconds": 1.0, "routes": […]}; the last two may be missing."""
        routes = tuple(data.get("routes", EVERY_ROUTE))
        return Limit(amount=data["amount"], seconds=data.get("seconds"), routes=routes)


@dataclass(frozen=True, slots=True)
class _Counted:
    limit: Limit
    arrivals: deque[float] = field(default_factory=deque)  # those that still count

    def arrived(self, seconds: float, now: float) -> int:
        """How many there are in the window with this one."""
        while self.arrivals and self.arrivals[0] <= now - seconds:
            self.arrivals.popleft()
        self.arrivals.append(now)
        return len(self.arrivals)


class Limits:
    """Exact counts: every arrival of the window is kept. Times in UNIX seconds, ascending."""

    def __init__(self, limits: Sequence[Limit] = ()) -> None:
        self._in_flight: Counter[str] = Counter()  # by route
        self.replace(limits)

    def replace(self, limits: Sequence[Limit]) -> None:
        """Hold others from now on. Windows begin empty; requests in flight go on counting."""
        self._counted = [_Counted(limit) for limit in limits]

    def arrived(self, route: str, now: float) -> Iterator[tuple[Limit, int]]:
        """Count a request; the limits that it broke, and what was found."""
        self._in_flight[route] += 1
        for counted in self._counted:
            limit = counted.limit
            if route not in limit.routes:
                continue
            if limit.seconds is None:
                found = sum(self._in_flight[name] for name in limit.routes)
            else:
                found = counted.arrived(limit.seconds, now)
            if found > limit.amount:
                yield limit, found

    def left(self, route: str) -> None:
        """It is over: answered, cut, or given up."""
        self._in_flight[route] -= 1
