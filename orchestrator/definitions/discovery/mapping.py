"""Where the values of an undo come from: the forward call's parameters, body and answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.definitions.discovery.evidence import Candidate
from orchestrator.definitions.discovery.lexicon import OWN_KEY, joined, singular, words_of
from orchestrator.definitions.discovery.schemas import Field
from orchestrator.definitions.discovery.survey import Facts

_NOT_BUSINESS = frozenset({
    "accept", "authorization", "content-type", "idempotency-key", "if-match", "if-none-match",
    "user-agent", "x-request-id",
})  # fmt: skip
_CREDENTIALS = frozenset({"apikey", "clientid", "clientsecret", "secret", "token"})


def resource_of(undo: Facts) -> str:
    """What an undo is about, singular: the last fixed segment before its last parameter."""
    last = max(undo.path_names, default=len(undo.segments))
    before = [part for part in undo.segments[:last] if not part.startswith("{")]
    return singular("".join(words_of(before[-1]))) if before else ""


def shared_path(forward: Facts, undo: Facts) -> dict[str, str]:
    """The undo's path parameters that stand where the forward call has one too."""
    found = {}
    for place, name in undo.path_names.items():
        if undo.stem[:place] != forward.stem[:place]:
            break
        if place in forward.path_names:
            found[f"path.{name}"] = f"$request.path.{forward.path_names[place]}"
    return found


def map_rest(candidate: Candidate) -> None:
    """Values for required parameters and body fields; refutes what cannot be called."""
    map_parameters(candidate)
    given = {key for key in candidate.parameters if key.startswith("body.")}
    if "body.*" not in given:
        _map_body(candidate, given)


def map_parameters(candidate: Candidate) -> None:
    """Values for required parameters alone."""
    undo = candidate.undo
    for parameter in undo.parameters:
        key = f"{parameter.place}.{parameter.name}"
        ignored = parameter.name.lower() in _NOT_BUSINESS or (
            parameter.place == "header" and "version" in parameter.name.lower()
        )
        if not parameter.required or key in candidate.parameters or ignored:
            continue
        value = _value_for(candidate, parameter.name, parameter.enum)
        if value is None:
            candidate.refute(f"nothing gives {key}, which {undo.operation_id} requires")
        else:
            candidate.parameters[key] = value


def map_same_names(candidate: Candidate) -> None:
    """What both calls take under the same name, optional or not: together it says what is meant."""
    forward, undo = candidate.forward, candidate.undo
    means = 0
    for parameter in undo.parameters:
        same = forward.parameter(parameter.name, parameter.place)
        if same is not None and parameter.place != "header":
            candidate.parameters[f"{parameter.place}.{parameter.name}"] = (
                f"$request.{same.place}.{same.name}"
            )
            means += 1
    for name, field in undo.request.top().items():
        other = forward.request.at(field.pointer)
        if other is not None and not OWN_KEY.search(name):
            candidate.parameters[f"body.{field.pointer}"] = f"$request.body#{other.pointer}"
            means += joined(name) not in _CREDENTIALS
    if not means:
        candidate.refute(f"nothing says what {undo.operation_id} is to be done to")


def _map_body(candidate: Candidate, given: set[str]) -> None:
    undo = candidate.undo
    if undo.request.type == "array":
        candidate.refute(f"{undo.operation_id} takes an array")
        return
    for field in undo.request.fields:
        is_leaf = not any(
            other.pointer.startswith(field.pointer + "/") for other in undo.request.fields
        )
        key = f"body.{field.pointer}"
        above = [f"body.{field.pointer[:n]}" for n, c in enumerate(field.pointer) if c == "/" and n]
        if (
            not field.required
            or key in given
            or any(each in candidate.parameters for each in above)
        ):
            continue
        value = _body_value(candidate, field, is_leaf=is_leaf)
        if value is not None:
            candidate.parameters[key] = value
        elif is_leaf and not any(
            field.pointer.startswith(k[5:] + "/")
            for k in candidate.parameters
            if k.startswith("body.")
        ):
            candidate.refute(
                f"nothing gives {field.pointer} of the body that {undo.operation_id} requires"
            )


def _body_value(candidate: Candidate, field: Field, *, is_leaf: bool) -> Any:
    """A whole object only from a field with the same name and place; leaves by their name."""
    if not is_leaf:
        same = candidate.forward.request.at(field.pointer)
        if same is not None and same.required and same.type == field.type and field.depth == 1:
            return f"$request.body#{same.pointer}"
        return None
    return _value_for(candidate, field.name, field.enum, field)


def _value_for(
    candidate: Candidate, name: str, enum: tuple[Any, ...] = (), field: Field | None = None
) -> str | None:
    """A value by exact name: what the caller said first, then what the answer says."""
    if OWN_KEY.search(name):
        return None
    if len(enum) == 1:
        return f"literal:{enum[0]}"
    if field is not None and field.depth > 1:  # inside an object: what the answer says of the thing
        return next(_from_answer(candidate, name), None) or next(
            _from_request(candidate, name), None
        )
    return next(_from_request(candidate, name), None) or next(_from_answer(candidate, name), None)


def _from_request(candidate: Candidate, name: str) -> Iterator[str]:
    forward = candidate.forward
    for place in ("path", "query", "header"):
        parameter = forward.parameter(name, place)
        if parameter is not None and (parameter.required or place == "path"):
            yield f"$request.{place}.{parameter.name}"
    for field in forward.request.named(name):
        if field.required:
            yield f"$request.body#{field.pointer}"


def _from_answer(candidate: Candidate, name: str) -> Iterator[str]:
    resource = resource_of(candidate.undo)
    words = words_of(resource)
    key = joined(name)
    for wanted in (key, key.removeprefix(resource) if words and key != resource else key):
        for field in candidate.forward.answer.named(wanted) if wanted else ():
            if field.depth <= 2 and field.type not in ("array", "object"):
                yield f"$response.body#{field.pointer}"
