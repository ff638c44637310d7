"""Writes honest histories by hand: what API and tables would hold had all gone as promised.

`Scribe` has one method for each thing that happens to a run; `World` gathers several runs. The
clock moves by a tenth of a second with everything that is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.checker.tables import (
    AttemptRow,
    AuditRow,
    EscalationRow,
    LinkRow,
    RunRow,
    Tables,
)
from tests.faults.ledger.records import Effect, Exceeded, Records, Request
from tests.faults.workload import Kind, RunSeed, Shape, refusals

TICK = 0.1
_WORDS = {"do": "step", "undo": "undo"}


@dataclass
class World:
    """The API's records and the tables of several runs."""

    now: float = 1_800_000_000.0
    scribes: list[Scribe] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    exceeded: list[Exceeded] = field(default_factory=list)

    def tick(self, seconds: float = TICK) -> float:
        """Later."""
        self.now += seconds
        return self.now

    def submit(self, name: str, shape: Shape) -> Scribe:
        """A run is accepted."""
        scribe = Scribe(self, RunSeed(name=name, shape=shape))
        self.scribes.append(scribe)
        return scribe

    @property
    def seeds(self) -> list[RunSeed]:
        """What was submitted."""
        return [scribe.seed for scribe in self.scribes]

    @property
    def records(self) -> Records:
        """What the API saw."""
        return Records(
            requests=tuple(self.requests),
            effects=tuple(self.effects),
            exceeded=tuple(self.exceeded),
        )

    @property
    def tables(self) -> Tables:
        """What the database has."""
        made = {scribe.id: scribe for scribe in self.scribes}
        return Tables(
            runs=tuple(scribe.row for scribe in self.scribes),
            links={run: list(scribe.links.values()) for run, scribe in made.items()},
            attempts={run: scribe.attempts for run, scribe in made.items()},
            audit={run: scribe.audit for run, scribe in made.items()},
            escalations={run: scribe.escalations for run, scribe in made.items()},
        )


class Scribe:
    """One run, told by hand."""

    def __init__(self, world: World, seed: RunSeed) -> None:
        self.world, self.seed = world, seed
        self.id = f"run-{seed.name}"
        self.worker = "w1"
        self.links: dict[tuple[str, str], LinkRow] = {}
        self.attempts: list[AttemptRow] = []
        self.audit: list[AuditRow] = []
        self.escalations: list[EscalationRow] = []
        self._events: list[str] = []
        self.row = RunRow(
            id=self.id, name=seed.name, workflow=seed.shape.name, status="pending",
            direction="do", owner=None, epoch=1, claims=0, cause="", audit_seq=0,
            created_at=world.tick(), settled_at=None,
        )  # fmt: skip
        self.tell("run.accepted", actor="agent")
        self.claim("w1")

    # --- the audit --------------------------------------------------------------------------------

    def tell(self, kind: str, *, actor: str | None = None, **data: Any) -> None:
        """An audit record, with what was decided on since the one before."""
        by_engine = actor is None
        if by_engine and self._events:
            data["events"] = [{"event": name} for name in self._events]
            self._events = []
        seq = self.row.audit_seq + 1
        self.audit.append(AuditRow(
            seq=seq, at=self.world.tick(), kind=kind, actor=actor or self.worker, data=data
        ))  # fmt: skip
        self.row = replace(self.row, audit_seq=seq)

    def hop(self, worker: str) -> None:
        """Released in good order, which is not told, and claimed by another worker."""
        self.claim(worker)

    def claim(self, worker: str) -> None:
        """A worker takes the run up."""
        self.worker = worker
        self._events = ["Resumed"]
        self.row = replace(self.row, owner=worker, epoch=self.row.epoch + 1)

    def recovered(self, by: str) -> None:
        """Its worker was lost; another one claims it."""
        self.world.tick(3.0)
        self.tell("run.recovered", actor="engine", **{"from": self.worker, "why": "worker dead"})
        self.claim(by)

    # --- links ------------------------------------------------------------------------------------

    def begin(self, step: str, way: str = "do") -> None:
        """The intent."""
        self._events.append("Began")
        self.tell(f"{_WORDS[way]}.begun", step=step)
        self._set(step, way, "started")

    def request(
        self, step: str, way: str = "do", *, status: int | None = 200, applied: bool = True,
        seconds: float = 0.05, question: bool = False, fault: str = "none", replayed: bool = False,
    ) -> Request:  # fmt: skip
        """It arrives at the API; `status` None: no answer."""
        kind = self.kind(step, way)
        keyed, at = kind is Kind.KEYED, self.world.tick()
        name = f"{self.seed.name}/{step}/{way}"
        applied = applied and not question and kind is not Kind.READ
        request = Request(
            number=len(self.world.requests) + 1, at=at, route=kind.route, run=self.seed.name,
            step=step, direction=way, question=question, key=name if keyed else None,
            digest=hashlib.sha256(f"{question}{name}".encode()).hexdigest(), fault=fault,
            replayed=replayed, applied=applied, status=status, answered=status is not None,
            answered_at=None if status is None else at + seconds, secret=True,
        )  # fmt: skip
        self.world.requests.append(request)
        if applied:
            self.world.effects.append(Effect(
                number=len(self.world.effects) + 1, at=at + seconds / 2, request=request.number,
                run=self.seed.name, step=step, direction=way,
            ))  # fmt: skip
        self.world.tick(seconds)
        return request

    def outcome(
        self, step: str, way: str = "do", *, word: str = "landed", outcome: str | None = None,
        status: int | None = 200, kind: str = "call",
    ) -> None:  # fmt: skip
        """What the client made of it."""
        outcome = outcome or {"landed": "landed", "failed": "not_landed"}.get(word, "unknown")
        now = self.world.now
        known = sum((made.step, made.direction) == (step, way) for made in self.attempts)
        self.attempts.append(AttemptRow(
            id=f"{len(self.attempts):06d}", step=step, direction=way, number=known + 1, kind=kind,
            outcome=outcome, status_code=status, started_at=now - TICK, finished_at=now,
            worker=self.worker, reason="",
        ))  # fmt: skip
        self._events.append({"landed": "Landed", "not_landed": "NotLanded"}.get(outcome, "InDoubt"))
        self.tell(f"{_WORDS[way]}.{word}", step=step)
        self._set(step, way, word, doubt=outcome == "unknown")

    def withdraw(self, step: str, way: str = "do") -> None:
        """Begun, and the gate let nobody in."""
        self.begin(step, way)
        self._events.append("Withdrawn")
        self.tell(f"{_WORDS[way]}.withdrawn", step=step)
        self._set(step, way, "pending")
        self.tell("run.parked")

    def asked(self, step: str, way: str = "do", *, there: bool) -> None:
        """The doubt about a link is settled by a question."""
        status = 200 if there else 404
        self.request(step, way, question=True, status=status)
        self.outcome(
            step, way, word="landed" if there else "pending", kind="verify", status=status,
            outcome="landed" if there else "not_landed",
        )  # fmt: skip

    def in_doubt(self, step: str, way: str = "do", **request: Any) -> None:
        """Begun, sent, and nothing heard."""
        self.begin(step, way)
        asked = {"status": None, "fault": "drop_after", **request}
        self.request(step, way, **asked)
        unkeyed = self.kind(step, way) is Kind.UNKEYED
        self.outcome(
            step, way, word="unknown" if unkeyed else "pending", status=asked["status"],
            outcome="unknown",
        )  # fmt: skip

    def perform(self, step: str, way: str = "do") -> None:
        """Begun, asked for, done and recorded."""
        self.begin(step, way)
        self.request(step, way)
        self.outcome(step, way)

    def refused(self, step: str, way: str = "do") -> None:
        """Begun, and refused for good."""
        self.begin(step, way)
        self.request(step, way, status=422, applied=False)
        self.outcome(step, way, word="failed", status=422)

    # --- endings ----------------------------------------------------------------------------------

    def undo(self, *steps: str) -> None:
        """All of them, in this order."""
        self.row = replace(self.row, direction="undo")
        for step in steps:
            self.perform(step, "undo")

    def end(self, status: str) -> Scribe:
        """The run is over."""
        self.tell(f"run.{status}")
        self._settle(status)
        return self

    def escalate(self, reason: str, step: str | None, way: str = "do") -> Scribe:
        """It stops, with everything that a person needs."""
        if reason == "in_doubt" and step is not None:
            self._set(step, way, "unknown", doubt=True)
        self.tell("run.escalated", reason=reason)
        self.escalations.append(EscalationRow(
            id=f"e-{self.id}", reason=reason, detail=reason, step=step, direction=way,
            context=self._context(step), opened_at=self.world.now, closed_at=None, resolution=None,
        ))  # fmt: skip
        self._settle("escalated")
        return self

    def decide(self, what: str, status: str | None = None, **data: Any) -> None:
        """A person decides about the open escalation; the stuck link is `status` then."""
        letter = self.escalations[-1]
        self.tell(f"operator.{what}", actor="ada", step=letter.step, **data)
        closed = replace(letter, closed_at=self.world.now, resolution=what)
        self.escalations[-1] = closed
        if status is not None and letter.step is not None:
            self._set(letter.step, letter.direction, status)

    # --- small parts ------------------------------------------------------------------------------

    def kind(self, step: str, way: str) -> Kind:
        """How a link may be repeated."""
        kind = self.seed.shape.steps[int(step[1:]) - 1][way == "undo"]
        assert kind is not None, f"nothing undoes {step} of {self.seed.shape.name}"
        return kind

    def _set(self, step: str, way: str, status: str, *, doubt: bool = False) -> None:
        self.links[step, way] = LinkRow(
            step=step, direction=way, status=status, attempts=1, doubt=doubt, sequence=None,
            key=f"{self.seed.name}/{step}/{way}",
        )  # fmt: skip

    def _settle(self, status: str) -> None:
        self.row = replace(self.row, status=status, owner=None, settled_at=self.world.now)

    def _context(self, step: str | None) -> dict[str, Any]:
        done = [s for (s, way), row in self.links.items() if way == "do" and row.status == "landed"]
        undone = [s for (s, w), row in self.links.items() if w == "undo" and row.status == "landed"]
        unknown = [s for (s, _), row in self.links.items() if row.doubt or row.status == "started"]
        standing = [
            name for name in done
            if name not in undone and self.kind(name, "do") is not Kind.READ
        ]  # fmt: skip
        return {
            "cause": "", "stuck": None if step is None else {"step": step}, "undone": undone,
            "standing": [{"step": name} for name in standing], "unknown": unknown,
            "would_undo": [name for name in reversed(done) if self._remains(name, undone)],
        }  # fmt: skip

    def _remains(self, step: str, undone: list[str]) -> bool:
        undoable = self.seed.shape.steps[int(step[1:]) - 1][1] is not None
        return undoable and step not in undone


def drive(world: World, seed: RunSeed) -> Scribe:
    """A whole run without a fault, as its name says that it ends."""
    scribe, refused = world.submit(seed.name, seed.shape), refusals(seed.name)
    done: list[str] = []
    for index in range(len(seed.shape.steps)):
        step = f"s{index + 1}"
        if index == refused.forward:
            scribe.refused(step)
            return _back(scribe, step, done)
        scribe.perform(step)
        done.append(step)
    return scribe.end("succeeded")


def _back(scribe: Scribe, failed: str, done: Iterable[str]) -> Scribe:
    shape, refused = scribe.seed.shape, refusals(scribe.seed.name)
    if shape.pivot is not None and int(failed[1:]) - 1 > shape.pivot:
        return scribe.escalate("failed_after_pivot", failed)
    for step in reversed(list(done)):
        index = int(step[1:]) - 1
        if shape.steps[index][1] is None:
            continue
        if index == refused.undo:
            scribe.refused(step, "undo")
            return scribe.escalate("compensation_failed", step, "undo")
        scribe.undo(step)
    return scribe.end("compensated")
