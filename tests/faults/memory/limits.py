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
from orchestrator.ports import Lease, Rate, Reservation

_PRESENT = 2_000_000  # a process that asked within two seconds counts as waiting
_LARGEST = 1_000_000  # no process asks for more headroom than a second
_FAR = 10_000_000
_KEPT = 10_000  # moments, for rates that are added later
_KEPT_FOR = 86_400_000_000  # at least a day


@dataclass(kw_only=True, slots=True)
class _Generation:
    """How long what is remembered of an API can be trusted."""

    id: int
    born: int  # microseconds
    wiped: bool


@dataclass(kw_only=True, slots=True)
class _Known:
    """What a process remembers of an API; generation 0: none."""

    generation: int = 0
    distrust: bool = False
    rightful: int = 0
    expires: int = 0


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
class _Api:
    """All that the server knows of one API."""

    generation: _Generation
    holders: dict[str, _Holder] = field(default_factory=dict)
    waiters: dict[str, _Waiter] = field(default_factory=dict)
    latest: list[int] = field(default_factory=list)
    """Until when the last requests may arrive, ascending."""
    expires: int = 0  # of `latest`
    last: int = 0  # the newest of them
    last_start: int = 0  # the newest start time
    even: int = 0  # when the next would start if none had been lost
    lost: int = 0  # the newest that the list lost
    rates: dict[tuple[int, int], int] = field(default_factory=dict)
    """By rate (amount, window): until when it is in force."""


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

    def leave(self, name: str, holder: str) -> None:
        """Forget a holder."""
        found = self._apis.get(name)
        if found is not None:
            found.holders.pop(holder, None)
            found.waiters.pop(holder, None)


class MemoryLimits:
    """Implements ports.SharedLimits; one for each process. `monotonic` is the process's clock."""

    def __init__(
        self, server: LimitServer, *, holder_id: str, monotonic: Callable[[], float]
    ) -> None:
        self._server, self._holder, self._monotonic = server, holder_id, monotonic
        self._clock = ServerClock()
        self._known: dict[str, _Known] = {}

    async def lease(self, api: str, *, limit: int, wanted: int, held: int) -> Lease:
        """See SharedLimits."""
        return self._lease(api, limit=limit, wanted=wanted, held=held, told=limit)

    def _lease(self, api: str, *, limit: int, wanted: int, held: int, told: int) -> Lease:
        """`told`: the limit for the others; 0: it is leaving."""
        found, now, sent = self._call(api)
        others, taken, limit = _others(found, self._holder, limit, now)
        share, turns = _fair_share(
            [*others, (wanted, self._holder)], self._holder, limit=limit, now=now
        )
        left = max(0, limit - taken)
        if left < held:  # cut off for longer than its lease: what it holds is not filled again
            share = min(share, left)
        allowance = max(held, min(share, left))
        generation = found.generation
        settle = TTL_SECONDS if generation.wiped else SETTLE_SECONDS
        known = self._known[api]
        if now < generation.born + _us(settle):
            # Others may hold what nobody has told us yet, and what it holds beyond its right.
            allowance, share = held, min(held, known.rightful) if now < known.expires else 0
        known.rightful = max(min(allowance, share), 0)
        known.expires = now + _us(TTL_SECONDS)
        found.holders[self._holder] = _Holder(
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
    ) -> Reservation:
        """See SharedLimits."""
        known = self._known.setdefault(api, _Known()).generation
        found, now, _ = self._call(api)
        asking = _Reserving(
            api=found, own=[(rate.amount, _us(rate.seconds)) for rate in rates], now=now,
            headroom=_us(headroom_seconds), spacing=_us(spacing_seconds),
            closest=_us(closest_seconds),
        )  # fmt: skip
        asking.read_log()
        if found.last > now + asking.horizon + _FAR:
            # Nothing is reserved that far ahead: the server's clock went back. Begin anew.
            found.latest.clear()
            found.last = found.lost = found.last_start = found.even = 0
            found.generation = self._server.generation(now, wiped=True)
            self._known[api].generation = found.generation.id
        if found.generation.id == known:
            asking.take_back(unused)
        processes, elsewhere, wanted = _crowd(found, self._holder, waiting, now)
        starts, next_at = asking.starts(math.ceil(count / processes), wanted=wanted)
        return Reservation(
            starts=tuple(self._own(start) for start, _ in starts),
            marks=tuple(mark for _, mark in starts), next_at=self._own(next_at),
            processes=processes, waiting_elsewhere=elsewhere,
        )  # fmt: skip

    async def leave(self, api: str, *, in_use: int = 0) -> None:
        """See SharedLimits."""
        if in_use:
            self._lease(api, limit=in_use, wanted=in_use, held=in_use, told=0)
            return
        self._check()
        self._server.leave(api, self._holder)

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


def _others(api: _Api, holder: str, limit: int, now: int) -> tuple[list[tuple[int, str]], int, int]:
    """Demands (wanted, holder) of all others that live, the sum of their allowances, and the limit.

    While a change of it has not reached all holders, the lowest of theirs holds for all.
    """
    for name in [name for name, each in api.holders.items() if each.expires <= now]:
        if name != holder:
            del api.holders[name]
    others = {name: each for name, each in api.holders.items() if name != holder}
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
class _Reserving:
    """One reservation; all in microseconds."""

    api: _Api
    own: list[tuple[int, int]]  # (amount, window)
    now: int
    headroom: int
    spacing: int
    closest: int
    horizon: int = round(HORIZON_SECONDS * 1_000_000)
    theirs: list[tuple[int, int]] = field(default_factory=list)  # others that are in force
    theirs_until: int = 0

    def read_log(self) -> None:
        """Learn which rates are in force, and what has been forgotten."""
        api, now = self.api, self.now
        for rate, until in list(api.rates.items()):
            if until + rate[1] <= now or until > now + _PRESENT:
                del api.rates[rate]
            elif until > now and rate not in self.own:
                self.theirs.append(rate)
                self.theirs_until = max(self.theirs_until, until)
        api.rates.update(dict.fromkeys(self.own, now + _PRESENT))
        if api.latest and api.expires <= now:
            api.latest.clear()
        if not api.latest:
            api.lost = max(api.lost, api.last)

    def take_back(self, marks: Sequence[int]) -> None:
        """Nothing was sent on these."""
        latest = self.api.latest
        for mark in marks:
            if mark in latest:
                latest.remove(mark)
                self.api.even = max(self.api.even - self.spacing, 0)
                if not latest:
                    self.api.last = self.api.lost

    def starts(self, most: int, *, wanted: bool) -> tuple[list[tuple[int, int]], int]:
        """Start times within the horizon with their marks, and when to ask for more. `wanted`:
        somebody waited before; if not, there is nothing to make up for.
        """
        api, starts, next_at = self.api, list[tuple[int, int]](), 0
        shortest = min((window for _, window in self.own), default=0)
        if not wanted or self.closest == self.spacing:
            api.even = max(api.last_start + self.spacing, self._allowed())
        for _ in range(most):
            own, start = self._earliest()
            if start > self.now + self.horizon:
                next_at = start - self.horizon
                if self.theirs:
                    next_at = min(next_at, max(own - self.horizon, self.theirs_until))
                break
            api.last = max(api.last + 1, start + self.headroom)
            api.last_start = max(api.last_start, start)
            api.even = max(api.even, start - shortest if wanted else start) + self.spacing
            wanted = True
            api.latest.append(api.last)
            starts.append((start, api.last))
        self._forget()
        return starts, next_at

    def _forget(self) -> None:
        api = self.api
        most = max([_KEPT, *(amount for amount, _ in api.rates)])
        if len(api.latest) > most:
            api.lost = api.latest[-most - 1]
            del api.latest[:-most]
        longest = max([_KEPT_FOR, *(window for _, window in api.rates)])
        api.expires = self.now + longest + self.horizon + self.headroom + 1_000_000

    def _nth_last(self, amount: int) -> int | None:
        """The newest of those that must lie a full window back."""
        if amount <= len(self.api.latest):
            return self.api.latest[-amount]
        return self.api.lost or None

    def _earliest(self) -> tuple[int, int]:
        """As its own rates have it, and as all have it."""
        own = self._allowed()
        if self.spacing > 0:
            last = self.api.last_start
            own = max(own, last + self.closest, min(self.api.even, last + self.spacing))
        return own, self._after(own, self.theirs)

    def _allowed(self) -> int:
        start = max(self.now, self.api.generation.born + _us(SETTLE_SECONDS))
        return self._after(start, self.own)

    def _after(self, start: int, rates: list[tuple[int, int]]) -> int:
        generation = self.api.generation
        for amount, window in rates:
            nth = self._nth_last(amount)
            if nth is not None:
                start = max(start, nth + window + 1)
            if generation.wiped:
                forgotten = generation.born + self.horizon + _LARGEST
                start = max(start, forgotten + window + 1)
        return start


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


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
