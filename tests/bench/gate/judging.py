"""The arithmetic of the bench: what an API permits, who was served how evenly, what was reached."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

GRACE_SECONDS = 0.0
"""Forgiven of each window for clocks and the network: nothing, since the gate allows for both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """What an API permits: `amount` arrivals in any `seconds`, sliding."""

    amount: int
    seconds: int = 1

    @property
    def notation(self) -> str:
        """As `rate` in config/apis/*.yaml has it."""
        return f"{self.amount}/{self.seconds}second"

    @property
    def per_second(self) -> float:
        """On average."""
        return self.amount / self.seconds


class SlidingWindow:
    """Judges arrivals one by one; what it refuses does not count.

    Of each window the last `grace_seconds` are forgiven: an arrival counts for `seconds` less them.
    """

    def __init__(self, limit: Limit, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self.amount = limit.amount
        self._counts_for = limit.seconds - grace_seconds
        self._admitted: deque[float] = deque()

    def admits(self, now: float) -> bool:
        """Whether this arrival is within the limit. `now` never goes back; seconds."""
        admitted = self._admitted
        while admitted and admitted[0] <= now - self._counts_for:
            admitted.popleft()
        if len(admitted) >= self.amount:
            return False
        admitted.append(now)
        return True


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the API saw it. Times are `time.monotonic()`, the same for all processes here."""

    at: float  # arrived
    ended: float  # answered, or its client was gone; infinity: not yet
    tenant: str
    status: int  # 0: it was left without an answer


def jain(served: Collection[float]) -> float:
    """Jain's index of fairness (1984): 1 when all have the same, 1/n when one has all."""
    squares = sum(one * one for one in served)
    return sum(served) ** 2 / (len(served) * squares) if squares else 0.0


def between(calls: Iterable[Call], begin: float, end: float) -> list[Call]:
    """Those that arrived from begin on and before the end."""
    return [call for call in calls if begin <= call.at < end]


def most_in_a_window(calls: Sequence[Call], seconds: float) -> int:
    """The largest number of arrivals in any window of this length. `calls` in order of arrival."""
    most = first = 0
    for last, call in enumerate(calls):
        while calls[first].at <= call.at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def most_in_flight(calls: Iterable[Call]) -> int:
    """The largest number under way at once; one that ends at an instant makes room in it."""
    now = most = 0
    for _, change in _changes(calls):
        now += change
        most = max(most, now)
    return most


def reached(calls: Iterable[Call], level: int) -> float | None:
    """When so many of these were first under way at once; None: never."""
    now = 0
    for at, change in _changes(calls):
        now += change
        if now >= level:
            return at
    return None


def sustained(calls: Sequence[Call], per_second: float, *, seconds: float) -> float | None:
    """The begin of the first window of this length with so many arrivals; None: there is none.

    `calls` in order of arrival.
    """
    wanted = max(1, round(per_second * seconds))
    for first, last in zip(calls, calls[wanted - 1 :], strict=False):
        if last.at - first.at <= seconds:
            return first.at
    return None


def contended(
    calls: Sequence[Call], tenants: Collection[str], *, share: float
) -> tuple[float, float]:
    """From when each tenant has been served once until the first has had this share of its calls.

    `calls` in order of arrival, at least one. All of their time when a tenant was never served.
    """
    by_tenant = {tenant: [call.at for call in calls if call.tenant == tenant] for tenant in tenants}
    if not all(by_tenant.values()):
        return calls[0].at, calls[-1].at
    begin = max(served[0] for served in by_tenant.values())
    end = min(served[int(share * (len(served) - 1))] for served in by_tenant.values())
    return begin, max(begin, end)


def _changes(calls: Iterable[Call]) -> list[tuple[float, int]]:
    return sorted(change for call in calls for change in ((call.at, 1), (call.ended, -1)))
