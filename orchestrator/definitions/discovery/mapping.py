"""Where the values of an undo come from: the forward call's parameters, body and answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.definitions.discovery.evidence import Candidate
from orchestrator.definitions.discovery.lexicon import joined, singular, words_of
from orchestrator.definitions.discovery.schemas import Field, Shape
from orchestrator.definitions.discovery.survey import Facts

_IDENTITIES = ("id", "uuid", "guid", "gid", "sid", "uid")
_NOT_BUSINESS = frozenset({
    "accept", "authorization", "content-type", "idempotency-key", "if-match", "if-none-match",
    "user-agent", "x-request-id",
})  # fmt: skip
_ENVELOPES = frozenset(
    {"data", "item", "object", "payload", "record", "resource", "response", "result"}
)


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


def new_identity(candidate: Candidate) -> str | None:
    """The last path parameter when the forward call does not have it: what names the new thing."""
    names = candidate.undo.path_names
    if not names:
        return None
    name = names[max(names)]
    return None if f"path.{name}" in candidate.parameters else name


def map_identity(candidate: Candidate, name: str) -> str | None:
    """Find the value of the new thing's name; notes how. Returns "response", "request" or None."""
    forward, resource = candidate.forward, resource_of(candidate.undo)
    chosen = _chosen_by_caller(forward, name, resource)
    found = _in_answer(forward.answer, name, resource)
    if chosen is not None and (found is None or not _is_identity(joined(name), resource)):
        candidate.parameters[f"path.{name}"] = f"$request.body#{chosen.pointer}"
        candidate.note(0.02, f"the caller chooses {name} itself: {chosen.pointer} of the request")
        return "request"
    if found is not None:
        pointer, how, weight = found
        candidate.parameters[f"path.{name}"] = f"$response.body#{pointer}"
        candidate.note(
            weight,
            f"the answer's {pointer} is what {candidate.undo.operation_id} takes as {name}: {how}",
        )
        return "response"
    return _assumed(candidate, name, resource)


def _is_identity(key: str, resource: str) -> bool:
    """Whether a name means an identity that servers give (id, zoneId, uuid), not a chosen name."""
    return key in _IDENTITIES or key.endswith(_IDENTITIES[:2]) or key == f"{resource}number"


def _chosen_by_caller(forward: Facts, name: str, resource: str) -> Field | None:
    wanted = [joined(name)]
    if wanted[0].startswith(resource) and len(wanted[0]) > len(resource):
        wanted.append(wanted[0].removeprefix(resource))
    for key in wanted:
        for field in forward.request.named(key):
            is_own = _speaks_of(forward.request, field, resource)
            if is_own and not field.read_only and field.type in ("string", "integer", ""):
                return field
    return None


def _in_answer(answer: Shape, name: str, resource: str) -> tuple[str, str, float] | None:
    """Pointer, why, and weight of the field that names the new thing."""
    key = joined(name)
    bare = key.removeprefix(resource) if key.startswith(resource) and key != resource else ""
    tried: list[tuple[str, str, float]] = [(key, "the same name", 0.1)]
    if bare:
        tried.append((bare, f"{name} is a {resource}'s {bare}", 0.08))
    if _is_identity(key, resource) or key == resource:
        tried += [(each, "the answer's identity", 0.05) for each in _IDENTITIES]
    for wanted, how, weight in tried:
        for field in answer.named(wanted):
            if _speaks_of(answer, field, resource) and field.type in (
                "string",
                "integer",
                "number",
                "",
                "mixed",
            ):
                return field.pointer, how, weight
    return None


def _speaks_of(answer: Shape, field: Field, resource: str) -> bool:
    """Whether a field belongs to the answered thing itself: at the top, or in its envelope."""
    if field.depth == 1:
        return True
    outer = joined(field.pointer.split("/")[1])
    is_alone = (
        sum(1 for each in answer.top().values() if each.type == "object") == 1
        and len(answer.top()) <= 3
    )
    return field.depth == 2 and (
        outer == resource or outer in _ENVELOPES or (is_alone and outer in resource)
    )


def _assumed(candidate: Candidate, name: str, resource: str) -> str | None:
    """An answer that is not described: its id is assumed where the request has its content."""
    answer, undo = candidate.forward.answer, candidate.undo
    if not _is_identity(joined(name), resource):
        return None
    shape = answer if answer.is_known else candidate.forward.request
    wraps = [
        each for each in shape.top().values()
        if joined(each.name) in {*_ENVELOPES, resource} and (each.is_open or not answer.is_known)
    ]  # fmt: skip
    if answer.is_known and not wraps:
        return None
    pointer = f"{wraps[0].pointer if wraps else ''}/id"
    candidate.parameters[f"path.{name}"] = f"$response.body#{pointer}"
    candidate.note(
        -0.1,
        f"the answer is not described: {pointer} is assumed to be {undo.operation_id}'s {name}",
    )
    return "assumed"


# --- everything else that an undo needs -----------------------------------------------------------


def map_rest(candidate: Candidate) -> None:
    """Values for required parameters and body fields; refutes what cannot be called."""
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
    given = {key for key in candidate.parameters if key.startswith("body.")}
    if "body.*" not in given:
        _map_body(candidate, given)


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
        if other is not None:
            candidate.parameters[f"body.{field.pointer}"] = f"$request.body#{other.pointer}"
            means += name != "token"
            if other.type == "array":
                candidate.note(-0.1, f"{field.pointer} may name some that were so before")
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
