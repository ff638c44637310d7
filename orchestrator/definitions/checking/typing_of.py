"""Which schema the value of an expression has."""

from __future__ import annotations

from orchestrator.definitions.checking.reading import Call, Flow
from orchestrator.definitions.checking.schemas import Schema, local_follower
from orchestrator.definitions.expressions import Expression, Root, parse_expression
from orchestrator.definitions.problems import ExpressionError

_MOST_HOPS = 8  # outputs that are made of outputs


def schema_of(
    expression: Expression, call: Call | None, flow: Flow, hops: int = 0
) -> Schema | None:
    """The schema of an expression's value, seen from a call; None when nothing tells."""
    match expression.root:
        case Root.INPUTS:
            return inputs_of(flow).at((expression.name, *expression.accessors))
        case Root.STEPS:
            return _of_output(expression, flow, hops)
        case Root.STATUS:
            return Schema({"type": "integer"}, lambda value: value)
        case Root.URL | Root.METHOD:
            return Schema({"type": "string"}, lambda value: value)
        case Root.RESPONSE_BODY:
            return body_part(call, expression.accessors) if call is not None else None
        case Root.RESPONSE_HEADER if call is not None and call.api is not None:
            return call.api.header(expression.name)
        case _:
            return None


def inputs_of(flow: Flow) -> Schema:
    """The schema of a workflow's inputs."""
    given = flow.at.value.get("inputs")
    return Schema(given if given is not None else {}, local_follower(flow.document.root.value))


def body_part(call: Call, accessors: tuple[str | int, ...]) -> Schema | None:
    """The schema of a part of the answer; None when it is not known, or there is no such part."""
    parts = [part for part in body_parts(call, accessors) if part is not None]
    return parts[0] if len(parts) == 1 else None


def body_parts(call: Call, accessors: tuple[str | int, ...]) -> list[Schema | None]:
    """For each documented success what stands there, None where nothing does."""
    answers = call.api.answers() if call.api is not None else None
    return [] if answers is None else [answer.at(accessors) for answer in answers]


def _of_output(expression: Expression, flow: Flow, hops: int) -> Schema | None:
    step = flow.step(expression.step)
    at = step.call.outputs().get(expression.name) if step is not None else None
    if step is None or at is None or not isinstance(at.value, str) or hops > _MOST_HOPS:
        return None
    try:
        parsed = parse_expression(at.value)
    except ExpressionError:  # publishing says so, at its place
        return None
    found = schema_of(parsed, step.call, flow, hops + 1)
    return None if found is None else found.at(expression.accessors)
