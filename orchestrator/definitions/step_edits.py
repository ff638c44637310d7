"""Other values for what a step sends: a plan in which they stand as if its author had written them.

A value is named by a parameter's name or a field of the payload (of a function: an argument), or by
a JSON pointer into the payload. Only what the document gives can be given another value, and that
keeps its kind: of an input as its schema says, else that of the value which would be sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core.exchange import Facts
from orchestrator.core.plan import Call, PlanStep
from orchestrator.definitions.expressions import Expression, Root, compile_value
from orchestrator.definitions.pointers import pointer_tokens, put
from orchestrator.definitions.problems import ExpressionError, RequestRefused
from orchestrator.definitions.program import Program
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT, json_kind
from orchestrator.errors import InvalidInput, Problem

Edits = Mapping[str, Mapping[str, Any]]
"""Step id -> name -> value."""
_WORKED_OUT = frozenset({"x-first-of", "x-select"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Editable:
    """A value of a step that can be given another one."""

    name: str
    planned: Any  # as it stands in the document, or was edited to
    now: Any  # what would be sent; ABSENT: nothing would, or a step before has not given it yet


def editable(step: PlanStep, facts: Facts) -> list[Editable]:
    """The parameters and the fields of its payload, as far as the document gives them."""
    if step.call.is_local or step.call.is_answered:
        return []
    found = []
    for name in _names(step.call):
        try:
            planned = _value_at(step.call.template, _place(step.call, name), "")
        except _DoesNotFit:  # a field of a body with replacements
            continue
        found.append(Editable(name=name, planned=planned, now=_would_be(step, planned, facts)))
    return found


def edited_program(program: Program, edits: Edits) -> Program:
    """The program of the plan with these values. Raises InvalidInput for those that do not fit."""
    steps = tuple(
        _edited(step, edits[step.id]) if step.id in edits else step for step in program.plan.steps
    )
    return Program(replace(program.plan, steps=steps))


def check_edits(program: Program, step: PlanStep, values: Mapping[str, Any], facts: Facts) -> None:
    """Raises InvalidInput naming each value that cannot stand there, and why."""
    if not values:
        raise _refused([Problem(place="set", found="nothing", wanted="at least one value")])
    if step.call.is_local or step.call.is_answered:
        wanted = "a step that sends something"
        raise _refused(
            [Problem(place=f"step {step.id}", found="one that calls nothing", wanted=wanted)]
        )
    problems = []
    for name, value in values.items():
        try:
            _check(program, step, name, value, facts)
        except _DoesNotFit as error:
            place = f"step {step.id}, {name}"
            problems.append(Problem(place=place, found=error.found, wanted=error.wanted))
    if problems:
        raise _refused(problems)


def _refused(problems: list[Problem]) -> InvalidInput:
    return InvalidInput("the step cannot be edited so", problems=problems)


class _DoesNotFit(ExpressionError):
    """A value that cannot stand where it should."""


def _edited(step: PlanStep, values: Mapping[str, Any]) -> PlanStep:
    template: Mapping[str, Any] = step.call.template
    for name, value in values.items():
        template = _put(template, _place(step.call, name), value)
    return replace(step, call=replace(step.call, template=template))


def _put(template: Mapping[str, Any], place: tuple[str, ...], value: Any) -> Mapping[str, Any]:
    changed = put(_plain(template), place, value)
    assert changed is not ABSENT, "a place that was found is there"
    found: Mapping[str, Any] = changed
    return found


def _plain(value: Any) -> Any:
    """The same in lists and dicts: a plan from Python may hold tuples."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _place(call: Call, name: str) -> tuple[str, ...]:
    """Where it stands in the template. Raises _DoesNotFit."""
    parameters = call.template.get("parameters", ())
    for index, parameter in enumerate(parameters):
        if parameter["name"] == name:
            return ("parameters", str(index), "value")
    body = call.template.get("requestBody")
    root: tuple[str, ...] = ("arguments",) if body is None else ("requestBody", "payload")
    if body is not None and body.get("replacements"):
        raise _DoesNotFit("a body with replacements", "a parameter: these are put in afterwards")
    try:
        tokens = pointer_tokens(name) if name.startswith("/") else (name,)
    except ExpressionError as error:
        raise _DoesNotFit(error.found, error.wanted) from None
    place = (*root, *tokens)
    _value_at(call.template, place, ", ".join(_names(call)) or "none")
    return place


def _names(call: Call) -> list[str]:
    template = call.template
    body = template.get("requestBody", {}).get("payload", template.get("arguments", {}))
    fields = list(body) if isinstance(body, Mapping) and not _WORKED_OUT & set(body) else []
    return [*(each["name"] for each in template.get("parameters", ())), *fields]


def _value_at(value: Any, place: tuple[str, ...], names: str) -> Any:
    for token in place:
        if isinstance(value, Mapping) and token in value and not _WORKED_OUT & set(value):
            value = value[token]
        elif isinstance(value, list | tuple) and token.isdecimal() and int(token) < len(value):
            value = value[int(token)]
        else:
            raise _DoesNotFit("nothing there that the document gives", f"one of: {names}")
    return value


def _check(program: Program, step: PlanStep, name: str, value: Any, facts: Facts) -> None:
    place = _place(step.call, name)
    before = _value_at(step.call.template, place, "")
    try:
        is_literal = not list(compile_value(value).expressions())
    except ExpressionError:
        is_literal = False
    if not is_literal:
        raise _DoesNotFit("a runtime expression", "a value: it is sent as it stands")
    compiled = compile_value(before)
    expressions = [expression for _, expression in compiled.expressions()]
    if [each.text for each in expressions] == [before] and not step.scope:
        (one,) = expressions
        if one.root is Root.INPUTS and not one.accessors:
            _check_input(program, one, value, facts)
            return
    would_be = _would_be(step, before, facts)
    if would_be is not ABSENT and would_be is not None and json_kind(would_be) != json_kind(value):
        raise _DoesNotFit(json_kind(value), json_kind(would_be))


def _would_be(step: PlanStep, planned: Any, facts: Facts) -> Any:
    """What would be sent as things stand; ABSENT: a step before has not given it yet."""
    try:
        return compile_value(planned).resolve(Scope(facts.within(step.scope)))
    except RequestRefused:
        return ABSENT


def _check_input(program: Program, expression: Expression, value: Any, facts: Facts) -> None:
    """Against what the workflow says of this input."""
    try:
        program.check_inputs({**facts.inputs, expression.name: value})
    except InvalidInput as error:
        (first, *_) = error.problems
        raise _DoesNotFit(f"{first.found} (as {expression.text})", first.wanted) from None
