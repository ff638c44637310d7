"""Steps that wait: for a signal from outside, for a person's approval, or for a time alone.

In a document they are the three operations of a source of their own, as tasks are of `tasks:`:

    sourceDescriptions: [{name: people, url: "waits:", type: openapi}]
    steps:
      - stepId: approve
        operationId: $sourceDescriptions.people.approval
        requestBody: {payload: {message: …, show: {amount: $inputs.amount}, timeout: 86400}}

The answer looks like that of any call, so that criteria, outputs and actions say the rest: 200
with what was sent, 403 where a person rejects, 408 when nobody has answered in time. Of a sleep it
is 200 with its time, once that has come.

    kind: wait
    asks: signal                               asks: approval
    arguments: {signal: paid, timeout: 60}     arguments: {message: …, roles: [approver]}

    asks: sleep                                asks: sleep
    arguments: {for: 3600}                     arguments: {until: "2027-01-01T09:00:00Z"}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.plan import WAITING, Call, Effects
from orchestrator.core.retry import NO_RETRY
from orchestrator.definitions import encoding
from orchestrator.definitions.expressions import Expression, compile_value
from orchestrator.definitions.inputs import InputsSchema
from orchestrator.definitions.problems import ExpressionError, Path, shown
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import Role

WAITS_URL = "waits:"
WAIT_METHOD = "WAIT"
MAY_DECIDE = (Role.OPERATOR, Role.APPROVER, Role.ADMIN)
KIND = "wait"

_NAME = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,100}$"}
_LONGEST_SECONDS = 10 * 366 * 86400
_SECONDS = {"type": "number", "exclusiveMinimum": 0, "maximum": _LONGEST_SECONDS}
_OBJECT = {"type": "object"}
_TEXT = {"type": "string", "minLength": 1, "maxLength": 10_000}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """One of the operations: what it is told, and what its answer holds."""

    name: str
    arguments: Mapping[str, Any]  # JSON schemas by name
    required: tuple[str, ...]
    answers: tuple[str, ...] | None  # names in an answer; None: whatever its sender says
    further: Callable[[Mapping[str, Any]], tuple[Problem, ...]] | None = None
    """What is wrong with arguments that fit their schemas."""

    def check(self, given: Mapping[str, Any]) -> None:
        """Raises InvalidInput naming each argument that is missing, unknown or of a wrong kind."""
        _SCHEMAS[self.name].check(f"an operation {self.name}", given)
        problems = () if self.further is None else self.further(given)
        if problems:
            raise InvalidInput(f"an operation {self.name} cannot be done so", problems=problems)


_COMMON = {
    "timeout": _SECONDS,  # from when the run came to wait; none: it waits for ever
    "default": _OBJECT,  # the answer when nobody has given one in time; none: 408
}
SIGNAL = Asking(
    name="signal", arguments={"signal": _NAME, **_COMMON}, required=("signal",), answers=None
)
APPROVAL = Asking(
    name="approval",
    arguments={
        "message": _TEXT,
        "show": _OBJECT,  # what the person sees beside it
        "roles": {"type": "array", "items": {"enum": [*MAY_DECIDE]}, "minItems": 1},
        "requester": {"type": "boolean"},  # whoever it is for may decide as well, see `Waiting`
        "remind": _SECONDS,  # after so long without an answer, and as long again after that
        **_COMMON,
    },
    required=("message",),
    answers=("at", "by", "data", "decision", "reason", "via"),
)


def instant_of(text: str) -> datetime | None:
    """The time in UTC that a text names, in ISO 8601 with its zone; None where it names none."""
    try:
        found = datetime.fromisoformat(text)
        return None if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: the last hours of the year 9999
        return None


def _sleep_problems(given: Mapping[str, Any]) -> tuple[Problem, ...]:
    if len(given) != 1:
        found = "both for and until" if given else "neither for nor until"
        return (Problem(place="/", found=found, wanted="one of the two"),)
    until = given.get("until")
    if until is None or instant_of(until) is not None:
        return ()
    wanted = "a time in ISO 8601 with its zone, as 2027-01-01T09:00:00Z"
    return (Problem(place="/until", found=shown(until), wanted=wanted),)


SLEEP = Asking(
    name="sleep",
    arguments={
        "for": {"type": "number", "minimum": 0, "maximum": _LONGEST_SECONDS},  # once it is come to
        "until": {"type": "string"},  # one that is over is waited for no more
    },
    required=(), answers=("until",), further=_sleep_problems,
)  # fmt: skip
OPERATIONS = {asking.name: asking for asking in (SIGNAL, APPROVAL, SLEEP)}

_SCHEMAS = {
    asking.name: InputsSchema(
        {
            "type": "object", "properties": dict(asking.arguments),
            "required": list(asking.required), "additionalProperties": False,
        }
    )
    for asking in OPERATIONS.values()
}  # fmt: skip


def wait_template(
    asking: Asking, arguments: Mapping[str, Any], *, outputs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The template of a wait. Without `outputs` of its own a step gives all that was answered."""
    template: dict[str, Any] = {"kind": KIND, "asks": asking.name, "arguments": dict(arguments)}
    if outputs:
        return template | {"outputs": dict(outputs)}
    template["resultIsOutputs"] = True
    return template if asking.answers is None else template | {"resultNames": list(asking.answers)}


def wait_call(
    asking: Asking,
    label: str,
    arguments: Mapping[str, Any],
    *,
    outputs: Mapping[str, Any] | None = None,
) -> Call:
    """A step that asks once and waits."""
    return Call(
        label=label, api=WAITING, effects=Effects.NONE, retry=NO_RETRY,
        template=wait_template(asking, arguments, outputs=outputs),
    )  # fmt: skip


def argument_problems(asking: Asking, given: Mapping[str, Any]) -> tuple[Problem, ...]:
    """What is wrong with the arguments as far as they are written out and not worked out later."""
    certain = {name: value for name, value in given.items() if not _is_worked_out(value)}
    unsaid = [name for name in given if name not in certain]
    stand_in = {name: value for name, value in _STAND_INS.items() if name in unsaid}
    try:
        asking.check({**certain, **stand_in})
    except InvalidInput as error:
        return error.problems
    unknown = [name for name in unsaid if name not in asking.arguments]
    wanted = f"arguments of {asking.name}: {', '.join(asking.arguments)}"
    return tuple(Problem(place=f"/{name}", found=name, wanted=wanted) for name in unknown)


_STAND_INS: Mapping[str, Any] = {
    "signal": "any", "message": "any", "for": 1, "until": "2000-01-01T00:00:00Z",
}  # fmt: skip
"""For required arguments that only a run tells."""


def _is_worked_out(value: Any) -> bool:
    """Whether there is an expression in it."""
    try:
        return any(True for _ in compile_value(value).expressions())
    except ExpressionError:  # which is noted where it stands
        return True


class WaitRequest:
    """The request of a wait: what is asked, as JSON."""

    def __init__(self, call: Call) -> None:
        self._label, self._written = call.label, call.template.get("arguments", {})
        self._asking = OPERATIONS[call.template["asks"]]
        self._arguments = compile_value(self._written, ("arguments",))

    def make(self, scope: Scope, key: str) -> FrozenRequest:
        """Raises RequestRefused, and InvalidInput for arguments of a wrong kind, which names the
        step, the argument and the expression that it came from.
        """
        arguments = self._arguments.resolve(scope)
        try:
            self._asking.check(arguments)
        except InvalidInput as error:
            problems = [replace(each, place=self._place(each.place)) for each in error.problems]
            raise InvalidInput(f"step {self._label} cannot wait so", problems=problems) from error
        return FrozenRequest(
            method=WAIT_METHOD, target=self._asking.name, body=encoding.json_body(arguments),
            key=key,
        )  # fmt: skip

    def _place(self, place: str) -> str:
        """A place among the arguments, with what is written there where that is worked out."""
        written = self._written.get(place.split("/", 2)[1])
        return f"{place} ({written})" if _is_worked_out(written) else place

    def value_of(self, place: str, name: str, scope: Scope) -> Any:
        """A wait has no parameters."""
        return ABSENT

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression, with its place in the template."""
        return self._arguments.expressions()
