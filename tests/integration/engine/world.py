"""An honest API in this process, behind the `Transport` port, and workflows that use it.

For each order it can do and undo steps. It applies effects, honours idempotency keys (the first
answer again, never the effect), counts what is done twice and remembers every request. What it does
badly is decided in advance, by request: see `Fate`.

    POST   /orders/{order}/{step}    do
    DELETE /orders/{order}/{step}    undo
    GET    /orders/{order}/{step}/do or /undo    has it been done?
    GET    /catalogue/{step}         changes nothing
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.retry import RetryPolicy
from orchestrator.errors import HeldUp, InDoubt, NotLanded
from orchestrator.ports import AttemptContext

API = "shop"
KEY_HEADER = "Idempotency-Key"


class Fate(StrEnum):
    """What becomes of one request."""

    WELL = "well"  # applied and answered
    REFUSED = "refused"  # 422, nothing applied
    BUSY = "busy"  # 503, nothing applied
    UNSENT = "unsent"  # no connection
    FORBIDDEN = "forbidden"  # it may not even be sent
    DECLINED = "declined"  # certainly and finally not done, says who was asked
    LOST = "lost"  # no answer, nothing applied
    UNSEEN = "unseen"  # applied, but no answer
    FAILED = "failed"  # applied, but answered with 500
    UNREADABLE = "unreadable"  # applied, but the answer is not JSON
    UNWANTED = "unwanted"  # applied, but the answer says that it is not as wanted
    HUGE = "huge"  # applied, and the answer has an output that is too large to keep


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One request as the API saw it."""

    order: str
    name: str  # "s1" or "s1.undo"; "?" in front for a question
    key: str | None
    body: bytes
    fate: Fate


@dataclass
class Shop:
    """Implements Transport. Safe to use from several threads."""

    sent: list[Sent] = field(default_factory=list)
    applied: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    fates: dict[tuple[str, str], deque[Fate]] = field(default_factory=lambda: defaultdict(deque))
    on_send: Callable[[str], Any] = field(default=lambda name: None)
    other_bytes: list[str] = field(default_factory=list)  # keys that came with another request
    _answers: dict[str, tuple[FrozenRequest, Response]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def will(self, order: str, name: str, *fates: Fate) -> None:
        """Decide about the next requests of this name."""
        self.fates[order, name].extend(fates)

    def times(self, order: str, name: str) -> int:
        """How often it was really done."""
        return self.applied[order].count(name)

    def requests(self, order: str, name: str) -> int:
        """How often it was asked for."""
        return sum(sent.order == order and sent.name == name for sent in self.sent)

    async def send(
        self,
        api: str,
        request: FrozenRequest,
        context: AttemptContext,
        *,
        timeout_seconds: float | None,
    ) -> Response:
        """See Transport."""
        order, name = _address(request)
        waiting = self.on_send(name)
        if waiting is not None:
            await waiting
        if not context.may_leave():
            raise HeldUp(api)
        with self._lock:
            try:
                return self._answer(order, name, request)
            finally:
                if self.sent[-1].fate not in (Fate.UNSENT, Fate.FORBIDDEN):
                    context.trail.base, context.trail.requests = "http://shop.example", 1

    def _answer(self, order: str, name: str, request: FrozenRequest) -> Response:
        fates = self.fates[order, name]
        fate = fates.popleft() if fates else Fate.WELL
        key = dict(request.headers).get(KEY_HEADER)
        self.sent.append(Sent(order=order, name=name, key=key, body=request.body, fate=fate))
        match fate:
            case Fate.UNSENT:
                raise NotLanded("no connection", retryable=True)
            case Fate.FORBIDDEN:
                raise NotLanded("a forbidden address", settles_doubt=False)
            case Fate.DECLINED if not self.times(order, name):
                raise NotLanded("declined")
            case Fate.LOST:
                raise InDoubt("no answer")
            case Fate.BUSY:
                return Response(status=503)
        response = self._replayed(key, request) or self._new(order, name, key, request, fate)
        if fate is Fate.UNSEEN:
            raise InDoubt("no answer")
        return response

    def _replayed(self, key: str | None, request: FrozenRequest) -> Response | None:
        if key is None or key not in self._answers:
            return None
        first, response = self._answers[key]
        if first != request:
            self.other_bytes.append(key)
        return response

    def _new(
        self, order: str, name: str, key: str | None, request: FrozenRequest, fate: Fate
    ) -> Response:
        response = self._performed(order, name, fate)
        if key is not None and fate is not Fate.FAILED:
            self._answers[key] = (request, response)
        if fate is Fate.FAILED and key is not None:
            self._answers[key] = (request, _made(name))  # it knows better when asked again
        return response

    def _performed(self, order: str, name: str, fate: Fate) -> Response:
        if name.startswith("?"):
            done = self.times(order, name[1:])
            return _made(name[1:]) if done else Response(status=404)
        if name.startswith("catalogue"):
            return _made(name)
        if fate is Fate.REFUSED:
            return _json(422, {"code": "refused"})
        self.applied[order].append(name)
        match fate:
            case Fate.FAILED:
                return Response(status=500)
            case Fate.UNREADABLE:
                return Response(status=200, body=b"<html>")
            case Fate.UNWANTED:
                return _json(200, {"id": name, "ok": False})
            case Fate.HUGE:
                return _json(200, {"id": name, "ok": True, "blob": "x" * 10_000})
        return _made(name)


def _made(name: str) -> Response:
    return _json(200, {"id": name, "ok": True})


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(
        status=status, headers={"content-type": "application/json"}, body=json.dumps(body).encode()
    )


def _address(request: FrozenRequest) -> tuple[str, str]:
    parts = request.target.strip("/").split("/")
    if parts[0] == "catalogue":
        return "", f"catalogue.{parts[1]}"
    _, order, step, *asked = parts
    if request.method == "GET":
        return order, f"?{step}" if asked == ["do"] else f"?{step}.undo"
    return order, step if request.method == "POST" else f"{step}.undo"


# --- workflows ------------------------------------------------------------------------------------

PATIENT = RetryPolicy(max_attempts=4, max_elapsed_seconds=None)


class Kind(StrEnum):
    """How a link repeats."""

    KEYED = "keyed"
    VERIFIED = "verified"  # no key, but one can ask whether it is done
    UNKEYED = "unkeyed"
    NONE = "none"  # only reads

    @property
    def effects(self) -> Effects:
        """As the plan says it."""
        plain = {Kind.KEYED: Effects.KEYED, Kind.NONE: Effects.NONE}
        return plain.get(self, Effects.UNKEYED)


def shop_plan(
    steps: Sequence[tuple[Kind, Kind | None]],
    *,
    name: str = "order",
    pivot: int | None = None,
    retry: RetryPolicy = PATIENT,
) -> Plan:
    """Steps s1, s2 … each as (forward kind, kind of its undo or None)."""
    made = [
        shop_step(f"s{number}", name, forward, undo, retry)
        for number, (forward, undo) in enumerate(steps, 1)
    ]
    if pivot is not None:
        made[pivot] = replace(made[pivot], pivot=True)
    schema = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
    return with_digest(
        Plan(
            workflow=name, steps=tuple(made), inputs_schema=schema,
            outputs={"last": f"$steps.s{len(made)}.outputs.id"},
        )
    )  # fmt: skip


def shop_step(
    step: str, workflow: str, forward: Kind, undo: Kind | None, retry: RetryPolicy = PATIENT
) -> PlanStep:
    """One step, by the name that the API knows it by."""
    call = _call(f"{workflow}.{step}", step, "POST", forward, retry)
    if undo is None:
        return PlanStep(id=step, call=call, no_compensation_reason="nothing to undo")
    back = _call(f"{workflow}.{step}.undo", step, "DELETE", undo, retry)
    return PlanStep(id=step, call=call, compensation=Compensation(call=back))


def _call(label: str, step: str, method: str, kind: Kind, retry: RetryPolicy) -> Call:
    if kind is Kind.NONE:
        template: dict[str, Any] = {"kind": "http", "method": "GET", "path": f"/catalogue/{step}"}
        return Call(label=label, api=API, effects=Effects.NONE, template=template, retry=retry)
    template = {
        "kind": "http", "method": method, "path": f"/orders/{{order}}/{step}",
        "parameters": [{"name": "order", "in": "path", "value": "$inputs.order"}],
        "successCriteria": [
            {"condition": "$statusCode == 200 && $response.body#/ok == true"},
        ],
        "outputs": {"id": "$response.body#/id", "blob": "$response.body#/blob"},
    }  # fmt: skip
    if method == "DELETE":  # an undo says what it undoes, as real ones do
        template["requestBody"] = {
            "contentType": "application/json", "payload": {"id": f"$steps.{step}.outputs.id"},
        }  # fmt: skip
    if kind is Kind.KEYED:
        template["idempotencyHeader"] = KEY_HEADER
    verify = _verify(label, step, method) if kind is Kind.VERIFIED else None
    return Call(
        label=label, api=API, effects=kind.effects, template=template, retry=retry, verify=verify
    )


def _verify(label: str, step: str, method: str) -> Call:
    asked = "do" if method == "POST" else "undo"
    template = {
        "kind": "http", "method": "GET", "path": f"/orders/{{order}}/{step}/{asked}",
        "parameters": [{"name": "order", "in": "path", "value": "$inputs.order"}],
        "outputs": {"id": "$response.body#/id"},
    }  # fmt: skip
    return Call(label=f"{label}.verify", api=API, effects=Effects.NONE, template=template)
