"""Who of those that wait for one API is next, in one process.

1. Whoever had a permit and could not use it in time.
2. Compensations, before all new work: a run that is half undone is worse than one that has not
   begun.
3. Tenants in turn, by weight (start-time fair queueing, Goyal, Vin and Cheng 1996): of two that
   both want more than there is, the one of weight 3 is served three times as often, whatever each
   has waiting. A tenant that had nothing waiting, or was held back by limits of its own, saves
   nothing up. Of a tenant that waits in several processes each has a part of the weight, by what
   waits there.
4. Within a tenant by priority and age: one priority more is worth `AGEING_SECONDS` of waiting, so
   that low priority still moves.

Those who wait are of *kinds*, by the limits that they are under. A kind that has to wait keeps
nobody of another kind waiting; within a kind nobody overtakes.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Generic, TypeVar

from orchestrator.ports import TenantWaiting, Visit

MOST_NAMED = 32  # tenants of which other processes hear by name
NOBODY: Counter[str] = Counter()
OTHERS = ""  # the name of all the others; no tenant has it
LEAST_PART = 1e-6  # of a tenant

AGEING_SECONDS = 10.0
"""By how much longer a run has to wait than one of the next higher priority to go before it."""

Turn = TypeVar("Turn")
Kind = TypeVar("Kind", bound=Hashable)
Weight = Callable[[str], float]
"""Of a tenant."""


@dataclass(slots=True, eq=False)
class Waiter(Generic[Turn, Kind]):
    """One that waits; `turn` is done when it was served, turned away or has gone."""

    visit: Visit
    arrived_at: float  # time.monotonic()
    turn: asyncio.Future[Turn]
    served_before: bool  # its permit came too late for it
    kind: Kind

    @property
    def gone(self) -> bool:
        """Whether it does not wait any more."""
        return self.turn.done()


class FairLine(Generic[Turn, Kind]):
    """The line before one API. `weights` may be changed by the caller at any time."""

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.weights: Mapping[str, float] = weights or {}
        self._parts: dict[str, float] = {}
        self._first: deque[Waiter[Turn, Kind]] = deque()
        self._undo: _Shared[Turn, Kind] = _Shared(self)
        self._new: _Shared[Turn, Kind] = _Shared(self)

    def join(self, waiter: Waiter[Turn, Kind]) -> None:
        """Take somebody in."""
        if waiter.served_before:
            self._first.append(waiter)
        else:
            self._lane(waiter.visit).join(waiter)

    def leave(self, waiter: Waiter[Turn, Kind]) -> None:
        """It was served or has gone: it does not count any more. Once for each that joined."""
        if not waiter.served_before:
            self._lane(waiter.visit).leave(waiter)

    def next(self, ready: Collection[Kind]) -> Waiter[Turn, Kind] | None:
        """Who of these kinds is served next; it stays where it is."""
        while self._first and self._first[0].gone:
            self._first.popleft()
        first = next((each for each in self._first if each.kind in ready and not each.gone), None)
        return first or self._undo.next(ready) or self._new.next(ready)

    def serve(self, waiter: Waiter[Turn, Kind]) -> None:
        """Take out what `next` has answered."""
        if waiter.served_before:
            self._first.remove(waiter)
        else:
            self._lane(waiter.visit).serve(waiter)

    def upcoming(
        self, may_come: Callable[[Kind], bool], of_each: int
    ) -> Iterator[Waiter[Turn, Kind]]:
        """Those of the kinds that may come, in the order in which they would be served; of a
        tenant's undos and new work of one kind no more than `of_each`.

        The line must not change meanwhile.
        """
        yield from (each for each in self._first if not each.gone and may_come(each.kind))
        yield from self._undo.upcoming(may_come, of_each)
        yield from self._new.upcoming(may_come, of_each)

    def ahead_of(
        self, visit: Visit, *, undo: Counter[str] = NOBODY, new: Counter[str] = NOBODY
    ) -> float:
        """About how many would be served before this one if it came now, after so many undos and so
        much new work of each tenant that is about to join.
        """
        first = len(self._first)
        if visit.undo:
            return first + self._undo.ahead_of(visit.tenant, undo)
        undos = self._undo.waiting + undo.total()
        return first + undos + self._new.ahead_of(visit.tenant, new)

    def waiting_of(self, visit: Visit) -> int:
        """How many of its tenant wait, undos and new work apart."""
        return self._lane(visit).waiting_of(visit.tenant)

    def share_of(self, visit: Visit) -> float:
        """The part of the API that its tenant has while all that wait go on waiting."""
        return self._lane(visit).share_of(visit.tenant)

    def new_of(self, tenant: str) -> int:
        """How many of a tenant's wait that are no undos."""
        return self._new.waiting_of(tenant)

    def turns_of(self, tenant: str) -> float:
        """The part that those have, or would have."""
        return self._new.share_of(tenant)

    def sort_anew(self, kind_of: Callable[[Visit], Kind]) -> None:
        """By other kinds. Who has gone stays of the kind that it was."""
        for waiter in (each for each in self._first if not each.gone):
            waiter.kind = kind_of(waiter.visit)
        self._undo.sort_anew(kind_of)
        self._new.sort_anew(kind_of)

    def everybody(self) -> Iterator[Waiter[Turn, Kind]]:
        """All that wait, in no order."""
        yield from self._first
        yield from self._undo.everybody()
        yield from self._new.everybody()

    def weight(self, tenant: str) -> float:
        """The tenant's weight; 1 unless something else is configured."""
        return self.weights.get(tenant, 1.0)

    def weight_here(self, tenant: str) -> float:
        """The part of it for what waits here."""
        part = self._parts.get(tenant)
        if part is None:
            part = self._parts.get(OTHERS, 1.0)
        return self.weight(tenant) * max(part, LEAST_PART)

    def crowd(self) -> list[TenantWaiting]:
        """Whose requests wait here: the largest tenants by name, the others as one."""
        waiting = Counter(each.visit.tenant for each in self._first if not each.gone)
        waiting.update(self._undo.waiting_by_tenant())
        waiting.update(self._new.waiting_by_tenant())
        named = waiting.most_common(MOST_NAMED)
        crowd = [TenantWaiting(name, number, self.weight(name)) for name, number in named]
        if len(waiting) > len(named):
            others = waiting.keys() - {name for name, _ in named}
            number = sum(waiting[name] for name in others)
            crowd.append(TenantWaiting(OTHERS, number, sum(map(self.weight, others))))
        return crowd

    def learn(self, parts: Mapping[str, float]) -> None:
        """What part of the tenants of `crowd` waits here. Those who wait do so accordingly."""
        if parts != self._parts:
            self._parts = dict(parts)
            self._undo.reweigh()
            self._new.reweigh()

    def _lane(self, visit: Visit) -> _Shared[Turn, Kind]:
        return self._undo if visit.undo else self._new


Ranked = tuple[float, int, Waiter[Turn, Kind]]
_Place = tuple[float, int]  # virtual time at which a tenant is served next, and a number


@dataclass(slots=True, eq=False)
class _Tenant:
    """What one tenant has waiting, over all kinds."""

    name: str
    place: _Place
    weight: float  # by which the place was reckoned
    listed: int = 0  # in the lists of so many kinds
    waiting: int = 0


@dataclass(slots=True, eq=False)
class _KindLine(Generic[Turn, Kind]):
    """Those of one kind. Those that have gone stay in the heaps until they come up."""

    waiting: dict[str, list[Ranked[Turn, Kind]]] = field(default_factory=dict)  # heaps, by tenant
    tenants: list[tuple[_Place, _Tenant]] = field(default_factory=list)
    """A heap of those that have anything waiting. A place may be one that the tenant had."""

    def add(self, tenant: _Tenant, ranked: Ranked[Turn, Kind]) -> None:
        """Somebody of a tenant."""
        heap = self.waiting.get(tenant.name)
        if heap is None:
            heap = self.waiting[tenant.name] = []
            tenant.listed += 1
            heapq.heappush(self.tenants, (tenant.place, tenant))
        heapq.heappush(heap, ranked)

    def head(self) -> tuple[_Tenant, Ranked[Turn, Kind]] | None:
        """Whose turn it is."""
        while self.tenants:
            place, tenant = self.tenants[0]
            heap = self.waiting[tenant.name]
            while heap and heap[0][2].gone:
                heapq.heappop(heap)
            if not heap:
                heapq.heappop(self.tenants)
                del self.waiting[tenant.name]
                tenant.listed -= 1
            elif place != tenant.place:  # it was served in another kind
                heapq.heapreplace(self.tenants, (tenant.place, tenant))
            else:
                return tenant, heap[0]
        return None


class _Shared(Generic[Turn, Kind]):
    """Tenants that take turns by weight."""

    def __init__(self, line: FairLine[Turn, Kind]) -> None:
        self._line = line
        self._tenants: dict[str, _Tenant] = {}
        self._kinds: dict[Kind, _KindLine[Turn, Kind]] = {}
        self._order = count()
        self._now = 0.0  # virtual time: that of whoever was served last
        self.waiting = 0

    def join(self, waiter: Waiter[Turn, Kind]) -> None:
        name = waiter.visit.tenant
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant(name, self._place(self._now), 1.0)
        kind = self._kinds.setdefault(waiter.kind, _KindLine())
        rank = waiter.arrived_at - waiter.visit.priority * AGEING_SECONDS
        tenant.waiting += 1
        self.waiting += 1
        if not tenant.listed:
            self._weigh(tenant)
            tenant.place = self._place(max(tenant.place[0], self._now))
        kind.add(tenant, (rank, next(self._order), waiter))

    def sort_anew(self, kind_of: Callable[[Visit], Kind]) -> None:
        """Put all into the lines of other kinds."""
        before, self._kinds = self._kinds, {}
        for tenant in self._tenants.values():
            tenant.listed = 0
        for line in before.values():
            for name, heap in line.waiting.items():
                for rank, number, waiter in heap:
                    if not waiter.gone:
                        waiter.kind = kind_of(waiter.visit)
                        kind = self._kinds.setdefault(waiter.kind, _KindLine())
                        kind.add(self._tenants[name], (rank, number, waiter))

    def leave(self, waiter: Waiter[Turn, Kind]) -> None:
        tenant = self._tenants[waiter.visit.tenant]
        tenant.waiting -= 1
        self.waiting -= 1
        if not self.waiting:  # nobody has been kept waiting for anybody's sake
            self._tenants.clear()
            self._kinds.clear()
            self._now = 0.0

    def next(self, ready: Collection[Kind]) -> Waiter[Turn, Kind] | None:
        heads = (kind.head() for each in ready if (kind := self._kinds.get(each)) is not None)
        found = [(tenant.place, ranked) for tenant, ranked in filter(None, heads)]
        return min(found)[1][2] if found else None

    def serve(self, waiter: Waiter[Turn, Kind]) -> None:
        """The first of the tenant whose turn it is, in its kind."""
        kind = self._kinds[waiter.kind]
        _, tenant = kind.tenants[0]
        heapq.heappop(kind.waiting[tenant.name])
        self._now = self._served_at(tenant.place[0])
        tenant.weight = self._line.weight_here(tenant.name)
        tenant.place = self._place(self._now + 1.0 / tenant.weight)
        heapq.heapreplace(kind.tenants, (tenant.place, tenant))

    def upcoming(
        self, may_come: Callable[[Kind], bool], of_each: int
    ) -> Iterator[Waiter[Turn, Kind]]:
        by_tenant: dict[str, list[list[Ranked[Turn, Kind]]]] = {}
        for each, kind in self._kinds.items():
            if may_come(each):
                for name, heap in kind.waiting.items():
                    by_tenant.setdefault(name, []).append(heap)
        turns = [
            (
                self._tenants[name].place,
                name,
                heapq.merge(*(islice(_in_order(heap), of_each) for heap in heaps)),
            )
            for name, heaps in by_tenant.items()
        ]
        heapq.heapify(turns)
        while turns:
            (at, _), name, own = turns[0]
            ranked = next(own, None)
            if ranked is None:
                heapq.heappop(turns)
                continue
            place = self._place(self._served_at(at) + 1.0 / self._line.weight_here(name))
            heapq.heapreplace(turns, (place, name, own))
            yield ranked[2]

    def ahead_of(self, name: str, coming: Counter[str]) -> float:
        waiting: Mapping[str, int] = self.waiting_by_tenant()
        if coming:
            waiting = coming + Counter(waiting)
        return turns_ahead(name, waiting, self._line.weight_here)

    def waiting_by_tenant(self) -> dict[str, int]:
        """Of those that have any."""
        return {each.name: each.waiting for each in self._tenants.values() if each.waiting}

    def reweigh(self) -> None:
        """Weights have changed."""
        for tenant in self._tenants.values():
            if tenant.listed:
                self._weigh(tenant)
        for kind in self._kinds.values():
            kind.tenants = [(tenant.place, tenant) for _, tenant in kind.tenants]
            heapq.heapify(kind.tenants)

    def _weigh(self, tenant: _Tenant) -> None:
        """What it has had counts by the weight that it has now: the other would put it off for as
        long as somebody with little waiting elsewhere, or for no time.
        """
        weight, (at, number) = self._line.weight_here(tenant.name), tenant.place
        if at > self._now:
            tenant.place = self._now + (at - self._now) * tenant.weight / weight, number
        tenant.weight = weight

    def waiting_of(self, name: str) -> int:
        own = self._tenants.get(name)
        return own.waiting if own is not None else 0

    def share_of(self, name: str) -> float:
        return share_of(name, self.waiting_by_tenant(), self._line.weight_here)

    def everybody(self) -> Iterator[Waiter[Turn, Kind]]:
        for kind in self._kinds.values():
            for heap in kind.waiting.values():
                yield from (waiter for _, _, waiter in heap if not waiter.gone)

    def _served_at(self, tag: float) -> float:
        """Who was held back by its own limits has saved nothing up."""
        return max(tag, self._now)

    def _place(self, tag: float) -> _Place:
        """Behind all that have the same tag."""
        return tag, next(self._order)


def turns_ahead(name: str, waiting: Mapping[str, int], weight: Weight) -> float:
    """About how many are served before one more of a tenant, where tenants take turns."""
    mine = waiting.get(name, 0)
    turns = (mine + 1) / weight(name)
    others = (min(n, turns * weight(other)) for other, n in waiting.items() if other != name)
    return mine + sum(others)


def share_of(name: str, waiting: Iterable[str], weight: Weight) -> float:
    """The part of the turns that a tenant has while these wait."""
    others = sum(weight(other) for other in waiting if other != name)
    return weight(name) / (weight(name) + others)


def _in_order(heap: list[Ranked[Turn, Kind]]) -> Iterator[Ranked[Turn, Kind]]:
    """Those in a heap who have not gone, from the first on, each found in logarithmic time."""
    nearest = [(heap[0], 0)] if heap else []
    while nearest:
        entry, at = nearest[0]
        if not entry[2].gone:
            yield entry
        heapq.heappop(nearest)
        for child in (2 * at + 1, 2 * at + 2):
            if child < len(heap):
                heapq.heappush(nearest, (heap[child], child))
