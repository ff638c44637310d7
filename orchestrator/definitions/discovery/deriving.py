"""A proposal as the `x-compensation` of a step: what was discovered, in the document's own terms.

Values of the step's own request are copied from the document (they say the same when the undo
runs); values of its answer become outputs of the step; what has to be read before becomes a step
before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.definitions.discovery.evidence import Kind, Proposal
from orchestrator.definitions.discovery.steps import StepProposal
from orchestrator.definitions.discovery.survey import Facts, Survey
from orchestrator.definitions.values import ABSENT, dig

_PARTS = re.compile(r"\$(?:before\.statusCode|statusCode|(?:before|response)\.body#[\w/~.-]*)")
_WORD = re.compile(r"[^A-Za-z0-9]+")


class CannotDerive(Exception):
    """The document does not say what the undo needs. The text says what is missing."""


@dataclass(slots=True)
class Derived:
    """What is to be written into the document."""

    compensation: dict[str, Any] | list[dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)  # more outputs of the step
    read_step: dict[str, Any] | None = None  # a step to be put before it


def derive(found: StepProposal, survey: Survey) -> Derived:
    """What `--write` puts into the document. Raises CannotDerive."""
    proposal = found.proposal
    if proposal.kind is Kind.NONE_NEEDED:
        return Derived({"none": proposal.reasons[0], "x-derived": _derived_from(proposal)})
    if proposal.undo is None:
        raise CannotDerive("nothing is proposed: " + "; ".join(proposal.reasons))
    derived = Derived()
    first = _Deriver(found, proposal.undo, survey, derived).compensation()
    derived.compensation = first
    other = proposal.otherwise
    if other is not None and other.undo is not None:
        case = replace(found, proposal=other)
        as_well = Derived(outputs=dict(derived.outputs), read_step=derived.read_step)
        try:
            second = _Deriver(case, other.undo, survey, as_well).compensation()
        except CannotDerive:  # then one case is better than none
            return derived
        as_well.compensation = [first, second]
        return as_well
    return derived


def _derived_from(proposal: Proposal) -> dict[str, Any]:
    return {
        "rule": proposal.rule, "confidence": proposal.confidence,
        "evidence": list(proposal.reasons),
    }  # fmt: skip


class _Deriver:
    """Makes one compensation."""

    def __init__(self, found: StepProposal, undo: Facts, survey: Survey, derived: Derived) -> None:
        self._found, self._undo, self._step = found, undo, found.at
        self._survey = survey
        self._derived = derived  # more outputs, and what is read before
        self._read_id = f"read-before-{found.step}"

    def compensation(self) -> dict[str, Any]:
        """As it stands in the document. Raises CannotDerive."""
        proposal = self._found.proposal
        compensation = _target(self._undo, self._survey)
        parameters = self._parameters(proposal.parameters)
        if parameters:
            compensation["parameters"] = parameters
        body = self._body(proposal.parameters)
        if body is not ABSENT:
            compensation["requestBody"] = {"contentType": self._content_type(), "payload": body}
        if proposal.only_if is not None:
            condition = _PARTS.sub(lambda m: self._value(m[0]), proposal.only_if)
            compensation["onlyIf"] = [{"condition": condition}]
        if (how := self._idempotency()) is not None:
            compensation["x-idempotency"] = how
        return compensation | {"kind": "reverse", "x-derived": _derived_from(proposal)}

    def _idempotency(self) -> dict[str, Any] | None:
        """Why the undo may be sent again when nobody knows whether it arrived."""
        if self._undo.idempotency_header is not None:
            return {"in": "header", "name": self._undo.idempotency_header}
        if self._undo.method == "DELETE" and not self._found.proposal.is_assumed:
            return {"by": "client-id", "alreadyDone": [404]}
        # RFC 9110, 9.2.2: the same DELETE or PUT again has no effect beyond the first.
        return {"by": "client-id"} if self._undo.method in ("DELETE", "PUT") else None

    # --- the request ------------------------------------------------------------------------------

    def _parameters(self, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = []
        for key, value in given.items():
            place, _, name = key.partition(".")
            if place == "body":
                continue
            declared = self._undo.parameter(name, place)
            needed = place == "path" or (declared is not None and declared.required)
            real = self._find(str(value), needed=needed)
            if real is not ABSENT:
                found.append({"name": name, "in": place, "value": real})
        return found

    def _body(self, given: Mapping[str, Any]) -> Any:
        body: Any = ABSENT
        for key, value in given.items():
            if not key.startswith("body."):
                continue
            pointer = key.removeprefix("body.")
            if pointer == "*":
                return self._find(str(value), needed=True)
            declared = self._undo.request.at(pointer)
            needed = declared is not None and declared.required
            if not needed and not self._is_changed(pointer):
                continue
            real = self._find(str(value), needed=needed)
            if real is not ABSENT:
                body = {} if body is ABSENT else body
                _put(body, _tokens(pointer), real)
        return body

    def _is_changed(self, pointer: str) -> bool:
        """Of a partial update only what the step itself sets is set back."""
        is_partial = self._found.proposal.kind is Kind.RESTORE_PREVIOUS
        if not is_partial or self._undo.method == "PUT":
            return True
        payload = self._payload()
        return not isinstance(payload, Mapping) or dig(payload, _tokens(pointer)) is not ABSENT

    def _content_type(self) -> str:
        types = self._undo.content_types
        return next(
            (each for each in types if "json" in each), types[0] if types else "application/json"
        )

    # --- values -----------------------------------------------------------------------------------

    def _find(self, expression: str, *, needed: bool) -> Any:
        """The value in the document's own terms; ABSENT for one that need not be given."""
        if expression.startswith("literal:"):
            return expression.removeprefix("literal:")
        if not expression.startswith("$request."):
            return self._value(expression)
        found = self._of_request(expression)
        if found is ABSENT and needed:
            raise CannotDerive(f"the step {self._found.step} does not say {expression}")
        return found

    def _of_request(self, expression: str) -> Any:
        place, _, rest = expression.removeprefix("$request.").partition(".")
        if place.startswith("body#"):
            return self._of_payload(place.removeprefix("body#") + ("." + rest if rest else ""))
        for item in self._step.items("parameters"):
            if item.is_object() and (item.value.get("name"), item.value.get("in")) == (rest, place):
                return item.value.get("value", ABSENT)
        return ABSENT

    def _of_payload(self, pointer: str) -> Any:
        payload = self._payload()
        if isinstance(payload, str) and payload.startswith("$"):
            return self._output(f"$request.body#{pointer}")
        return dig(payload, _tokens(pointer))

    def _payload(self) -> Any:
        body = self._step.get("requestBody")
        return ABSENT if body is None or not body.has("payload") else body.value["payload"]

    def _value(self, expression: str) -> str:
        """A value of the answer, or of what was read before."""
        if not expression.startswith("$before."):
            return self._output(expression)
        if expression == "$before.statusCode":
            return self._before("status", "$statusCode")
        pointer = expression.removeprefix("$before.body#")
        return self._before("body", "$response.body") + (f"#{pointer}" if pointer else "")

    def _output(self, expression: str) -> str:
        """An output of the step with that value: one that it has, or a new one."""
        for name, item in self._step.entries("outputs"):
            if item.value == expression:
                return f"$steps.{self._found.step}.outputs.{name}"
        last = _WORD.sub("", expression.rpartition("/")[2].removeprefix("$")) or "body"
        taken = {name for name, _ in self._step.entries("outputs")}
        name = next(n for n in _names(last) if n not in taken and self._is_free(n, expression))
        self._derived.outputs[name] = expression
        return f"$steps.{self._found.step}.outputs.{name}"

    def _is_free(self, name: str, expression: str) -> bool:
        return self._derived.outputs.get(name, expression) == expression

    def _before(self, name: str, expression: str) -> str:
        if self._derived.read_step is None:
            self._derived.read_step = self._reading()
        self._derived.read_step["outputs"][name] = expression
        return f"$steps.{self._read_id}.outputs.{name}"

    def _reading(self) -> dict[str, Any]:
        read = self._found.proposal.read_before
        if read is None:
            raise CannotDerive("nothing is known that reads what was there before")
        step: dict[str, Any] = {"stepId": self._read_id, **_target(read.operation, self._survey)}
        parameters = []
        for key, value in read.parameters.items():
            place, _, name = key.partition(".")
            real = self._find(value, needed=True)
            if isinstance(real, str) and real.startswith(f"$steps.{self._found.step}."):
                raise CannotDerive(f"{key} of {read.operation.operation_id} is not known before")
            parameters.append({"name": name, "in": place, "value": real})
        if parameters:
            step["parameters"] = parameters
        good = "$statusCode >= 200 && $statusCode < 300"
        # Where both cases are undone, the step may well be the one that makes it.
        proposal = self._found.proposal
        if "$before.statusCode" in (proposal.only_if or "") or proposal.otherwise is not None:
            good += " || $statusCode == 404"
        return step | {"successCriteria": [{"condition": good}], "outputs": {}}


def _target(facts: Facts, survey: Survey) -> dict[str, Any]:
    """How a step calls the operation; by its path where it has no id."""
    if facts.operation_id == facts.where:
        path = facts.path.replace("~", "~0").replace("/", "~1")
        url = f"{{$sourceDescriptions.{facts.api}.url}}"
        return {"operationPath": f"{url}#/paths/{path}/{facts.method.lower()}"}
    if sum(each.operation_id == facts.operation_id for each in survey.operations) == 1:
        return {"operationId": facts.operation_id}
    return {"operationId": f"$sourceDescriptions.{facts.api}.{facts.operation_id}"}


def _tokens(pointer: str) -> list[str | int]:
    return [t.replace("~1", "/").replace("~0", "~") for t in pointer.split("/")[1:]]


def _put(body: dict[str, Any], tokens: list[str | int], value: Any) -> None:
    for token in tokens[:-1]:
        body = body.setdefault(str(token), {})
    body[str(tokens[-1])] = value


def _names(first: str) -> Iterator[str]:
    yield first
    for number in range(2, 1000):
        yield f"{first}{number}"
