"""Who of those that wait for one API is next, in one process.

1. Whoever had a permit and could not use it in time.
2. Compensations, before all new work: a run that is half undone is worse than one that has not
   begun.
3. Tenants in turn, by weight (start-time fair queueing, Goyal, Vin and Cheng 1996): of two that
   both want more than there is, the one of weight 3 is served three times as often, whatever each
   has waiting. A tenant that had nothing waiting saves nothing up.
4. Within a tenant by priority and age: one priority more is worth `AGEING_SECONDS` of waiting, so
   that low priority still moves.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from orchestrator.ports import Visit

AGEING_SECONDS = 10.0
"""By how much longer a run has to wait than one of the next higher priority to go before it."""

Turn = TypeVar("Turn")


@dataclass(slots=True, eq=False)
class Waiter(Generic[Turn]):
    """One that waits; `turn` is done when it was served, turned away or has gone."""

    visit: Visit
    arrived_at: float  # time.monotonic()
    turn: asyncio.Future[Turn]
    served_before: bool = False  # its permit came too late for it

    @property
    def gone(self) -> bool:
        """Whether it does not wait any more."""
        return self.turn.done()


@dataclass(slots=True, eq=False)
class _Tenant(Generic[Turn]):
    """What one tenant has waiting: those that have gone stay in the heap until they come up."""

    name: str
    heap: list[tuple[float, int, Waiter[Turn]]] = field(default_factory=list)
    tag: float = 0.0  # virtual time at which it is served next
    listed: bool = False  # it is in the heap of tenants
    waiting: int = 0


class FairLine(Generic[Turn]):
    """The line before one API. `weights` may be changed by the caller at any time."""

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.weights: Mapping[str, float] = weights or {}
        self._first: deque[Waiter[Turn]] = deque()
        self._undo: _Shared[Turn] = _Shared(self)
        self._new: _Shared[Turn] = _Shared(self)

    def join(self, waiter: Waiter[Turn]) -> None:
        """Take somebody in."""
        if waiter.served_before:
            self._first.append(waiter)
        else:
            self._lane(waiter.visit).join(waiter)

    def leave(self, waiter: Waiter[Turn]) -> None:
        """It was served or has gone: it does not count any more. Once for each that joined."""
        if not waiter.served_before:
            self._lane(waiter.visit).leave(waiter)

    def next(self) -> Waiter[Turn] | None:
        """Who is served next; it stays where it is."""
        while self._first and self._first[0].gone:
            self._first.popleft()
        return self._first[0] if self._first else self._undo.next() or self._new.next()

    def serve(self, waiter: Waiter[Turn]) -> None:
        """Take out what `next` has answered."""
        if self._first and self._first[0] is waiter:
            self._first.popleft()
        else:
            self._lane(waiter.visit).serve(waiter)

    def ahead_of(self, visit: Visit) -> float:
        """About how many would be served before this one if it came now."""
        first = len(self._first)
        if visit.undo:
            return first + self._undo.ahead_of(visit.tenant)
        return first + self._undo.waiting + self._new.ahead_of(visit.tenant)

    def waiting_of(self, visit: Visit) -> int:
        """How many of its tenant wait, undos and new work apart."""
        return self._lane(visit).waiting_of(visit.tenant)

    def share_of(self, visit: Visit) -> float:
        """The part of the API that its tenant has while all that wait go on waiting."""
        return self._lane(visit).share_of(visit.tenant)

    def everybody(self) -> Iterator[Waiter[Turn]]:
        """All that wait, in no order."""
        yield from self._first
        yield from self._undo.everybody()
        yield from self._new.everybody()

    def weight(self, tenant: str) -> float:
        """The tenant's weight; 1 unless something else is configured."""
        return self.weights.get(tenant, 1.0)

    def _lane(self, visit: Visit) -> _Shared[Turn]:
        return self._undo if visit.undo else self._new


class _Shared(Generic[Turn]):
    """Tenants that take turns by weight."""

    def __init__(self, line: FairLine[Turn]) -> None:
        self._line = line
        self._tenants: dict[str, _Tenant[Turn]] = {}
        self._heap: list[tuple[float, int, _Tenant[Turn]]] = []
        self._order = count()
        self._now = 0.0  # virtual time: the tag of whoever was served last
        self.waiting = 0

    def join(self, waiter: Waiter[Turn]) -> None:
        name = waiter.visit.tenant
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant(name, tag=self._now)
        rank = waiter.arrived_at - waiter.visit.priority * AGEING_SECONDS
        heapq.heappush(tenant.heap, (rank, next(self._order), waiter))
        tenant.waiting += 1
        self.waiting += 1
        if not tenant.listed:
            tenant.tag = max(tenant.tag, self._now)
            self._list(tenant)

    def leave(self, waiter: Waiter[Turn]) -> None:
        tenant = self._tenants[waiter.visit.tenant]
        tenant.waiting -= 1
        self.waiting -= 1
        if not self.waiting:  # nobody has been kept waiting for anybody's sake
            self._tenants.clear()
            self._heap.clear()
            self._now = 0.0

    def next(self) -> Waiter[Turn] | None:
        while self._heap:
            tenant = self._heap[0][2]
            while tenant.heap and tenant.heap[0][2].gone:
                heapq.heappop(tenant.heap)
            if tenant.heap:
                return tenant.heap[0][2]
            heapq.heappop(self._heap)
            tenant.listed = False
        return None

    def serve(self, waiter: Waiter[Turn]) -> None:
        """The first of the tenant whose turn it is."""
        _, _, tenant = heapq.heappop(self._heap)
        heapq.heappop(tenant.heap)
        self._now = tenant.tag
        tenant.tag += 1.0 / self._line.weight(tenant.name)
        self._list(tenant)

    def ahead_of(self, name: str) -> float:
        own = self._tenants.get(name)
        mine = own.waiting if own is not None else 0
        turns = (mine + 1) / self._line.weight(name)
        others = (
            min(tenant.waiting, turns * self._line.weight(tenant.name))
            for tenant in self._tenants.values()
            if tenant is not own
        )
        return mine + sum(others)

    def waiting_of(self, name: str) -> int:
        own = self._tenants.get(name)
        return own.waiting if own is not None else 0

    def share_of(self, name: str) -> float:
        weight = self._line.weight(name)
        others = (
            self._line.weight(each.name)
            for each in self._tenants.values()
            if each.waiting and each.name != name
        )
        return weight / (weight + sum(others))

    def everybody(self) -> Iterator[Waiter[Turn]]:
        for tenant in self._tenants.values():
            for _, _, waiter in tenant.heap:
                if not waiter.gone:
                    yield waiter

    def _list(self, tenant: _Tenant[Turn]) -> None:
        tenant.listed = True
        heapq.heappush(self._heap, (tenant.tag, next(self._order), tenant))
