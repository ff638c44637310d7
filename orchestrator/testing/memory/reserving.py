"""One reservation of start times in memory: `coordination/reserve.lua` line by line.

All in whole microseconds, as there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.coordination.limits import (
    HORIZON_SECONDS,
    MILLION,
    SETTLE_SECONDS,
    SHORT_SECONDS,
    advance_of,
)
from orchestrator.ports import Mark, Rate
from orchestrator.ports.advances import Counted, Known, Past
from orchestrator.testing.memory.crowd import PRESENT, Turn

_LARGEST = 1_000_000  # no process asks for more headroom than a second
_AHEAD = 50_000  # so far a part may hold up the API's own start times
_ADVANCED = 6_000_000  # an advance is to last for about so long
_LEAST_ADVANCE = 1 / 20  # of the largest
_UNWRITTEN = 1_000_000  # for so long start times are out of sight that no advance allows
_SPARE = 100  # moments of a part beyond its rates
_KEPT = 10_000  # moments, for rates that are added later
USUAL = 16  # start times in half the horizon, where they are not spaced
_KEPT_FOR = 86_400_000_000  # at least a day


@dataclass(kw_only=True, slots=True)
class Generation:
    """How long what is remembered of an API can be trusted."""

    id: int
    born: int  # microseconds
    wiped: bool


@dataclass(kw_only=True, slots=True)
class Counter:
    """How many start times there were."""

    since: int = 0  # generation
    total: int = 0
    upto: int = 0
    good_until: int = 0
    begun: int = 0  # the total when `upto` was learnt
    at: int = 0
    expires: float = math.inf


@dataclass(kw_only=True, slots=True)
class Book:
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
    counted: Counter = field(default_factory=Counter)


@dataclass(kw_only=True, slots=True)
class OpenBook:
    """A book during one reservation; all in microseconds."""

    key: str  # of the part; "": of the whole API
    kept: Book
    own: list[tuple[int, int]]  # (amount, window)
    spacing: int
    closest: int
    is_part: bool
    asking: Reserving
    advance: int = 0  # how many start times one allows; 0: they are not counted
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
            if until + rate[1] <= now or until > now + PRESENT:
                del kept.rates[rate]
            elif until > now and rate not in self.own:
                self.theirs.append(rate)
                self.theirs_until = max(self.theirs_until, until)
        kept.rates.update(dict.fromkeys(self.own, now + PRESENT))
        if kept.latest and kept.expires <= now:
            kept.latest.clear()
        if not kept.latest:
            kept.lost = max(kept.lost, kept.last)
        self.last_start = max(kept.last - self.asking.headroom, 0)

    @property
    def is_counted(self) -> bool:
        """Whether the counter is to be trusted."""
        counter = self.kept.counted
        return counter.since == self.asking.generation.id and counter.expires > self.asking.now

    @property
    def _longest(self) -> int:
        return max((window for _, window in self.own), default=0)

    @property
    def _may_go_on(self) -> bool:
        counter = self.kept.counted
        written = counter.total < counter.upto and self.asking.now < counter.good_until
        return self.is_counted and written

    def count_on(self, known: Known | None) -> None:
        """Learn what is written."""
        if known is None:
            return
        if not self.is_counted and self.advance and known.past is not None:
            self._learn(known.past)
        counter = self.kept.counted
        if self.is_counted and known.upto > 0 and known.upto >= counter.upto:
            good_until = self.asking.now - us(known.ago_seconds) + self._longest * 3 // 4
            if known.upto > counter.upto:
                counter.begun, counter.at = counter.total, self.asking.now
            else:
                good_until = max(good_until, counter.good_until)
            counter.upto, counter.good_until = known.upto, good_until

    def _learn(self, past: Past) -> None:
        generation, total = self.asking.generation, past.total
        if self.kept.latest and not generation.wiped:
            total += len(self.kept.latest)
        elif self._fill(past) and not generation.wiped:
            generation.wiped = True
        self.kept.counted = Counter(
            since=generation.id, total=total, upto=total, begun=total, at=self.asking.now
        )

    def _fill(self, past: Past) -> bool:
        """What was let out before, each as late as it can have been; whether any matters."""
        kept, asking, known = self.kept, self.asking, False
        most = max((amount for amount, _ in self.own), default=0)
        skip = sum(number for _, number in past.moments) - most
        filled: list[int] = []
        for age, number in past.moments:
            moment = asking.now - us(age) + asking.horizon + _LARGEST
            useless = min(max(skip, 0), number)
            if moment + self._longest <= asking.now:
                useless = number
            if useless > 0:
                kept.lost = max(kept.lost, moment)
            skip, known = skip - useless, known or useless < number
            for _ in range(number - useless):
                filled.append(max([moment, *(last + 1 for last in filled[-1:])]))
        for moment in (each for each in kept.latest if each > asking.generation.born):
            filled.append(max([moment, *(last + 1 for last in filled[-1:])]))
        kept.latest, kept.expires = filled, asking.now + 1
        kept.last = max([kept.last, *filled[-1:]])
        return known

    def standing(self) -> Counted | None:
        """Of its counter."""
        if not self.advance:
            return None
        if not self.is_counted:
            return Counted(None, 0, 0)
        counter, now = self.kept.counted, self.asking.now
        due = counter.upto - counter.total <= (counter.upto - counter.begun) // 2
        due = due or now + self._longest / 4 >= counter.good_until
        upto = counter.upto if self._may_go_on else counter.total
        return Counted(counter.total, upto, counter.total + self._next_advance() if due else 0)

    def _next_advance(self) -> int:
        """By how fast the present one is used up."""
        counter = self.kept.counted
        seconds = max(self.asking.now - counter.at, 1)
        lately = math.ceil((counter.total - counter.begun) * _ADVANCED / seconds)
        return max(min(lately, self.advance), math.ceil(self.advance * _LEAST_ADVANCE))

    def take_back(self, mark: int) -> bool:
        """Nothing was sent on it; whether it was there."""
        if mark not in self.kept.latest:
            return False
        self.kept.latest.remove(mark)
        if not self.is_part:
            self.kept.even = max(self.kept.even - self.spacing, 0)
        if not self.kept.latest:
            self.kept.last = self.kept.lost
        return True

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
        start = max(asking.now, asking.generation.born + us(SETTLE_SECONDS))
        start = self._after(start, self.own)
        return (
            max(start, asking.now + _UNWRITTEN) if self.advance and not self._may_go_on else start
        )

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
        kept.counted.total += self.is_counted
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
        most += _SPARE if self.is_part else 0
        if len(kept.latest) > most:
            kept.lost = kept.latest[-most - 1]
            del kept.latest[:-most]
        longest = max([0 if self.is_part else _KEPT_FOR, *(window for _, window in kept.rates)])
        needed = longest + asking.horizon + asking.headroom
        kept.expires = asking.now + math.ceil(needed / 1000) * 1000 + 1_000_000
        kept.log_expires = kept.expires + _LARGEST if self.is_part else math.inf
        # Not sooner than what the latest advance allows is too old to matter.
        if self.is_part and self.is_counted:
            kept.counted.expires = asking.now + 2 * (kept.expires - asking.now)

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
            if generation.wiped and not (self.is_counted and window > us(SHORT_SECONDS)):
                forgotten = generation.born + self.asking.horizon + _LARGEST
                start = max(start, forgotten + window + 1)
        return start


@dataclass(kw_only=True, slots=True)
class Reserving:
    """One reservation; all in microseconds."""

    now: int
    headroom: int
    generation: Generation
    horizon: int = round(HORIZON_SECONDS * 1_000_000)
    books: list[OpenBook] = field(default_factory=list)  # of the API, and of the parts
    starts: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    was_wanted: bool = False  # somebody waited before
    next_at: int = 0
    reach: int = 0  # so long before a part has start times asking for them is not in vain

    def opened(
        self, books: dict[str, Book], key: str, rates: Sequence[Rate], spacing_seconds: float,
        closest_seconds: float, *, counted: bool,
    ) -> OpenBook:  # fmt: skip
        """One of the API's books, read."""
        own = [(rate.amount, us(rate.seconds)) for rate in rates]
        book = OpenBook(
            key=key, kept=books.setdefault(key, Book()), own=own, spacing=us(spacing_seconds),
            closest=us(closest_seconds), is_part=bool(key), asking=self,
            advance=advance_of(rates) if counted else 0,
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

    def take_back(self, unused: Sequence[Mark]) -> int:
        """How many of these start times, on which nothing was sent, counted anywhere."""
        whole, *parts = self.books
        by_key = {book.key: book for book in parts}
        return sum(
            any([
                whole.take_back(mark.whole),
                *(by_key[key].take_back(of_part) for key, of_part in mark.parts if key in by_key),
            ])
            for mark in unused
        )  # fmt: skip

    def give(self, wanted: Sequence[Sequence[int]], turn: Turn) -> None:
        """Start times within the horizon to those that can have one."""
        whole = self.books[0]
        pending = list(enumerate(wanted))
        most = math.ceil(len(wanted) * turn.share)
        usual = USUAL
        if whole.spacing > 0:
            usual = math.ceil(self.horizon / 2 / whole.spacing)
        if turn.settle(usual) <= -most * MILLION:
            most = 0
            if whole.earliest()[1] <= self.now + self.horizon / 2:
                most = math.ceil(len(wanted) / turn.processes)
            elif wanted:
                self.next_at = whole.next_at(self.horizon // 2)
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
                of_parts = tuple((book.key, book.kept.last) for book in books)
                self.marks.append(Mark(whole.kept.last if self.is_rated else 0, of_parts))
                del pending[place]
                return True
        return False


def _whole(moment: float) -> int:
    """Minus infinity, where there is no window, is before everything."""
    return 0 if moment == -math.inf else int(moment)


def us(seconds: float) -> int:
    return round(seconds * 1_000_000)
