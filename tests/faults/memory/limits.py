"""Rates and slots of APIs in memory: `coordination/*.lua` and `limits.py` under any clock.

`LimitServer` is what Redis keeps, in whole microseconds as there; `MemoryLimits` is one process's
way to it, and every answer comes at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from orchestrator.coordination.clock import ServerClock
from orchestrator.coordination.limits import (
    HORIZON_SECONDS,
    MARGIN_SECONDS,
    RENEW_SECONDS,
    SETTLE_SECONDS,
    TTL_SECONDS,
    TURN_SECONDS,
)
from orchestrator.errors import Unavailable
from orchestrator.ports import Lease, Rate, RatedPart, Reservation

_PRESENT = 2_000_000  # a process that asked within two seconds counts as waiting
_LARGEST = 1_000_000  # no process asks for more headroom than a second
_FAR = 10_000_000
_AHEAD = 50_000  # so far a part may hold up the API's own start times
_KEPT = 10_000  # moments, for rates that are added later
_KEPT_FOR = 86_400_000_000  # at least a day


@dataclass(kw_only=True, slots=True)
class _Generation:
    """How long what is remembered of an API can be trusted."""

    id: int
    born: int  # microseconds
    wiped: bool


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
class _Waiter:
    waiting: int
    expires: int


@dataclass(kw_only=True, slots=True)
class _Book:
    """What was let in, and which rates are in force."""

    latest: list[int] = field(default_factory=list)
    """Until when the last requests may arrive, ascending."""
    expires: int = 0  # of `latest`
    last: int = 0  # the newest of them
    last_start: int = 0  # the newest start time
    even: int = 0  # when the next would start if none had been lost
    lost: int = 0  # the newest that the list lost
    rates: dict[tuple[int, int], int] = field(default_factory=dict)
    """By rate (amount, window): until when it is in force."""
    log_expires: float = math.inf  # of the rest


@dataclass(kw_only=True, slots=True)
class _Api:
    """All that the server knows of one API."""

    generation: _Generation
    holders: dict[str, dict[str, _Holder]] = field(default_factory=dict)  # by scope
    waiters: dict[str, _Waiter] = field(default_factory=dict)
    books: dict[str, _Book] = field(default_factory=dict)  # by part; "": of the whole API


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
        return _us(self.clock())

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

    def generation(self, now: int, *, wiped: bool) -> _Generation:
        """A new one."""
        return _Generation(id=next(self._new_ids), born=now, wiped=wiped)

    def leave(self, name: str, scope: str, holder: str) -> None:
        """Forget a holder."""
        found = self._apis.get(name)
        if found is not None:
            found.holders.get(scope, {}).pop(holder, None)
            if not scope:
                found.waiters.pop(holder, None)


class MemoryLimits:
    """Implements ports.SharedLimits; one for each process. `monotonic` is the process's clock."""

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
        self, api: str, scope: str, *, limit: int, wanted: int, held: int, told: int
    ) -> Lease:
        """`told`: the limit for the others; 0: it is leaving."""
        found, now, sent = self._call(api)
        holders = found.holders.setdefault(scope, {})
        others, taken, limit = _others(holders, self._holder, limit, now)
        share, turns = _fair_share(
            [*others, (wanted, self._holder)], self._holder, limit=limit, now=now
        )
        left = max(0, limit - taken)
        if left < held:  # cut off for longer than its lease: what it holds is not filled again
            share = min(share, left)
        allowance = max(held, min(share, left))
        generation = found.generation
        settle = TTL_SECONDS if generation.wiped else SETTLE_SECONDS
        right = self._known[api].rights.setdefault(scope, _Right())
        if now < generation.born + _us(settle):
            # Others may hold what nobody has told us yet, and what it holds beyond its right.
            allowance, share = held, min(held, right.slots) if now < right.expires else 0
        right.slots = max(min(allowance, share), 0)
        right.expires = now + _us(TTL_SECONDS)
        holders[self._holder] = _Holder(
            allowance=allowance, wanted=wanted, expires=now + _us(TTL_SECONDS), limit=told
        )
        turn = _us(TURN_SECONDS)
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
        unused: Sequence[int] = (),
        parts: Sequence[RatedPart] = (),
        wanted: Sequence[Sequence[int]] | None = None,
    ) -> Reservation:
        """See SharedLimits."""
        known = self._known.setdefault(api, _Known()).generation
        found, now, _ = self._call(api)
        limits = [
            (rates, spacing_seconds, closest_seconds),
            *((part.rates, part.spacing_seconds, part.spacing_seconds) for part in parts),
        ]
        keys = ["", *(part.key for part in parts)]
        asking = _Reserving(now=now, headroom=_us(headroom_seconds), generation=found.generation)
        asking.books = [
            asking.opened(found, key, *book) for key, book in zip(keys, limits, strict=True)
        ]
        for book in asking.books:
            if book.kept.last > now + asking.horizon + _FAR:
                # Nothing is reserved that far ahead: the server's clock went back. Begin anew.
                book.kept.latest.clear()
                book.kept.last = book.kept.lost = book.kept.last_start = book.kept.even = 0
                asking.generation = found.generation = self._server.generation(now, wiped=True)
                self._known[api].generation = found.generation.id
        if found.generation.id == known:
            asking.books[0].take_back(unused)
        processes, elsewhere, asking.was_wanted = _crowd(found, self._holder, waiting, now)
        asking.books[0].begin()
        asking.give(wanted or [[]] * count, math.ceil(count / processes))
        next_of_parts = [book.next_at(asking.reach) for book in asking.books[1:]]
        for book in asking.books:
            book.close()
        return Reservation(
            starts=tuple(self._own(start) for start in asking.starts), given=tuple(asking.given),
            marks=tuple(asking.marks),
            next_at=self._own(asking.next_at), processes=processes, waiting_elsewhere=elsewhere,
            parts_next_at=tuple(self._own(each) for each in next_of_parts),
        )  # fmt: skip

    async def leave(self, api: str, *, in_use: int = 0, scope: str = "") -> None:
        """See SharedLimits."""
        if in_use:
            self._lease(api, scope, limit=in_use, wanted=in_use, held=in_use, told=0)
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


def _fair_share(
    demands: list[tuple[int, str]], holder: str, *, limit: int, now: int
) -> tuple[int, bool]:
    """The holder's share, and whether it changes by itself with the next turn.

    Smallest demand first, each gets what it wants as long as that is at most an equal share of
    what is left; the others share equally. What does not divide goes round in turns.
    """
    demands.sort()
    (wanted,) = [wants for wants, name in demands if name == holder]
    left = limit
    for place, (wants, _) in enumerate(demands):
        sharers = len(demands) - place
        if wants * sharers > left:
            rest = [name for _, name in demands[place:]]
            if holder not in rest:
                return wanted, False  # it came before the others
            share, odd = divmod(left, sharers)
            first = now // _us(TURN_SECONDS)
            return share + ((rest.index(holder) + first) % sharers < odd), odd > 0
        left -= wants
    return wanted + left // len(demands), False


# --- rates ----------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class _OpenBook:
    """A book during one reservation; all in microseconds."""

    kept: _Book
    own: list[tuple[int, int]]  # (amount, window)
    spacing: int
    closest: int
    is_part: bool
    asking: _Reserving
    theirs: list[tuple[int, int]] = field(default_factory=list)  # others that are in force
    theirs_until: int = 0
    last_start: int = 0  # of a part, as far as it is known

    def read_log(self) -> None:
        """Learn which rates are in force, and what has been forgotten."""
        kept, now = self.kept, self.asking.now
        if kept.log_expires <= now:
            kept.last = kept.lost = 0
            kept.rates.clear()
        for rate, until in list(kept.rates.items()):
            if until + rate[1] <= now or until > now + _PRESENT:
                del kept.rates[rate]
            elif until > now and rate not in self.own:
                self.theirs.append(rate)
                self.theirs_until = max(self.theirs_until, until)
        kept.rates.update(dict.fromkeys(self.own, now + _PRESENT))
        if kept.latest and kept.expires <= now:
            kept.latest.clear()
        if not kept.latest:
            kept.lost = max(kept.lost, kept.last)
        self.last_start = max(kept.last - self.asking.headroom, 0)

    def take_back(self, marks: Sequence[int]) -> None:
        """Nothing was sent on these."""
        latest = self.kept.latest
        for mark in marks:
            if mark in latest:
                latest.remove(mark)
                self.kept.even = max(self.kept.even - self.spacing, 0)
                if not latest:
                    self.kept.last = self.kept.lost

    def begin(self) -> None:
        """If nobody waited before, there is nothing to make up for."""
        if not self.asking.was_wanted or self.closest == self.spacing:
            self.kept.even = max(self.kept.last_start + self.spacing, self._allowed())

    def earliest(self) -> tuple[int, int]:
        """As its own rates have it, and as all have it."""
        own, kept = self._allowed(), self.kept
        if self.spacing > 0:
            last = kept.last_start
            if self.is_part:
                last = self.last_start
            own = max(own, last + self.closest, min(kept.even, last + self.spacing))
        return own, self._after(own, self.theirs)

    def _allowed(self) -> int:
        asking = self.asking
        start = max(asking.now, asking.generation.born + _us(SETTLE_SECONDS))
        return self._after(start, self.own)

    def next_at(self, ahead: int) -> int:
        """Before that it has nothing to give."""
        own, start = self.earliest()
        if not self.theirs:
            return start - ahead
        return min(start - ahead, max(own - ahead, self.theirs_until))

    def record(self, start: int) -> None:
        """Let a request in."""
        kept, asking = self.kept, self.asking
        kept.last = max(kept.last + 1, start + asking.headroom)
        kept.latest.append(kept.last)
        if self.is_part:
            self.last_start = max(self.last_start, start)
            return
        kept.last_start = max(kept.last_start, start)
        shortest = min((window for _, window in self.own), default=math.inf)
        kept.even = max(kept.even, _whole(start - shortest if asking.was_wanted else start))
        kept.even += self.spacing
        asking.was_wanted = True

    def close(self) -> None:
        """Forget what no rate needs."""
        kept, asking = self.kept, self.asking
        most = max([1 if self.is_part else _KEPT, *(amount for amount, _ in kept.rates)])
        if len(kept.latest) > most:
            kept.lost = kept.latest[-most - 1]
            del kept.latest[:-most]
        longest = max([0 if self.is_part else _KEPT_FOR, *(window for _, window in kept.rates)])
        kept.expires = asking.now + longest + asking.horizon + asking.headroom + 1_000_000
        kept.log_expires = kept.expires + _LARGEST if self.is_part else math.inf

    def _nth_last(self, amount: int) -> int | None:
        """The newest of those that must lie a full window back."""
        if amount <= len(self.kept.latest):
            return self.kept.latest[-amount]
        return self.kept.lost or None

    def _after(self, start: int, rates: list[tuple[int, int]]) -> int:
        generation = self.asking.generation
        for amount, window in rates:
            nth = self._nth_last(amount)
            if nth is not None:
                start = max(start, nth + window + 1)
            if generation.wiped:
                forgotten = generation.born + self.asking.horizon + _LARGEST
                start = max(start, forgotten + window + 1)
        return start


@dataclass(kw_only=True, slots=True)
class _Reserving:
    """One reservation; all in microseconds."""

    now: int
    headroom: int
    generation: _Generation
    horizon: int = round(HORIZON_SECONDS * 1_000_000)
    books: list[_OpenBook] = field(default_factory=list)  # of the API, and of the parts
    starts: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    was_wanted: bool = False  # somebody waited before
    next_at: int = 0
    reach: int = 0  # so long before a part has start times asking for them is not in vain

    def opened(
        self, api: _Api, key: str, rates: Sequence[Rate], spacing_seconds: float,
        closest_seconds: float,
    ) -> _OpenBook:  # fmt: skip
        """A book of the API, read."""
        own = [(rate.amount, _us(rate.seconds)) for rate in rates]
        book = _OpenBook(
            kept=api.books.setdefault(key, _Book()), own=own, spacing=_us(spacing_seconds),
            closest=_us(closest_seconds), is_part=bool(key), asking=self,
        )  # fmt: skip
        book.read_log()
        return book

    @property
    def is_rated(self) -> bool:
        """Whether the API as a whole has a rate."""
        return bool(self.books[0].own or self.books[0].theirs)

    @property
    def ahead(self) -> int:
        """So far a part may hold up the API's own start times."""
        return _AHEAD if self.is_rated else self.horizon

    def give(self, wanted: Sequence[Sequence[int]], most: int) -> None:
        """Start times within the horizon to those that can have one."""
        whole = self.books[0]
        pending = list(enumerate(wanted))
        while len(self.starts) < most:
            _, start = whole.earliest()
            if start > self.now + self.horizon:
                self.next_at = whole.next_at(self.horizon)
                break
            if not self._give_first(start, pending):
                break
        self.reach = self.ahead
        if self.is_rated:
            self.reach = min(max(self.ahead, whole.earliest()[1] - self.now), self.horizon)

    def _give_first(self, start: int, pending: list[tuple[int, Sequence[int]]]) -> bool:
        """To the first that does not keep the API's start times waiting."""
        whole, *parts = self.books
        for place, (number, under) in enumerate(pending):
            books = [parts[each] for each in under]
            own = max([start, *(book.earliest()[1] for book in books)])
            if own <= max(start, self.now + self.ahead):
                for book in [whole, *books] if self.is_rated else books:
                    book.record(own)
                self.starts.append(own)
                self.given.append(number)
                self.marks.append(whole.kept.last if self.is_rated else 0)
                del pending[place]
                return True
        return False


def _crowd(api: _Api, holder: str, waiting: int, now: int) -> tuple[int, int, bool]:
    """Processes that want this API now, requests that wait in the others, and if any did before."""
    for name in [name for name, each in api.waiters.items() if each.expires <= now]:
        del api.waiters[name]
    others = [
        each.waiting for name, each in api.waiters.items() if name != holder and each.waiting > 0
    ]
    before = any(each.waiting for each in api.waiters.values())
    api.waiters[holder] = _Waiter(waiting=waiting, expires=now + _PRESENT)
    return 1 + len(others), sum(others), before


def _whole(moment: float) -> int:
    """Minus infinity, where there is no window, is before everything."""
    return 0 if moment == -math.inf else int(moment)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
