"""Runs whose ending is known in advance, and the workflows that they go through.

A run is known to the API by a name that says what is refused for good: `k7-000012-f3-u1` is run 12
of seed 7, whose third step and whose undo of the first one are refused. Everything else that an API
may do badly (drop, delay, refuse for now) does not change how a run ends; only a doubt that nothing
can resolve may leave it with a person instead.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.retry import RetryPolicy
from orchestrator.core.states import RunStatus
from orchestrator.definitions.waiting import APPROVAL, SIGNAL, wait_call

API = "ledger"
KEY_HEADER = "Idempotency-Key"
PAID = "paid"
"""The signal that steps of the kind `told` wait for."""
SHORT, WITHOUT_END = 3.0, 3000.0
"""Seconds that a step waits for an answer."""

# Faults of the network and of the API are bounded by link, so that patience always wins.
PATIENT = RetryPolicy(
    max_attempts=40, first_delay_seconds=0.1, max_delay_seconds=2.0, max_elapsed_seconds=None,
    max_retry_after_seconds=2.0,
)  # fmt: skip


class Kind(StrEnum):
    """How a link may be repeated."""

    KEYED = "keyed"  # the API honours a key
    VERIFIED = "verified"  # it does not, but one can ask whether it is done
    UNKEYED = "unkeyed"  # neither
    READ = "read"  # no effect
    TOLD = "told"  # it waits for the signal `paid`; "refused for good": nobody sends it
    APPROVED = "approved"  # it waits for a person's decision; "refused for good": it is rejected

    @property
    def effects(self) -> Effects:
        """As the plan says it."""
        plain = {Kind.KEYED: Effects.KEYED, Kind.READ: Effects.NONE}
        return plain.get(self, Effects.UNKEYED)

    @property
    def asks(self) -> bool:
        """It calls nothing and waits for somebody's answer."""
        return self in (Kind.TOLD, Kind.APPROVED)

    @property
    def changes(self) -> bool:
        """It has an effect at the API."""
        return self is not Kind.READ and not self.asks

    @property
    def route(self) -> str:
        """The first segment of its path: whether the ledger honours keys there."""
        return {Kind.KEYED: "keyed", Kind.READ: "read"}.get(self, "plain")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A workflow: each step as (forward kind, kind of its undo; None when nothing undoes it)."""

    name: str
    steps: tuple[tuple[Kind, Kind | None], ...]
    pivot: int | None = None  # 0-based

    @cached_property
    def plan(self) -> Plan:
        """What workers drive; published under the shape's name."""
        made = [_step(f"s{n}", self.name, *kinds) for n, kinds in enumerate(self.steps, 1)]
        if self.pivot is not None:
            made[self.pivot] = replace(made[self.pivot], pivot=True)
        schema = {"type": "object", "properties": {"run": {"type": "string"}}, "required": ["run"]}
        return with_digest(
            Plan(
                workflow=self.name, steps=tuple(made), inputs_schema=schema, waits=self.asks
            )
        )  # fmt: skip

    def undoable(self, step: int) -> bool:
        """Whether a compensation with an effect belongs to a step that has one."""
        forward, undo = self.steps[step]
        return forward.changes and undo is not None

    @property
    def asks(self) -> bool:
        """Whether a step of it waits for somebody's answer."""
        return any(forward.asks for forward, _ in self.steps)


K, V, U, R = Kind.KEYED, Kind.VERIFIED, Kind.UNKEYED, Kind.READ
T, A = Kind.TOLD, Kind.APPROVED

SHAPES = (
    Shape(name="all-keyed", steps=((K, K),) * 5),
    Shape(name="short", steps=((K, K), (K, K))),
    Shape(name="one", steps=((K, K),)),
    Shape(name="verified", steps=((V, V),) * 4),
    Shape(name="read-between", steps=((R, None), (K, K), (R, None), (K, K))),
    Shape(name="mixed", steps=((K, K), (V, K), (K, V), (V, V), (K, K))),
    Shape(name="final-unkeyed", steps=((K, K), (K, K), (U, None))),
    Shape(name="unkeyed", steps=((U, K), (K, K), (U, U))),
    Shape(name="no-way-back", steps=((K, None), (K, K), (V, None))),
    Shape(name="pivot", steps=((K, K), (V, K), (K, None), (K, None)), pivot=2),
)
ASKING = (
    Shape(name="approved", steps=((K, K), (A, None), (K, K))),
    Shape(name="told", steps=((K, K), (T, None), (K, K))),
    Shape(name="told-twice", steps=((T, None), (V, K), (T, None), (K, K))),
)
"""Somebody has to answer their runs (`tests/faults/simulation/answering.py`)."""
EVERY = (*SHAPES, *ASKING)
BY_NAME = {shape.name: shape for shape in EVERY}


@dataclass(frozen=True, kw_only=True)
class RunSeed:
    """One run to be submitted, and how it has to end."""

    name: str  # its idempotency key at submit, its input `run`, and its name at the API
    shape: Shape

    @property
    def inputs(self) -> dict[str, Any]:
        """What it is submitted with."""
        return {"run": self.name, **dict(self._patience())}

    def _patience(self) -> Iterator[tuple[str, float]]:
        """Seconds that its waits last: without end, but where nobody is going to answer."""
        unanswered = refusals(self.name).forward
        for index, (forward, _) in enumerate(self.shape.steps):
            if forward.asks:
                is_short = forward is Kind.TOLD and index == unanswered
                yield f"patience_{index + 1}", SHORT if is_short else WITHOUT_END

    @property
    def expected(self) -> RunStatus:
        """How it ends unless a doubt that nothing could resolve stops it."""
        refused = refusals(self.name)
        failing = refused.forward
        if failing is None or failing >= len(self.shape.steps):
            return RunStatus.SUCCEEDED
        if self.shape.pivot is not None and failing > self.shape.pivot:
            return RunStatus.ESCALATED
        stuck = refused.undo is not None and refused.undo < failing
        if stuck and self.shape.undoable(refused.undo or 0):
            return RunStatus.ESCALATED
        return RunStatus.COMPENSATED


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """0-based steps that the API refuses for good (422, nothing applied)."""

    forward: int | None = None
    undo: int | None = None


_REFUSED = re.compile(r"-([fu])(\d+)(?=-|$)")


def refusals(name: str) -> Refusals:
    """What a run's name says that is refused."""
    found = {letter: int(number) - 1 for letter, number in _REFUSED.findall(name)}
    return Refusals(forward=found.get("f"), undo=found.get("u"))


def seeds(seed: int, count: int, *, shapes: Sequence[Shape] = SHAPES) -> Iterator[RunSeed]:
    """`count` runs of a seed, the same ones each time; about half of them fail somewhere."""
    chance = random.Random(seed)
    for number in range(count):
        shape = chance.choice(shapes)
        name = f"k{seed}-{number:06d}"
        failing = chance.randrange(2 * len(shape.steps))
        if failing < len(shape.steps) and shape.steps[failing][0] is not Kind.READ:
            name += f"-f{failing + 1}"
            if failing and chance.random() < 0.1:
                name += f"-u{chance.randrange(failing) + 1}"
        yield RunSeed(name=name, shape=shape)


# --- plans ----------------------------------------------------------------------------------------


def _step(step: str, workflow: str, forward: Kind, undo: Kind | None) -> PlanStep:
    label = f"{workflow}.{step}"
    if forward.asks:
        return PlanStep(id=step, call=_ask(label, step, forward))
    call = _call(label, step, "POST", forward)
    if undo is None:
        return PlanStep(id=step, call=call, no_compensation_reason="nothing to undo")
    back = _call(f"{workflow}.{step}.undo", step, "DELETE", undo)
    return PlanStep(id=step, call=call, compensation=Compensation(call=back))


def _call(label: str, step: str, method: str, kind: Kind) -> Call:
    template: dict[str, Any] = {
        "kind": "http", "method": "GET" if kind is Kind.READ else method,
        "path": f"/{kind.route}/{{run}}/{step}", "parameters": [_RUN],
        "successCriteria": [{"condition": "$statusCode == 200"}],
        "outputs": {"id": "$response.body#/id"},
    }  # fmt: skip
    if method == "DELETE":  # an undo says what it undoes, as real ones do
        payload = {"id": f"$steps.{step}.outputs.id"}
        template["requestBody"] = {"contentType": "application/json", "payload": payload}
    if kind is Kind.KEYED:
        template["idempotencyHeader"] = KEY_HEADER
    verify = _verify(label, step, method) if kind is Kind.VERIFIED else None
    return Call(
        label=label, api=API, effects=kind.effects, template=template, retry=PATIENT,
        verify=verify, timeout_seconds=3.0,
    )  # fmt: skip


def _ask(label: str, step: str, kind: Kind) -> Call:
    until: dict[str, Any] = {"timeout": f"$inputs.patience_{step[1:]}"}
    if kind is Kind.TOLD:
        return wait_call(SIGNAL, label, {"signal": PAID, **until})
    return wait_call(APPROVAL, label, {"message": "May it go on?", **until})


def _verify(label: str, step: str, method: str) -> Call:
    asked = "do" if method == "POST" else "undo"
    template = {
        "kind": "http", "method": "GET", "path": f"/plain/{{run}}/{step}/{asked}",
        "parameters": [_RUN], "outputs": {"id": "$response.body#/id"},
    }  # fmt: skip
    return Call(
        label=f"{label}.verify", api=API, effects=Effects.NONE, template=template,
        timeout_seconds=3.0,
    )  # fmt: skip


_RUN = {"name": "run", "in": "path", "value": "$inputs.run"}
