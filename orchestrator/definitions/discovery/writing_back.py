"""How a body that restores is made of what was read: as a whole, or field by field."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.definitions.discovery.evidence import Candidate
from orchestrator.definitions.discovery.judging import same_shape
from orchestrator.definitions.discovery.lexicon import SECRET, joined
from orchestrator.definitions.discovery.schemas import Field, Shape

_FEW_EXTRA = 4  # fields of an answer that a whole body may carry beside those that are written
_RIGHTS = frozenset({"acl", "access", "grant", "permission", "role", "sharing"})
_LEAST_PART = 0.5  # of the fields that a body may change; of fewer it is no restoring


def write_undescribed(candidate: Candidate, written: Shape) -> None:
    """What is read is not described: only a clear envelope of the request is trusted."""
    top = written.top()
    envelope = next((each for each in top.values() if joined(each.name) == "data"), None)
    if envelope is None or len(top) > 2:
        candidate.refute("the document does not say what is read, nor how it would be written back")
        return
    candidate.parameters[f"body.{envelope.pointer}"] = f"$before.body#{envelope.pointer}"
    candidate.is_assumed = True
    text = f"what is read is not described; {envelope.pointer} is taken to be read as it is written"
    candidate.note(0.02, text)


def write_described(candidate: Candidate, written: Shape, answered: Shape) -> None:
    """Fill in the body, or refuse when too little of it can be read."""
    same = same_shape(written, answered)
    data = _data(written)
    if same and data is not None:
        candidate.parameters[f"body.{data.pointer}"] = f"$before.body#{data.pointer}"
        text = f"{data.pointer} of what is read can be written back; who may see it stays as it is"
        candidate.note(0.18, text)
    elif not _has_secrets(written) and (same or _fits_whole(written, answered)):
        candidate.parameters["body.*"] = "$before.body#"
        candidate.note(0.2 if same else 0.15, "what is read can be written back as it is")
    else:
        _by_field(candidate, written, answered)


def _has_secrets(written: Shape) -> bool:
    """Whether it holds what a server hides when it is read: to write that back would destroy it."""
    return any(SECRET.search(each.name) and each.type != "object" for each in written.fields)


def _data(shape: Shape) -> Field | None:
    """The one object beside which there are at most rights: {data, permissions}."""
    top = shape.top()
    data = next((each for name, each in top.items() if joined(name) == "data"), None)
    is_alone = {joined(name) for name in top} - {"data"} <= _RIGHTS
    return data if data is not None and data.type == "object" and is_alone else None


def _by_field(candidate: Candidate, written: Shape, answered: Shape) -> None:
    wanted, there = _content(written), _content(answered)
    writable = {
        key: f for key, f in wanted.items() if not f.read_only and not SECRET.search(f.name)
    }
    both = {
        key: field for key, field in writable.items()
        if key in there and _can_be_written(written, field, answered, there[key])
    }  # fmt: skip
    fixed = {key: field for key, field in wanted.items() if field.needed and len(field.enum) == 1}
    lost = [f.name for key, f in wanted.items() if f.needed and key not in {*both, *fixed}]
    hidden = [each.name for each in wanted.values() if SECRET.search(each.name)]
    if hidden and candidate.undo.method == "PUT":
        candidate.refute(f"{hidden[0]} is not read, and a PUT without it may erase it")
    elif lost:
        candidate.refute(f"{lost[0]}, which has to be written, cannot be read before")
    elif not writable or len(both) < _LEAST_PART * len(writable):
        text = f"of {len(writable)} fields that it may change {len(both)} can be read before"
        candidate.refute(text)
    else:
        for field in fixed.values():
            candidate.parameters[f"body.{field.pointer}"] = f"literal:{field.enum[0]}"
        for key, field in both.items():
            candidate.parameters[f"body.{field.pointer}"] = f"$before.body#{there[key].pointer}"
        text = f"{len(both)} of {len(writable)} fields can be read before and written back"
        candidate.note(0.15 * len(both) / len(writable), text)


def _fits_whole(written: Shape, answered: Shape) -> bool:
    """Whether all that is written can be read, and little else comes with it."""
    wanted, there = _content(written), _content(answered)
    if written.closed or not wanted or not wanted.keys() <= there.keys():
        return False
    return len(there.keys() - wanted.keys()) <= _FEW_EXTRA and all(
        field.pointer == there[key].pointer
        and _can_be_written(written, field, answered, there[key])
        for key, field in wanted.items()
    )


def _content(shape: Shape) -> Mapping[str, Field]:
    """Fields by name in one spelling: of the object itself, or of the one object in it."""
    top = shape.top()
    objects = [each for each in top.values() if each.type == "object"]
    others = {joined(name) for name in top} - {joined(each.name) for each in objects}
    inner = shape.inside(objects[0]) if len(objects) == 1 and others <= _RIGHTS else {}
    return {joined(name): field for name, field in (inner or top).items()}


def _can_be_written(written: Shape, field: Field, answered: Shape, source: Field) -> bool:
    """Whether what is read has a type and a value that may be written, down to its last field."""
    if not _same_type(field, source):
        return False
    inner, there = written.inside(field), answered.inside(source)
    if not there:
        return not any(each.needed for each in inner.values())
    return all(
        _can_be_written(written, each, answered, there[name]) if name in there else not each.needed
        for name, each in inner.items()
    )


def _same_type(left: Field, right: Field) -> bool:
    """Whether a value that is read (right) may be written (left)."""
    if left.enum and right.enum and not set(right.enum) <= set(left.enum):
        return False
    types = {left.type, right.type}
    return "" in types or len(types) == 1 or types == {"integer", "number"}
