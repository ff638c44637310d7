"""Fifty workflows of one to four calls, and runs of them whose ending is known in advance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.service.submitting import Submission

FLOWS = 50
TENANTS = ("t1", "t2", "t3", "t4")
CALL_SECONDS = 5.0
_REFUSED_SHARE = 0.05  # of the runs that have something to undo
_RUN = {"name": "run", "in": "path", "value": "$inputs.run"}
_INPUTS = {"type": "object", "properties": {"run": {"type": "string"}}, "required": ["run"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """A workflow: for each call whether something undoes it."""

    name: str
    undoable: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One run, and how it has to end."""

    name: str  # "<tenant>-<number>", with "-x<step>" where the API refuses it
    flow: Flow
    tenant: str
    refused: int | None = None  # the step, from 1

    @property
    def ending(self) -> str:
        """The status it ends with if all goes well."""
        return "succeeded" if self.refused is None else "compensated"

    @property
    def calls(self) -> int:
        """That it makes when nothing goes wrong."""
        if self.refused is None:
            return len(self.flow.undoable)
        return self.refused + sum(self.flow.undoable[: self.refused - 1])

    @property
    def submission(self) -> Submission:
        """As it is submitted."""
        return Submission(
            workflow=self.flow.name, inputs={"run": self.name}, idempotency_key=self.name,
            tenant=self.tenant, actor="bench",
        )  # fmt: skip


@lru_cache
def flows(api: str) -> Sequence[Flow]:
    """The same fifty each time, over this API."""
    chance = random.Random(50)
    return [
        Flow(
            name=f"{api}-{number:02d}",
            undoable=tuple(chance.random() < 0.5 for _ in range(1 + number % 4)),
        )
        for number in range(FLOWS)
    ]


def runs(api: str, count: int, *, tenant: str | None = None, label: str = "") -> list[Wanted]:
    """So many, over all workflows in turn, of this tenant or of all in turn."""
    chance = random.Random(f"{api}{tenant}{label}")
    return [_wanted(api, number, tenant, label, chance) for number in range(count)]


def plan(api: str, flow: Flow) -> Plan:
    """What workers drive."""
    steps = tuple(_step(api, flow, number) for number in range(1, len(flow.undoable) + 1))
    return with_digest(Plan(workflow=flow.name, steps=steps, inputs_schema=_INPUTS))


def _wanted(api: str, number: int, tenant: str | None, label: str, chance: random.Random) -> Wanted:
    flow = flows(api)[number % FLOWS]
    whose = tenant or TENANTS[number % len(TENANTS)]
    refused = None
    if any(flow.undoable[:-1]) and chance.random() < _REFUSED_SHARE:
        refused = len(flow.undoable)
    ending = "" if refused is None else f"-x{refused}"
    return Wanted(
        name=f"{whose}-{label}{number:06d}{ending}", flow=flow, tenant=whose, refused=refused
    )


def _step(api: str, flow: Flow, number: int) -> PlanStep:
    step, label = f"s{number}", f"{flow.name}.s{number}"
    call = _call(api, label, step, "POST")
    if not flow.undoable[number - 1]:
        return PlanStep(id=step, call=call, no_compensation_reason="nothing to undo")
    undo = _call(api, f"{label}.undo", step, "DELETE")
    return PlanStep(id=step, call=call, compensation=Compensation(call=undo))


def _call(api: str, label: str, step: str, method: str) -> Call:
    template: dict[str, Any] = {
        "kind": "http", "method": method, "path": f"/{{run}}/{step}", "parameters": [_RUN],
        "successCriteria": [{"condition": "$statusCode == 200"}],
        "outputs": {"id": "$response.body#/id"}, "idempotencyHeader": "Idempotency-Key",
    }  # fmt: skip
    return Call(
        label=label, api=api, effects=Effects.KEYED, template=template,
        timeout_seconds=CALL_SECONDS,
    )  # fmt: skip
