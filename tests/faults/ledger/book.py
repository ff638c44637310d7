"""What is done and undone, and which answers are remembered. Pure: no I/O, no clock.

    POST   /keyed/{run}/{step}          do; the first conclusive answer to a key is its answer
    DELETE /keyed/{run}/{step}          undo, likewise
    POST   /plain/{run}/{step}          do, as often as it is asked, whatever the key
    DELETE /plain/{run}/{step}          undo, likewise
    GET    /plain/{run}/{step}/do       is it done? 200 or 404
    GET    /plain/{run}/{step}/undo     has it been undone? 200 or 404
    GET    /read/{run}/{step}           changes nothing

What is done on one route may be undone on the other. An undo of what is not done finds nothing
(404) and is no effect; a second do is a second effect. What a run's name says that is refused is
refused (422). 200, 404 to an undo and 422 are conclusive.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from tests.faults.ledger.records import Effect, Request
from tests.faults.workload import refusals

KEYED, PLAIN, READ = "keyed", "plain", "read"
DO, UNDO = "do", "undo"

_METHODS = {"POST": DO, "DELETE": UNDO}
_refused = lru_cache(maxsize=100_000)(refusals)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What one request wants. `route` is empty when there is no such route."""

    route: str
    run: str
    step: str
    direction: str
    question: bool = False

    @property
    def changes(self) -> bool:
        """Whether it may have an effect."""
        return not self.question and self.route in (KEYED, PLAIN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of it: the answer, and the effect if there was one."""

    status: int
    body: bytes
    effect: bool = False
    replayed: bool = False  # the first answer of its key again


def asked(method: str, target: str) -> Asked:
    """What a request line wants."""
    parts = target.split("?", 1)[0].split("/")[1:]
    match method, parts:
        case "POST" | "DELETE", ["keyed" | "plain" as route, run, step] if run and step:
            return Asked(route=route, run=run, step=step, direction=_METHODS[method])
        case "GET", ["plain", run, step, "do" | "undo" as direction] if run and step:
            return Asked(route=PLAIN, run=run, step=step, direction=direction, question=True)
        case "GET", ["read", run, step] if run and step:
            return Asked(route=READ, run=run, step=step, direction=DO)
    return Asked(route="", run="", step="", direction=_METHODS.get(method, DO))


@dataclass(slots=True)
class _Standing:
    """One step of one run."""

    done: int = 0
    undone: int = 0


@dataclass(slots=True)
class Book:
    """The state of all runs."""

    _steps: dict[tuple[str, str], _Standing] = field(default_factory=lambda: defaultdict(_Standing))
    _answers: dict[str, tuple[str, Verdict]] = field(default_factory=dict)  # key -> digest, answer

    def answer(self, wanted: Asked, *, key: str | None, digest: str) -> Verdict:
        """Apply a request. `digest` stands for its bytes; the same key with others gets 409."""
        if wanted.route != KEYED or key is None:
            return self._new(wanted)
        known = self._known(key, digest)
        if known is None:
            known = self._new(wanted)
            self._remember(key, digest, known)
        return known

    def refuse(self, wanted: Asked, *, key: str | None, digest: str) -> Verdict:
        """Refuse a request whose run's name does not announce it; a known key has its answer."""
        if wanted.route != KEYED or key is None:
            return _REFUSALS[422]
        known = self._known(key, digest)
        if known is None:
            known = _REFUSALS[422]
            self._remember(key, digest, known)
        return known

    def restore(self, requests: Iterable[Request], effects: Iterable[Effect]) -> None:
        """Bring an empty book to where these records end."""
        for effect in effects:
            self._apply(effect.run, effect.step, effect.direction)
        for request in requests:
            if request.key is None or request.route != KEYED or request.replayed:
                continue
            if request.verdict == 200:
                self._remember(request.key, request.digest, done(request.run, request.step))
            elif request.verdict in _REFUSALS:
                self._remember(request.key, request.digest, _REFUSALS[request.verdict])

    # --- one request --------------------------------------------------------------------------

    def _new(self, wanted: Asked) -> Verdict:
        if not wanted.route:
            return _verdict(404, code="no_such_route")
        run, step, direction = wanted.run, wanted.step, wanted.direction
        if wanted.question:
            return self._question(run, step, direction)
        if is_refused(run, step, direction):
            return _REFUSALS[422]
        if wanted.route == READ:
            return done(run, step)
        if direction == UNDO and not self._is_done(run, step):
            return _REFUSALS[404]
        self._apply(run, step, direction)
        return done(run, step, effect=True)

    def _question(self, run: str, step: str, direction: str) -> Verdict:
        found = self._steps.get((run, step), _Standing())
        net = found.done > found.undone
        yes = net if direction == DO else found.undone > 0 and not net
        return done(run, step) if yes else _REFUSALS[404]

    def _is_done(self, run: str, step: str) -> bool:
        found = self._steps.get((run, step))
        return found is not None and found.done > found.undone

    def _apply(self, run: str, step: str, direction: str) -> None:
        standing = self._steps[run, step]
        if direction == DO:
            standing.done += 1
        else:
            standing.undone += 1

    # --- keys ---------------------------------------------------------------------------------

    def _known(self, key: str, digest: str) -> Verdict | None:
        known = self._answers.get(key)
        if known is None:
            return None
        first, answer = known
        return answer if first == digest else _verdict(409, code="key_with_other_bytes")

    def _remember(self, key: str, digest: str, verdict: Verdict) -> None:
        again = Verdict(status=verdict.status, body=verdict.body, replayed=True)
        self._answers[key] = (digest, again)


def is_refused(run: str, step: str, direction: str) -> bool:
    """Whether the run's name says that this is refused for good."""
    refused = _refused(run)
    index = refused.forward if direction == DO else refused.undo
    return index is not None and step == f"s{index + 1}"


def done(run: str, step: str, *, effect: bool = False) -> Verdict:
    """The answer that it is so."""
    body = f'{{"id": "{run}/{step}", "ok": true}}'.encode()
    return Verdict(status=200, body=body, effect=effect)


def _verdict(status: int, *, code: str) -> Verdict:
    return Verdict(status=status, body=json.dumps({"code": code}).encode())


_REFUSALS = {404: _verdict(404, code="not_found"), 422: _verdict(422, code="refused")}
