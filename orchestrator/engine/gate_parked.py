"""Those whom the gate of this process told to come back: when, and who is to come earlier."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

from orchestrator.ports import Visit

LONGEST_SECONDS = 60.0  # nobody is told to come back later: an estimate that far ahead is wrong
SOONEST_SECONDS = 0.5  # nor sooner
EARLY = 0.9  # of the time left: who comes a little early waits in line, who comes late leaves a gap
MISSING_SECONDS = 5.0  # who has not come by so long after its time does not come here
ON_THE_WAY_SECONDS = 3.0  # how long it may take until somebody who was recalled is here


class Parked:
    """When whom of which tenant is expected back, by run id; times are `time.monotonic()`."""

    def __init__(self, weight: Callable[[str], float]) -> None:
        self._weight = weight
        self._expected: dict[str, dict[str, float]] = {}  # tenant -> run id -> when
        # When the last one comes: of those that wait for the first time, and of those told again.
        self._last: dict[tuple[str, bool], float] = {}

    def __bool__(self) -> bool:
        return bool(self._expected)

    def last_of(self, tenant: str) -> float:
        """When the last one of the tenant comes back; somebody new is not served before."""
        return max(self._last.get((tenant, again), 0.0) for again in (False, True))

    def tell(
        self, visit: Visit, *, now: float, wait: float, apart: float, least: float = 0.0
    ) -> float:
        """In how many seconds it is to come back: `apart` seconds after the last one of its tenant
        who was told so for the first time, or again, as this one is. Certainly not before `least`.
        """
        at = now + max(wait, SOONEST_SECONDS, least)
        if not visit.undo:
            line = (visit.tenant, visit.parked)
            at = max(at, self._last.get(line, 0.0) + apart)
            at = self._last[line] = min(at, now + least + LONGEST_SECONDS)
        self.expect(visit, at)
        return max((at - now) * EARLY, SOONEST_SECONDS, least)

    def expect(self, visit: Visit, at: float) -> None:
        """It was told, by whatever reckoning, to come back then."""
        if visit.run_id:
            self._expected.setdefault(visit.tenant, {})[visit.run_id] = at

    def take_over(self, other: Parked) -> None:
        """Expect those as well whom the other expects; it expects nobody any more."""
        for tenant, expected in other._expected.items():
            self._expected.setdefault(tenant, {}).update(expected)
        for line, last in other._last.items():
            self._last[line] = max(self._last.get(line, 0.0), last)
        other._expected.clear()

    def came(self, visit: Visit) -> None:
        """It is here."""
        expected = self._expected.get(visit.tenant)
        if expected is not None and expected.pop(visit.run_id, None) is not None and not expected:
            del self._expected[visit.tenant]

    def recalled(
        self, wanted: int, *, now: float, short: Callable[[str], int] = lambda _: 0
    ) -> list[str]:
        """Who is to come now, if `wanted` more are needed than wait in line: by tenant in turn,
        each in order of its time. Those who come soon anyway count as here. Then of each tenant so
        many as it is `short` of, lest its turns go to the others.
        """
        for tenant in list(self._expected):
            self._forget_missing(tenant, now)
        soon = now + ON_THE_WAY_SECONDS
        on_the_way = {
            tenant: sum(at <= soon for at in of.values()) for tenant, of in self._expected.items()
        }
        chosen = self._in_turn(wanted - sum(on_the_way.values()), now, soon)
        already = Counter(tenant for tenant, _ in chosen)
        for tenant, coming in on_the_way.items():
            chosen += self._next_of(tenant, short(tenant) - coming - already[tenant], now, soon)
        if chosen:
            self._last.clear()
            for tenant, expected in self._expected.items():
                self._last[tenant, False] = max(expected.values())
        return [run_id for _, run_id in chosen]

    def _in_turn(self, number: int, now: float, soon: float) -> list[tuple[str, str]]:
        """So many of those that come later: (tenant, run id). They are expected now."""
        if number <= 0:
            return []
        later = heapq.merge(*(self._later(tenant, soon) for tenant in self._expected))
        return [self._expect_now(*each[1:], now) for each in islice(later, number)]

    def _next_of(self, tenant: str, number: int, now: float, soon: float) -> list[tuple[str, str]]:
        if number <= 0:
            return []
        later = list(islice(self._later(tenant, soon), number))
        return [self._expect_now(*each[1:], now) for each in later]

    def _expect_now(self, tenant: str, run_id: str, now: float) -> tuple[str, str]:
        self._expected[tenant][run_id] = now
        return tenant, run_id

    def _later(self, tenant: str, soon: float) -> Iterator[tuple[float, str, str]]:
        """Those of one tenant who come later, with the turn at which each is recalled."""
        later = sorted((at, run_id) for run_id, at in self._expected[tenant].items() if at > soon)
        weight = self._weight(tenant)
        return iter([((n + 1) / weight, tenant, run_id) for n, (_, run_id) in enumerate(later)])

    def _forget_missing(self, tenant: str, now: float) -> None:
        """Cancelled meanwhile, or taken up by another process."""
        expected = self._expected[tenant]
        for run_id in [each for each, at in expected.items() if at < now - MISSING_SECONDS]:
            del expected[run_id]
        if not expected:
            del self._expected[tenant]
