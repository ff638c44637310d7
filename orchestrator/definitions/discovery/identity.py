"""Which value names the new thing, and who gave it: the server or the caller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.definitions.discovery.evidence import Candidate
from orchestrator.definitions.discovery.lexicon import RELATES, joined
from orchestrator.definitions.discovery.mapping import resource_of
from orchestrator.definitions.discovery.schemas import Field, Shape
from orchestrator.definitions.discovery.survey import Facts

_IDENTITIES = ("id", "uuid", "guid", "gid", "sid", "uid")
_ENVELOPES = frozenset({
    "data", "item", "object", "payload", "record", "resource", "response", "result",
})  # fmt: skip
_NAMES = ("string", "integer", "number", "", "mixed")  # types that a name may have
_FEW = 3


class Named(StrEnum):
    """Who named the thing that an undo removes."""

    SERVER = "server"  # the answer gives a new identity
    CALLER = (
        "caller"  # the caller chose it, or it is another thing's: it may have been there before
    )
    ASSUMED = "assumed"  # the answer is not described
    LINK = "link"  # a link of the document says so


@dataclass(frozen=True, slots=True)
class _Found:
    """A field of the answer that may be the identity."""

    field: Field
    why: str
    weight: float


def new_identity(candidate: Candidate) -> str | None:
    """The last path parameter when the forward call does not have it: what names the new thing."""
    names = candidate.undo.path_names
    if not names:
        return None
    name = names[max(names)]
    return None if f"path.{name}" in candidate.parameters else name


def map_identity(candidate: Candidate, name: str) -> Named | None:
    """Find the value of the new thing's name, and who gave it; None when nothing gives it."""
    forward, resource, key = candidate.forward, resource_of(candidate.undo), joined(name)
    chosen = _chosen_by_caller(forward, name, resource)
    found = _in_answer(forward.answer, name, resource)
    if chosen is not None and (
        found is None or chosen.needed or not _is_own(key, resource)
        # It gives a user_id and is answered an id: of a user that there is.
        or joined(chosen.name) == key != joined(found.field.name)
    ):  # fmt: skip
        candidate.parameters[f"path.{name}"] = f"$request.body#{chosen.pointer}"
        candidate.note(0.02, f"the caller chooses {name} itself: {chosen.pointer} of the request")
        return Named.CALLER
    if found is None:
        return _assumed(candidate, name, resource)
    undo, pointer = candidate.undo, found.field.pointer
    candidate.parameters[f"path.{name}"] = f"$response.body#{pointer}"
    text = f"the answer's {pointer} is what {undo.operation_id} takes as {name}: {found.why}"
    candidate.note(found.weight, text)
    _check_only_one(candidate, found.field, key)
    is_callers = _was_given(forward, pointer)
    is_others = joined(found.field.name) == key and _is_identity(key, resource)
    is_others = is_others and not _is_own(key, resource)
    return Named.CALLER if is_callers or is_others else Named.SERVER


def _was_given(forward: Facts, pointer: str) -> bool:
    """Whether the caller gives the value that stands at a pointer of the answer."""
    said = forward.request.at(pointer)
    if said is None:
        return False
    is_small = len(forward.request.top()) < _FEW
    if RELATES.search(f"{forward.operation_id} {forward.summary}"):
        return True
    return not said.read_only and (said.needed or is_small)


def _check_only_one(candidate: Candidate, field: Field, key: str) -> None:
    """An `id` beside a `ticket_id`: one of them is a number for people, and nothing tells which."""
    above = field.pointer.rpartition("/")[0]
    beside = candidate.forward.answer.at(f"{above}/id")
    if beside is not None and joined(field.name) == key != "id":
        text = f"{field.pointer} or {beside.pointer}: nothing tells which of them names it"
        candidate.refute(text)


def _is_identity(key: str, resource: str) -> bool:
    """Whether a name means an identity that servers give (id, zoneId, uuid), not a chosen name."""
    return key in _IDENTITIES or key.endswith(_IDENTITIES[:2]) or key == f"{resource}number"


def _is_own(key: str, resource: str) -> bool:
    """Whether an identity is that of the resource: zoneId of a dnsZone, not userId of a member."""
    if not _is_identity(key, resource):
        return False
    ends = [end for end in (*_IDENTITIES, "number") if key.endswith(end)]
    return any(resource.endswith(key.removesuffix(end)) for end in ends)


def _bare(key: str, resource: str) -> str:
    """pspReference of a paymentPspReference; "" where the name has nothing of the resource's."""
    return key.removeprefix(resource) if key.startswith(resource) and key != resource else ""


def _chosen_by_caller(forward: Facts, name: str, resource: str) -> Field | None:
    key = joined(name)
    for wanted in (key, _bare(key, resource)):
        for field in forward.request.named(wanted) if wanted else ():
            is_own = _speaks_of(forward.request, field, resource)
            if is_own and not field.read_only and field.type in ("string", "integer", ""):
                return field
    return None


def _in_answer(answer: Shape, name: str, resource: str) -> _Found | None:
    """The field that names the new thing."""
    for wanted, why, weight in _spellings(name, resource):
        for field in answer.named(wanted):
            if _speaks_of(answer, field, resource) and field.type in _NAMES:
                return _Found(field, why, weight)
    return None


def _spellings(name: str, resource: str) -> Iterator[tuple[str, str, float]]:
    key = joined(name)
    yield key, "the same name", 0.1
    if bare := _bare(key, resource):
        yield bare, f"{name} is a {resource}'s {bare}", 0.08
    if _is_identity(key, resource) or key == resource:
        for each in _IDENTITIES:
            yield each, "the answer's identity", 0.05


def _speaks_of(answer: Shape, field: Field, resource: str) -> bool:
    """Whether a field belongs to the answered thing itself: at the top, or in its envelope."""
    if field.depth == 1:
        return True
    top = answer.top()
    outer = joined(field.pointer.split("/")[1])
    objects = sum(1 for each in top.values() if each.type == "object")
    is_alone = objects == 1 and len(top) <= _FEW and outer in resource
    return field.depth == 2 and (outer == resource or outer in _ENVELOPES or is_alone)


def _assumed(candidate: Candidate, name: str, resource: str) -> Named | None:
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
    candidate.is_assumed = True
    text = f"the answer is not described: {pointer} is assumed to be {undo.operation_id}'s {name}"
    candidate.note(-0.1, text)
    return Named.ASSUMED
