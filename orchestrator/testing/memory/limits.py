"""Rates and slots of APIs in memory: `coordination/*.lua` and `limits.py` under any clock.

`LimitServer` is what Redis keeps, in whole microseconds as there; `MemoryLimits` is one process's
way to it, and every answer comes at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count

from orchestrator.coordination.clock import ServerClock
from orchestrator.coordination.limits import (
    MARGIN_SECONDS,
    MILLION,
    RENEW_SECONDS,
    SETTLE_SECONDS,
    TTL_SECONDS,
    TURN_SECONDS,
)
from orchestrator.errors import Unavailable
from orchestrator.ports import Lease, Mark, Rate, RatedPart, Reservation, TenantWaiting
from orchestrator.ports.advances import Known
from orchestrator.testing.memory.crowd import Crowd
from orchestrator.testing.memory.reserving import Book, Generation, Reserving, us

_FAR = 10_000_000


@dataclass(kw_only=True, slots=True)
class _Right:
    slots: int = 0
    expires: int = 0


@dataclass(kw_only=True, slots=True)
class _Known:
    """What a process remembers of an API; generation 0: none."""

    generation: int = 0
    distrust: bool = False
    rights: dict[str, _Right] = field(default_factory=dict)  # by scope


@dataclass(kw_only=True, slots=True)
class _Holder:
    allowance: int
    wanted: int
    expires: int
    limit: int


@dataclass(kw_only=True, slots=True)
class _Api:
    """All that the server knows of one API."""

    generation: Generation
    holders: dict[str, dict[str, _Holder]] = field(default_factory=dict)  # by scope
    crowd: Crowd = field(default_factory=Crowd)
    books: dict[str, Book] = field(default_factory=dict)  # by part; "": of the whole API


class LimitServer:
    """What all processes share. `clock` is the server's: UNIX seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.away = False
        self._apis: dict[str, _Api] = {}
        self._new_ids = count(1)

    def flush(self) -> None:
        """FLUSHALL: nothing is remembered."""
        self._apis.clear()

    def now(self) -> int:
        """Microseconds."""
        return us(self.clock())

    def api(self, name: str, known: _Known, now: int) -> _Api:
        """What is remembered of an API, by a caller that knows a generation of it."""
        found = self._apis.get(name)
        if found is None:
            born = self.generation(now, wiped=known.generation != 0)
            found = self._apis[name] = _Api(generation=born)
        elif known.distrust and known.generation == found.generation.id:
            found.generation = self.generation(now, wiped=True)
        elif known.generation not in (0, found.generation.id):
            found.generation.wiped = True
        return found

    def generation(self, now: int, *, wiped: bool) -> Generation:
        """A new one."""
        return Generation(id=next(self._new_ids), born=now, wiped=wiped)

    def leave(self, name: str, scope: str, holder: str) -> None:
        """Forget a holder."""
        found = self._apis.get(name)
        if found is not None:
            found.holders.get(scope, {}).pop(holder, None)
            if not scope:
                found.crowd.leave(holder)


class MemoryLimits:
    """Implements ports.CountingLimits; one for each process. `monotonic` is the process's clock."""

    def __init__(
        self, server: LimitServer, *, holder_id: str, monotonic: Callable[[], float]
    ) -> None:
        self._server, self._holder, self._monotonic = server, holder_id, monotonic
        self._clock = ServerClock()
        self._known: dict[str, _Known] = {}

    async def lease(
        self, api: str, *, limit: int, wanted: int, held: int, scope: str = ""
    ) -> Lease:
        """See SharedLimits."""
        return self._lease(api, scope, limit=limit, wanted=wanted, held=held, told=limit)

    def _lease(
        self, api: str, scope: str, *, limit: int, wanted: int, held: int, told: int,
        lasts: float = TTL_SECONDS,
    ) -> Lease:  # fmt: skip
        """`told`: the limit for the others; 0: it is leaving."""
        found, now, sent = self._call(api)
        holders = found.holders.setdefault(scope, {})
        others, taken, limit = _others(holders, self._holder, limit, now)
        crowd = Crowd() if scope else found.crowd
        crowd.forget(now)
        share, turns = _fair_share(
            [
                _Wish(wanted=wants, holder=name, weight=crowd.weight(name))
                for wants, name in (*others, (wanted, self._holder))
            ],
            self._holder, limit=limit, now=now,
        )  # fmt: skip
        left = max(0, limit - taken)
        if left < held:  # cut off for longer than its lease: what it holds is not filled again
            share = min(share, left)
        allowance = max(held, min(share, left))
        generation = found.generation
        settle = TTL_SECONDS if generation.wiped else SETTLE_SECONDS
        right = self._known[api].rights.setdefault(scope, _Right())
        if now < generation.born + us(settle):
            # Others may hold what nobody has told us yet, and what it holds beyond its right.
            allowance, share = held, min(held, right.slots) if now < right.expires else 0
        right.slots = max(min(allowance, share), 0)
        right.expires = now + us(TTL_SECONDS)
        holders[self._holder] = _Holder(
            allowance=allowance, wanted=wanted, expires=now + us(lasts), limit=told
        )
        turn = us(TURN_SECONDS)
        review = (turn - now % turn) / 1e6 if turns else RENEW_SECONDS
        return Lease(
            allowance=allowance, share=share, valid_until=sent + TTL_SECONDS - MARGIN_SECONDS,
            review_at=sent + min(review, RENEW_SECONDS),
        )  # fmt: skip

    async def reserve(
        self,
        api: str,
        *,
        rates: Sequence[Rate],
        count: int,
        waiting: int,
        headroom_seconds: float,
        spacing_seconds: float,
        closest_seconds: float,
        crowd: Sequence[TenantWaiting] = (),
        unused: Sequence[Mark] = (),
        parts: Sequence[RatedPart] = (),
        wanted: Sequence[Sequence[int]] | None = None,
        advances: Mapping[str, Known] | None = None,
    ) -> Reservation:
        """See CountingLimits."""
        known = self._known.setdefault(api, _Known()).generation
        found, now, _ = self._call(api)
        limits = [
            (rates, spacing_seconds, closest_seconds),
            *((part.rates, part.spacing_seconds, part.spacing_seconds) for part in parts),
        ]
        keys = ["", *(part.key for part in parts)]
        asking = Reserving(now=now, headroom=us(headroom_seconds), generation=found.generation)
        asking.books = [
            asking.opened(found.books, key, *book, counted=advances is not None)
            for key, book in zip(keys, limits, strict=True)
        ]
        for book in asking.books:
            if book.kept.last > now + asking.horizon + _FAR:
                # Nothing is reserved that far ahead: the server's clock went back. Begin anew.
                book.kept.latest.clear()
                book.kept.last = book.kept.lost = book.kept.last_start = book.kept.even = 0
                asking.generation = found.generation = self._server.generation(now, wiped=True)
                self._known[api].generation = found.generation.id
        for key, book in zip(keys, asking.books, strict=True):
            book.count_on((advances or {}).get(key))
        taken_back = 0
        if found.generation.id == known:
            taken_back = asking.take_back(unused)
        turn = found.crowd.come(self._holder, waiting, crowd, now)
        asking.was_wanted = turn.was_wanted
        asking.books[0].begin()
        asking.give(wanted or [[]] * count, turn)
        found.crowd.served(turn, len(asking.starts) - taken_back)
        next_of_parts = [book.next_at(asking.reach) for book in asking.books[1:]]
        for book in asking.books:
            book.close()
        return Reservation(
            counted=tuple(book.standing() for book in asking.books),
            starts=tuple(self._own(start) for start in asking.starts), given=tuple(asking.given),
            marks=tuple(asking.marks),
            next_at=self._own(asking.next_at), share=math.floor(turn.share * MILLION) / MILLION,
            waiting_elsewhere=turn.elsewhere,
            tenants_here=tuple(part / MILLION for part in turn.tenants_here),
            parts_next_at=tuple(self._own(each) for each in next_of_parts),
        )  # fmt: skip

    async def leave(
        self, api: str, *, in_use: int = 0, scope: str = "", seconds: float = 0.0
    ) -> None:
        """See SharedLimits."""
        if in_use:
            lasts = max(TTL_SECONDS, seconds)
            self._lease(api, scope, limit=in_use, wanted=in_use, held=in_use, told=0, lasts=lasts)
            return
        self._check()
        self._server.leave(api, scope, self._holder)

    def _call(self, api: str) -> tuple[_Api, int, float]:
        """What the server knows, its time (microseconds) and ours; once more after a jump."""
        found, now, sent = self._call_once(api)
        if self._clock.observe(sent=sent, received=sent, server=now / 1e6):
            for known in self._known.values():
                known.distrust = True
            found, now, sent = self._call_once(api)
        return found, now, sent

    def _call_once(self, api: str) -> tuple[_Api, int, float]:
        self._check()
        known = self._known.setdefault(api, _Known())
        now = self._server.now()
        found = self._server.api(api, known, now)
        known.generation, known.distrust = found.generation.id, False
        return found, now, self._monotonic()

    def _check(self) -> None:
        if self._server.away:
            raise Unavailable("gate store", "memory", "it is away")

    def _own(self, server_us: int) -> float:
        return self._clock.monotonic(server_us / 1e6)


# --- slots ----------------------------------------------------------------------------------------


def _others(
    holders: dict[str, _Holder], holder: str, limit: int, now: int
) -> tuple[list[tuple[int, str]], int, int]:
    """Demands (wanted, holder) of all others that live, the sum of their allowances, and the limit.

    While a change of it has not reached all holders, the lowest of theirs holds for all.
    """
    for name in [name for name, each in holders.items() if each.expires <= now]:
        if name != holder:
            del holders[name]
    others = {name: each for name, each in holders.items() if name != holder}
    demands = [(each.wanted, name) for name, each in others.items()]
    taken = sum(each.allowance for each in others.values())
    return demands, taken, min([limit, *(each.limit for each in others.values() if each.limit)])


@dataclass(kw_only=True, slots=True)
class _Wish:
    wanted: int
    holder: str
    weight: int


def _fair_share(wishes: list[_Wish], holder: str, *, limit: int, now: int) -> tuple[int, bool]:
    """The holder's share, and whether it changes by itself with the next turn.

    Smallest demand for its weight first, each gets what it wants as long as that is at most its
    share of what is left; the others share by weight. What does not divide goes round in turns, by
    name.
    """
    wishes.sort(key=lambda wish: (Fraction(wish.wanted, wish.weight), wish.holder))
    (own,) = [wish for wish in wishes if wish.holder == holder]
    left, weights = limit, sum(wish.weight for wish in wishes)
    for place, wish in enumerate(wishes):
        if wish.wanted * weights > left * wish.weight:
            rest = wishes[place:]
            if own not in rest:
                return own.wanted, False  # it came before the others
            odd = left - sum(left * each.weight // weights for each in rest)
            before = sum(each.holder < holder for each in rest)
            turn = (before + now // us(TURN_SECONDS)) % len(rest)
            return left * own.weight // weights + (turn < odd), odd > 0
        left, weights = left - wish.wanted, weights - wish.weight
    return own.wanted + left // len(wishes), False
