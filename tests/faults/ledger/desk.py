"""The API itself, without a network: takes requests, treats them as fated, answers, takes down.

Everything after the arrival of a request is done by timers of the event loop and not by its caller:
a request that has left goes on to have its effect whatever becomes of who sent it. The simulation
(`transport.py`) and the HTTP server (`server.py`) are two callers of the same desk.

On plain routes a question waits for the requests of its link that have arrived before it and are
still to have their effect, as behind a row's lock: an answer "not there" stays true until another
request arrives. (With one exception that only a table of fates can ask for: LATE on a plain route.)
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from tests.faults.ledger.book import PLAIN, Asked, Book, Verdict, asked
from tests.faults.ledger.faults import WELL, Fault, FaultPlan
from tests.faults.ledger.limits import Limits
from tests.faults.ledger.records import Effect, Exceeded, Records
from tests.faults.ledger.weather import Tokens, Weather
from tests.faults.ledger.writing import Entry, Writer

Point = str
GARBAGE = b'{"id": "<html>'
_STATUS = {Fault.ERROR: 500, Fault.BUSY: 503, Fault.REFUSE: 400}
_BODIES = {
    Fault.ERROR: b'{"code": "broken"}',
    Fault.BUSY: b'{"code": "busy"}',
    Fault.REFUSE: b'{"code": "refused"}',
}
_UNAUTHORISED = b'{"code": "unauthorised"}'


class Caller(Protocol):
    """The other end of one request. Methods return at once and never raise."""

    def answer(self, status: int, body: bytes, retry_after: str | None) -> bool:
        """Hand over a whole answer; whether there was still somebody to take it."""

    def half(self, status: int, body: bytes) -> None:
        """Hand over a part of the answer, then end the connection."""

    def cut(self) -> None:
        """End the connection."""

    def reach(self, point: Point) -> None:
        """The request has come to a crash point outside its sender's process."""


@dataclass(kw_only=True, slots=True)
class Settings:
    """What may be changed while it runs. `latency_seconds`: bounds of the time an answer takes."""

    token: str | None = None  # the credential that requests must carry
    tokens: Tokens | None = None  # or one of these
    latency_seconds: tuple[float, float] = (0.0, 0.0)
    seed: int = 0  # of the latencies


@dataclass(slots=True)
class Desk:
    """One ledger. Use it on one event loop. `now` gives UNIX seconds."""

    writer: Writer
    now: Callable[[], float]
    faults: FaultPlan = field(default_factory=FaultPlan)
    limits: Limits = field(default_factory=Limits)
    settings: Settings = field(default_factory=Settings)
    weather: Weather = field(default_factory=Weather)
    book: Book = field(default_factory=Book)
    requests: int = 0
    effects: int = 0
    exceeded: int = 0
    in_flight: int = 0  # neither answered nor cut
    to_come: int = 0  # effects that will come by themselves
    statuses: Counter[int] = field(default_factory=Counter)
    treated: Counter[str] = field(default_factory=Counter)  # by fault
    _chance: random.Random = field(default_factory=random.Random)
    _before_effect: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _questions: dict[tuple[str, str, str], list[Callable[[], None]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chance.seed(self.settings.seed)

    def resume(self, records: Records) -> None:
        """Go on where a ledger with these records ended."""
        self.book.restore(records.requests, records.effects)
        self.requests = max((request.number for request in records.requests), default=0)
        self.effects = max((effect.number for effect in records.effects), default=0)
        self.exceeded = len(records.exceeded)

    def take(
        self, method: str, target: str, body: bytes, *, key: str | None, credential: str | None,
        caller: Caller,
    ) -> Visit:  # fmt: skip
        """A request has arrived. Returns before or after it has been answered."""
        wanted = asked(method, target)
        digest = hashlib.sha256(f"{method}\n{target}\n".encode() + body).hexdigest()
        self.requests += 1
        entry = Entry(
            number=self.requests, at=self.now(), route=wanted.route, run=wanted.run,
            step=wanted.step, direction=wanted.direction, question=wanted.question, key=key,
            digest=digest,
        )  # fmt: skip
        visit = Visit(self, wanted, entry, caller)
        visit.arrive(credential)
        return visit

    def statistics(self) -> dict[str, Any]:
        """Counts so far, as JSON."""
        return {
            "requests": self.requests, "effects": self.effects, "exceeded": self.exceeded,
            "in_flight": self.in_flight, "to_come": self.to_come,
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "faults": dict(self.treated),
            "tokens": 0 if self.settings.tokens is None else self.settings.tokens.issued,
        }  # fmt: skip

    def admits(self, credential: str | None) -> tuple[bool, bool]:
        """Whether a credential is (or was) one of ours, and whether it is good now."""
        token, tokens = self.settings.token, self.settings.tokens
        if tokens is not None:
            return tokens.knows(credential), tokens.accepts(credential)
        if token is not None:
            return credential == f"Bearer {token}", credential == f"Bearer {token}"
        return False, True

    # --- parts of a visit -------------------------------------------------------------------------

    def half_latency(self) -> float:
        """Seconds before the effect, or after it."""
        low, high = self.settings.latency_seconds
        return self._chance.uniform(low, high) / 2 if high > 0.0 else 0.0

    def count_in(self, entry: Entry) -> None:
        """A request has come in."""
        self.in_flight += 1
        for limit, found in self.limits.arrived(entry.route, entry.at):
            self.exceeded += 1
            self.writer.exceeded(
                Exceeded(at=entry.at, request=entry.number, limit=str(limit), found=found)
            )

    def count_out(self, entry: Entry) -> None:
        """It is answered or cut, or its caller has given up."""
        self.in_flight -= 1
        if entry.fault != Fault.HANG:
            self.limits.left(entry.route)
        self.treated[entry.fault] += 1
        if entry.status is not None:
            self.statuses[entry.status] += 1

    def apply(self, wanted: Asked, entry: Entry) -> Verdict:
        """The moment of the effect."""
        verdict = self.book.answer(wanted, key=entry.key, digest=entry.digest)
        entry.replayed, entry.applied = verdict.replayed, verdict.effect
        entry.verdict = verdict.status
        if verdict.effect:
            self.effects += 1
            self.writer.effect(
                Effect(
                    number=self.effects, at=self.now(), request=entry.number, run=wanted.run,
                    step=wanted.step, direction=wanted.direction,
                )
            )  # fmt: skip
        return verdict

    def hold(self, wanted: Asked) -> None:
        """A request that may have an effect is on its way to it."""
        self._before_effect[wanted.run, wanted.step, wanted.direction] += 1

    def let_go(self, wanted: Asked) -> None:
        """It is through; questions about it may be answered."""
        place = (wanted.run, wanted.step, wanted.direction)
        self._before_effect[place] -= 1
        if self._before_effect[place] == 0:
            del self._before_effect[place]
            for question in self._questions.pop(place, ()):
                question()

    def ask_in_turn(self, wanted: Asked, question: Callable[[], None]) -> None:
        """Answer a question now, or when the requests before it have had their effect."""
        place = (wanted.run, wanted.step, wanted.direction)
        if place in self._before_effect:
            self._questions.setdefault(place, []).append(question)
        else:
            question()


class Visit:
    """One request from its arrival to its end."""

    __slots__ = ("_asked", "_caller", "_desk", "_entry", "_fate", "_out")

    def __init__(self, desk: Desk, wanted: Asked, entry: Entry, caller: Caller) -> None:
        self._desk, self._asked, self._entry, self._caller = desk, wanted, entry, caller
        self._fate = WELL
        self._out = False

    def arrive(self, credential: str | None) -> None:
        """It is here; nothing has happened yet."""
        desk, entry = self._desk, self._entry
        desk.count_in(entry)
        weather = desk.weather.fate(entry.at)
        entry.secret, admitted = desk.admits(credential)
        if weather is None and not admitted:
            self._answer(401, _UNAUTHORISED)
            return
        self._fate = weather or desk.faults.next(self._asked)
        entry.fault = self._fate.fault.value
        self._reach("after_send")
        self._approach()
        if not self._out:
            desk.writer.request(entry)
            desk.writer.flush()

    def gone(self) -> None:
        """Its caller has given up. Only what waits for nothing else ends here."""
        if self._fate.fault is Fault.HANG:
            self._end()

    # --- before the effect ----------------------------------------------------------------------

    def _approach(self) -> None:
        come: Callable[[], None]
        delay = self._desk.half_latency()
        if self._fate.fault is Fault.DELAY:
            delay += self._fate.seconds
        if self._asked.question:
            come = partial(self._desk.ask_in_turn, self._asked, self._come_to_effect)
        elif self._asked.route == PLAIN and delay > 0.0:
            self._desk.hold(self._asked)
            come = self._come_to_effect_and_let_go
        else:
            come = self._come_to_effect
        if delay > 0.0:
            asyncio.get_running_loop().call_later(delay, come)
        else:
            come()

    def _come_to_effect_and_let_go(self) -> None:
        self._come_to_effect()
        self._desk.let_go(self._asked)

    def _come_to_effect(self) -> None:
        fate = self._fate
        match fate.fault:
            case Fault.DROP_BEFORE:
                self._cut()
            case Fault.LATE:
                self._cut_and_apply_later()
            case Fault.REFUSE if fate.status in (0, 422):
                self._refuse()
            case Fault.BUSY | Fault.REFUSE:
                self._answer_as_fated()
            case Fault.ERROR if not fate.effect:
                self._answer_as_fated()
            case Fault.HANG if not fate.effect:
                self._hang()
            case _:
                self._have_effect()

    def _hang(self) -> None:
        # The API has lost sight of it: from now on it fills none of the places that are limited.
        # When its sender's end is noticed here says nothing of when the sender gave it up.
        self._desk.limits.left(self._entry.route)
        self._write()

    def _refuse(self) -> None:
        entry = self._entry
        verdict = self._desk.book.refuse(self._asked, key=entry.key, digest=entry.digest)
        entry.replayed, entry.verdict = verdict.replayed, verdict.status
        self._answer(verdict.status, verdict.body)

    def _cut_and_apply_later(self) -> None:
        self._desk.to_come += 1
        asyncio.get_running_loop().call_later(self._fate.seconds, self._apply_late)
        self._cut()

    def _apply_late(self) -> None:
        self._desk.to_come -= 1
        self._desk.apply(self._asked, self._entry)
        self._desk.writer.request(self._entry)
        self._desk.writer.flush()

    # --- the effect and after it ----------------------------------------------------------------

    def _have_effect(self) -> None:
        self._reach("before_effect")
        verdict = self._desk.apply(self._asked, self._entry)
        self._reach("after_effect")
        delay = self._desk.half_latency()
        if delay <= 0.0:
            self._leave(verdict)
            return
        self._desk.writer.request(self._entry)
        self._desk.writer.flush()
        asyncio.get_running_loop().call_later(delay, partial(self._leave, verdict))

    def _leave(self, verdict: Verdict) -> None:
        match self._fate.fault:
            case Fault.DROP_AFTER:
                self._cut()
            case Fault.HANG:
                self._hang()
            case Fault.HALF:
                self._half(verdict)
            case Fault.GARBLED:
                self._answer(verdict.status, GARBAGE)
            case Fault.ERROR:
                self._answer_as_fated()
            case _:
                self._answer(verdict.status, verdict.body)

    def _reach(self, point: Point) -> None:
        if not self._asked.question:
            self._caller.reach(point)

    def _answer_as_fated(self) -> None:
        fate = self._fate
        status = fate.status or _STATUS[fate.fault]
        self._answer(status, _BODIES[fate.fault], fate.retry_after)

    def _answer(self, status: int, body: bytes, retry_after: str | None = None) -> None:
        entry = self._entry
        self._reach("before_answer")
        # Taken down before it leaves, and again in the rare case that nobody was there any more.
        entry.status, entry.answered, entry.answered_at = status, True, self._desk.now()
        self._end()
        if not self._caller.answer(status, body, retry_after):
            entry.answered, entry.answered_at = False, None
            self._write()

    def _half(self, verdict: Verdict) -> None:
        self._end()
        self._caller.half(verdict.status, verdict.body)

    def _cut(self) -> None:
        self._end()
        self._caller.cut()

    def _end(self) -> None:
        if self._out:
            return
        self._out = True
        self._desk.count_out(self._entry)
        self._write()

    def _write(self) -> None:
        self._desk.writer.request(self._entry)
        self._desk.writer.flush()
