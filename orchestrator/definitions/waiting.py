"""Steps that ask and wait: for a signal from outside, or for a person's approval.

In a document they are the two operations of a source of their own, as tasks are of `tasks:`:

    sourceDescriptions: [{name: people, url: "waits:", type: openapi}]
    steps:
      - stepId: approve
        operationId: $sourceDescriptions.people.approval
        requestBody: {payload: {message: …, show: {amount: $inputs.amount}, timeout: 86400}}

The answer looks like that of any call, so that criteria, outputs and actions say the rest: 200 with
what was sent, 403 where a person rejects, 408 when nobody has answered in time.

    kind: wait
    asks: signal                               asks: approval
    arguments: {signal: paid, timeout: 60}     arguments: {message: …, roles: [approver]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.plan import WAITING, Call, Effects
from orchestrator.core.retry import NO_RETRY
from orchestrator.definitions import encoding
from orchestrator.definitions.expressions import Expression, compile_value
from orchestrator.definitions.inputs import InputsSchema
from orchestrator.definitions.problems import ExpressionError, Path
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import Role

WAITS_URL = "waits:"
WAIT_METHOD = "WAIT"
MAY_DECIDE = (Role.OPERATOR, Role.APPROVER, Role.ADMIN)
KIND = "wait"

_NAME = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,100}$"}
_SECONDS = {"type": "number", "exclusiveMinimum": 0, "maximum": 10 * 366 * 86400}
_OBJECT = {"type": "object"}
_TEXT = {"type": "string", "minLength": 1, "maxLength": 10_000}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """One of the two operations: what it is told, and what its answer holds."""

    name: str
    arguments: Mapping[str, Any]  # JSON schemas by name
    required: tuple[str, ...]
    answers: tuple[str, ...] | None  # names in an answer; None: whatever its sender says

    def check(self, given: Mapping[str, Any]) -> None:
        """Raises InvalidInput naming each argument that is missing, unknown or of a wrong kind."""
        _SCHEMAS[self.name].check(f"an operation {self.name}", given)


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
OPERATIONS = {asking.name: asking for asking in (SIGNAL, APPROVAL)}

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


_STAND_INS: Mapping[str, Any] = {"signal": "any", "message": "any"}
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
        self._asking = OPERATIONS[call.template["asks"]]
        self._arguments = compile_value(call.template.get("arguments", {}), ("arguments",))

    def make(self, scope: Scope, key: str) -> FrozenRequest:
        """Raises RequestRefused, and InvalidInput for arguments of a wrong kind."""
        arguments = self._arguments.resolve(scope)
        self._asking.check(arguments)
        return FrozenRequest(
            method=WAIT_METHOD, target=self._asking.name, body=encoding.json_body(arguments),
            key=key,
        )  # fmt: skip

    def value_of(self, place: str, name: str, scope: Scope) -> Any:
        """A wait has no parameters."""
        return ABSENT

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression, with its place in the template."""
        return self._arguments.expressions()
