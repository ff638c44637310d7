"""Calls that an isolated function asks for: judged, let through the gate, and sent from here.

The sandbox has neither network nor secret. It says an API, a method, a target, headers and a body;
what it may call is what its declaration names *and* the settings grant to its module. The request
then goes the way of any other: gate, credentials, egress guard, bounds of the answer.

What a call may do follows from the effects of the function, which are those of its step:

* `none`: GET and HEAD alone. The function may be repeated at will.
* `keyed`: others where the API honours idempotency keys. The key is worked out from the step's own
  (run, step, iteration, direction), the number of the call in this attempt, and what is called; so
  the same function that is called again with the same arguments, and asks the same again, has each
  effect once.
* `unkeyed`: others too; the step is then never repeated while it is in doubt.

A function that fails after one of its calls may have landed leaves its step in doubt, whatever it
says itself.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import orjson

from orchestrator.core.exchange import FrozenRequest, Outcome, Response
from orchestrator.core.plan import Effects
from orchestrator.core.states import Direction
from orchestrator.definitions.tasks import Task
from orchestrator.errors import (
    HeldUp,
    InDoubt,
    InvalidSetting,
    NoCredential,
    NotLanded,
    NotSent,
    Problem,
)
from orchestrator.ports import AttemptContext, Gate, GateBusy, Seen, Transport, Visit

Grants = Mapping[str, Mapping[str, str]]
"""By module or package: which APIs, and the header in which each honours keys; "": in none."""

MOST_CALLS = 200
"""Of one attempt."""
_MOST_HELD_UP = 5
_HARMLESS = frozenset({"GET", "HEAD"})
_METHODS = frozenset({*_HARMLESS, "POST", "PUT", "PATCH", "DELETE"})
_TARGET = re.compile(r"/[!-~]*")
_STEPS_UP = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:[/?;]|$)", re.IGNORECASE)
_FORBIDDEN = frozenset({"authorization", "cookie", "proxy-authorization", "host", "forwarded"})


class ApiDesk:
    """Sends calls of isolated functions. One for each process, used by its event loop."""

    def __init__(self, gate: Gate, http: Transport, grants: Grants, *, most_bytes: int) -> None:
        """`most_bytes`: of one answer as a function gets it."""
        self._gate, self._http, self._grants = gate, http, grants
        self._most_bytes = most_bytes

    def calls_of(self, task: Task, key: str, context: AttemptContext) -> ApiCalls:
        """What one attempt of the task may call. `key`: the idempotency key of its step."""
        return ApiCalls(
            self._gate, self._http, granted(task, self._grants), task=task, key=key,
            context=context, most_bytes=self._most_bytes,
        )  # fmt: skip


def granted(task: Task, grants: Grants) -> dict[str, str]:
    """The APIs that it may call, with the header for keys. The closest module speaks."""
    name = task.module
    while name and name not in grants:
        name = name.rpartition(".")[0]
    given = grants.get(name, {})
    return {api: given[api] for api in task.calls if api in given}


def require_grants(tasks: Iterable[Task], grants: Grants) -> None:
    """Raises InvalidSetting where a function says that it calls an API which it may not."""
    problems = [
        Problem(
            place=f"setting isolation.calls, module {task.module}",
            found=f"no grant of {api} ({task.name}, {task.place})",
            wanted=f"{api}: the header in which it honours idempotency keys, or empty; or that the"
            " function does not name it in `calls`",
        )
        for task in tasks
        for api in task.calls
        if api not in granted(task, grants)
    ]
    if problems:
        raise InvalidSetting("isolated tasks call APIs that they may not", problems=problems)


class _Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    api: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: str


class ApiCalls:
    """The calls of one attempt, one after the other."""

    def __init__(
        self, gate: Gate, http: Transport, apis: Mapping[str, str], *, task: Task, key: str,
        context: AttemptContext, most_bytes: int,
    ) -> None:  # fmt: skip
        self._gate, self._http, self._apis = gate, http, apis
        self._task, self._key, self._context = task, key, context
        self._most_bytes = most_bytes
        self._number = 0
        self._turn = asyncio.Lock()
        self.may_have_landed = ""  # the last call that may have had an effect, for people

    async def answer(self, asked: bytes, *, until: float) -> bytes:
        """What the function is told, one line; `until` is a time.monotonic()."""
        try:
            wish = self._read(asked)
            async with self._turn:
                response = await self._sent(wish, until)
        except NotLanded as error:
            told: dict[str, Any] = {"reason": error.reason, "retryable": error.retryable,
                                    "retry_after_seconds": error.retry_after_seconds}  # fmt: skip
            return orjson.dumps({"not_landed": told}) + b"\n"
        except InDoubt as error:
            told = {"reason": error.reason, "retry_after_seconds": error.retry_after_seconds}
            return orjson.dumps({"in_doubt": told}) + b"\n"
        said = {"status": response.status, "headers": dict(response.headers),
                "body": base64.b64encode(response.body).decode()}  # fmt: skip
        return orjson.dumps({"answer": said}) + b"\n"

    async def settled(self) -> None:
        """Until the call under way, which somebody gave up, has ended and been noted."""
        async with self._turn:
            return

    # --- may it? ----------------------------------------------------------------------------------

    def _read(self, asked: bytes) -> _Wish:
        """Raises NotLanded for whatever is not allowed, or is no request."""
        try:
            wish = msgspec.json.decode(asked, type=_Wish)
        except (msgspec.DecodeError, ValueError) as error:
            raise self._refused(f"what is no request ({error})") from error
        if wish.api not in self._apis:
            allowed = ", ".join(sorted(self._apis)) or "none"
            raise self._refused(f"API {wish.api[:60]!r}; wanted one that it may call: {allowed}")
        if wish.method not in _METHODS:
            raise self._refused(
                f"method {wish.method[:20]!r}; wanted {', '.join(sorted(_METHODS))}"
            )
        if not _TARGET.fullmatch(wish.target) or "#" in wish.target or "\\" in wish.target:
            raise self._refused("a target that is no percent-encoded path with a query")
        path = wish.target.partition("?")[0]
        if path.startswith("//") or _STEPS_UP.search(path):
            raise self._refused("a target that leads out of the API's own address")
        for name, value in wish.headers:
            if name.lower() in _FORBIDDEN or name.lower() == self._apis[wish.api].lower():
                raise self._refused(f"header {name.lower()!r}, which is the worker's to say")
            if not {*"\r\n\0"}.isdisjoint(name + value):
                raise self._refused("a header with a line break or NUL")
        if wish.method not in _HARMLESS:
            self._may_change(wish)
        return wish

    def _may_change(self, wish: _Wish) -> None:
        effects = self._task.effects
        if effects is Effects.NONE:
            raise self._refused(f"{wish.method}, with effects none; wanted GET or HEAD")
        if effects is Effects.KEYED and not self._apis[wish.api]:
            raise self._refused(
                f"{wish.method} to {wish.api}, which is not known to honour idempotency keys; "
                "wanted a header for them in isolation.calls, or effects unkeyed"
            )

    def _refused(self, found: str) -> NotLanded:
        return NotLanded(f"task {self._task.name} may not call this: found {found}")

    # --- sending ----------------------------------------------------------------------------------

    async def _sent(self, wish: _Wish, until: float) -> Response:
        self._number += 1
        if self._number > MOST_CALLS:
            raise self._refused(f"more than {MOST_CALLS} calls in one attempt")
        request = self._request(wish)
        operation = f"{wish.method} {wish.target.partition('?')[0]}"
        visit = Visit(
            api=wish.api, operation=operation, run_id=self._context.run_id,
            tenant=self._context.tenant, undo=self._context.direction is Direction.BACKWARD,
            retry=self._context.attempt > 1,
        )  # fmt: skip
        for _ in range(_MOST_HELD_UP):
            try:
                return await self._through_the_gate(wish.api, request, visit, until)
            except HeldUp:
                continue
            except GateBusy as busy:
                why = f"{wish.api} admits nobody in the time that task {self._task.name} has"
                raise NotLanded(why, retryable=True, retry_after_seconds=busy.seconds) from busy
        why = f"{wish.api}: this process came too late to send it, again and again"
        raise NotLanded(why, retryable=True)

    async def _through_the_gate(
        self, api: str, request: FrozenRequest, visit: Visit, until: float
    ) -> Response:
        """Raises GateBusy, HeldUp, NotLanded, InDoubt."""
        patience = max(until - time.monotonic(), 0.0)
        permit = await self._gate.enter(visit, patience_seconds=patience)
        changes = request.method not in _HARMLESS
        begun, seen = time.monotonic(), None
        context = AttemptContext(
            run_id=self._context.run_id, step_id=self._context.step_id,
            attempt=self._context.attempt, direction=self._context.direction,
            tenant=self._context.tenant, trace_headers=self._context.trace_headers,
            may_leave=lambda: permit.fresh and self._context.may_go_on(),
            may_go_on=self._context.may_go_on,
        )  # fmt: skip
        left = max(until - begun, 0.001)
        outcome = Outcome.UNKNOWN
        response: Response | None = None
        try:
            response = await self._http.send(api, request, context, timeout_seconds=left)
            self._bounded(api, response, changes=changes)
            outcome = _outcome(response, changes=changes)
            seen = Seen(outcome=outcome, response=response, seconds=response.seconds)
        except HeldUp:
            permit.hand_back()
            outcome = Outcome.NOT_LANDED
            raise
        except NotLanded as error:
            outcome = Outcome.NOT_LANDED
            of_api = not isinstance(error, NoCredential | NotSent)
            seen = _unanswered(outcome, begun) if of_api else None
            raise
        except InDoubt:
            seen = _unanswered(Outcome.UNKNOWN if changes else Outcome.NOT_LANDED, begun)
            raise
        except asyncio.CancelledError:
            permit.give_up(after_seconds=time.monotonic() - begun, timeout_seconds=left)
            raise
        finally:
            permit.release(seen)
            if changes and context.trail.requests and outcome is not Outcome.NOT_LANDED:
                self.may_have_landed = f"{api} {visit.operation}"
            self._note(api, request, visit, context, response, outcome)
        return response

    def _bounded(self, api: str, response: Response, *, changes: bool) -> None:
        size, most = len(response.body), self._most_bytes
        if size > most:
            why = f"{api}: an answer of {size} bytes; wanted at most {most}"
            raise InDoubt(why) if changes else NotLanded(why)

    def _request(self, wish: _Wish) -> FrozenRequest:
        try:
            body = base64.b64decode(wish.body, validate=True)
        except binascii.Error as error:
            raise self._refused("a body that is not base64") from error
        headers, key, name = tuple(wish.headers), "", self._apis[wish.api]
        if wish.method not in _HARMLESS:
            key = key_of(self._key, self._number, wish.api, wish.method, wish.target)
            headers = (*headers, (name, key)) if name else headers
        return FrozenRequest(
            method=wish.method, target=wish.target, headers=headers, body=body, key=key
        )

    def _note(
        self, api: str, request: FrozenRequest, visit: Visit, context: AttemptContext,
        response: Response | None, outcome: Outcome,
    ) -> None:  # fmt: skip
        """For the audit."""
        told: dict[str, Any] = {"api": api, "operation": visit.operation, "outcome": str(outcome)}
        if request.key:
            told["key"] = request.key
        if context.trail.requests:
            told |= {"sent": context.trail.requests, "base": context.trail.base}
        if context.trail.credential:
            told["credential"] = context.trail.credential
        if response is not None:
            told |= {"status": response.status, "seconds": round(response.seconds, 6)}
        self._context.trail.calls.append(told)


def key_of(step_key: str, number: int, api: str, method: str, target: str) -> str:
    """The idempotency key of a call: the same in each attempt, on each worker."""
    text = "\0".join((step_key, str(number), api, method, target))
    return hashlib.sha256(text.encode()).hexdigest()


def _outcome(response: Response, *, changes: bool) -> Outcome:
    """As far as it shows whether something was changed; what it means, the function judges."""
    if response.status < 400:
        return Outcome.LANDED
    if response.status < 500 or not changes:
        return Outcome.NOT_LANDED
    return Outcome.UNKNOWN


def _unanswered(outcome: Outcome, begun: float) -> Seen:
    return Seen(outcome=outcome, response=None, seconds=time.monotonic() - begun)
