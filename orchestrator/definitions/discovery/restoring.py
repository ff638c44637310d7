"""Undoing a change by writing back what was read before it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.definitions.discovery.evidence import Candidate, Kind, Read
from orchestrator.definitions.discovery.judging import same_shape
from orchestrator.definitions.discovery.lexicon import (
    CREATES,
    NOT_CREATING,
    REPLACES,
    UNDO_WORDS,
    UPSERTS,
    joined,
)
from orchestrator.definitions.discovery.mapping import map_rest, shared_path
from orchestrator.definitions.discovery.schemas import Field, Shape
from orchestrator.definitions.discovery.survey import Facts, Survey, id_verb, lead_verb, verbs_of

_FEW_EXTRA = (
    4  # fields of an answer that a whole write-back may carry beside those that are written
)
_RIGHTS = frozenset({"acl", "access", "grant", "permission", "role", "sharing"})


def restore_updated(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """PUT or PATCH of what a GET of the same path reads."""
    if forward.method not in ("PUT", "PATCH") and not _is_update_by_post(forward):
        return
    verbs, said = verbs_of(forward), f"{forward.summary} {forward.description}"
    for read, given in _reads(forward, survey):
        whole = survey.one(forward.stem, "PUT", forward.api)
        undo = whole if forward.method == "PATCH" and whole is not None else forward
        candidate = Candidate("restore-updated", Kind.RESTORE_PREVIOUS, forward, undo, base=0.5)
        lead = lead_verb(forward)
        if verbs and verbs[0] not in REPLACES and set(verbs) & (NOT_CREATING | UNDO_WORDS):
            candidate.refute(
                f"'{verbs[0]}' is more than a change of what {read.operation_id} reads"
            )
        elif lead in CREATES - REPLACES and forward.method != "PUT":
            candidate.refute(f"'{lead}' is more than a change of what {read.operation_id} reads")
        elif set(verbs) & REPLACES:
            candidate.note(
                0.05, f"'{next(v for v in verbs if v in REPLACES)}' changes what is there"
            )
        _write_back(candidate, read, given)
        if 201 in forward.answers and forward.answers.keys() & {200, 204}:
            status = min(forward.answers.keys() & {200, 204})
            candidate.only_if = f"$statusCode == {status}"
            candidate.note(
                -0.02, "201 means that it was new: then nothing was there to be restored"
            )
        elif 201 in forward.answers or lead in CREATES or UPSERTS.search(said):
            candidate.only_if = "$before.statusCode == 200"
            candidate.note(
                -0.05, "it may make something new: then nothing was there to be restored"
            )
        yield candidate


def restore_deleted(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """DELETE of what a PUT of the same path can make again with the same name."""
    if forward.method != "DELETE" or not forward.path_names:
        return
    for undo in survey.at(forward.stem, "PUT", api=forward.api):
        for read, given in _reads(forward, survey, same_path=True):
            candidate = Candidate(
                "restore-deleted", Kind.RESTORE_PREVIOUS, forward, undo, base=0.45
            )
            said = {lead_verb(undo), id_verb(undo)} & {
                "create",
                "add",
            } or "create" in undo.summary_words
            if 201 in undo.answers:
                candidate.note(
                    0.2, f"{undo.operation_id} answers 201 when it makes what is not there"
                )
            elif said:
                candidate.note(0.1, f"{undo.operation_id} says that it creates")
            else:
                candidate.refute(f"nothing says that {undo.operation_id} brings back what is gone")
            held = survey.below(forward)
            if held is not None:
                candidate.refute(f"what it holds is lost with it: {held.path}")
            _write_back(candidate, read, given)
            yield candidate


def _is_update_by_post(facts: Facts) -> bool:
    """POST /customers/{id} that says update."""
    says = {lead_verb(facts), id_verb(facts)} & REPLACES
    return facts.method == "POST" and bool(says) and facts.stem[-1:] == ("{}",)


def _reads(
    forward: Facts, survey: Survey, *, same_path: bool = False
) -> Iterator[tuple[Facts, dict[str, str]]]:
    """The operation that reads what is about to change, with its parameters."""
    read = survey.one(forward.stem, "GET", forward.api)
    if read is not None and read.answer.type != "array":
        if not any(p.required and p.place == "query" for p in read.parameters):
            yield read, shared_path(forward, read)
        return
    below = survey.one((*forward.stem, "{}"), "GET", forward.api)
    if below is None or same_path:
        return
    name = below.path_names[len(below.segments) - 1]
    for wanted in (joined(name), joined(name).removeprefix(joined(forward.segments[-1]))):
        for field in forward.request.named(wanted) if wanted else ():
            if field.depth == 1:
                given = {
                    **shared_path(forward, below),
                    f"path.{name}": f"$request.body#{field.pointer}",
                }
                yield below, given
                return


def _write_back(candidate: Candidate, read: Facts, given: dict[str, str]) -> None:
    candidate.read_before = Read(operation=read, parameters=given)
    candidate.parameters |= shared_path(candidate.forward, candidate.undo)
    written, answered = candidate.undo.request, read.answer
    candidate.note(0.05, f"{read.operation_id} reads what was there before")
    if not written.is_known:
        candidate.refute(f"{candidate.undo.operation_id} takes no body that could bring it back")
    elif not answered.is_known:
        _undescribed(candidate, written)
    else:
        _described(candidate, written, answered)
    map_rest(candidate)


def _undescribed(candidate: Candidate, written: Shape) -> None:
    """What is read is not described: only a clear envelope of the request is trusted."""
    top = written.top()
    envelope = next((each for each in top.values() if joined(each.name) == "data"), None)
    if envelope is None or len(top) > 2:
        candidate.refute("the document does not say what is read, nor how it would be written back")
        return
    candidate.parameters[f"body.{envelope.pointer}"] = f"$before.body#{envelope.pointer}"
    candidate.note(
        0.02,
        f"what is read is not described; {envelope.pointer} is taken to be read as it is written",
    )


def _described(candidate: Candidate, written: Shape, answered: Shape) -> None:
    wanted, there = written.top(), answered.top()
    inner = _envelope(answered, wanted)
    same = same_shape(written, answered)
    data = next((wanted[name] for name in wanted if joined(name) == "data" and name in there), None)
    if (
        same
        and data is not None
        and data.type == "object"
        and set(map(joined, wanted)) - {"data"} <= _RIGHTS
    ):
        candidate.parameters[f"body.{data.pointer}"] = f"$before.body#{data.pointer}"
        candidate.note(
            0.18,
            f"{data.pointer} of what is read can be written back; who may see it stays as it is",
        )
        return
    if same or _fits_whole(written, answered):
        candidate.parameters["body.*"] = "$before.body#"
        candidate.note(0.2 if same else 0.15, "what is read can be written back as it is")
        return
    prefix, source = (inner.pointer, _below(answered, inner)) if inner is not None else ("", there)
    both = {
        name: field for name, field in wanted.items()
        if name in source and _same_type(field, source[name]) and not field.read_only
        and not _lacks(written, field, answered, source[name])
    }  # fmt: skip
    lost = [
        name
        for name, field in wanted.items()
        if field.required and name not in both and len(field.enum) != 1
    ]
    if lost:
        candidate.refute(f"{lost[0]}, which has to be written, cannot be read before")
        return
    writable = [name for name, field in wanted.items() if not field.read_only]
    part = len(both) / max(1, len(writable))
    if part < 0.5:
        candidate.refute(
            f"of {len(writable)} fields that it may change only {len(both)} can be read before"
        )
        return
    for name, field in both.items():
        candidate.parameters[f"body.{field.pointer}"] = f"$before.body#{prefix}/{name}"
    candidate.note(
        0.15 * part,
        f"{len(both)} of {len(writable)} fields can be read before and written back",
    )


def _fits_whole(written: Shape, answered: Shape) -> bool:
    """Whether all that is written can be read, and little else comes with it."""
    wanted, there = written.top(), answered.top()
    if written.closed or not wanted or not wanted.keys() <= there.keys():
        return False
    return len(there.keys() - wanted.keys()) <= _FEW_EXTRA and all(
        _same_type(field, there[name]) and not _lacks(written, field, answered, there[name])
        for name, field in wanted.items()
    )


def _lacks(written: Shape, field: Field, answered: Shape, source: Field) -> bool:
    """Whether an object that is read lacks something that it needs when it is written."""
    inside = field.pointer + "/"
    there = {each.pointer.removeprefix(source.pointer) for each in answered.fields}
    return any(
        each.needed and each.pointer.removeprefix(field.pointer) not in there
        for each in written.fields if each.pointer.startswith(inside)
    )  # fmt: skip


def _envelope(answered: Shape, wanted: dict[str, Field]) -> Field | None:
    """The one object in the answer that holds what is written, as {"droplet": {…}}."""
    top = answered.top()
    objects = [each for each in top.values() if each.type == "object"]
    if len(objects) == 1 and len(top) <= 2 and not wanted.keys() & top.keys():
        return objects[0]
    return None


def _below(shape: Shape, outer: Field) -> dict[str, Field]:
    above = outer.pointer + "/"
    return {
        f.name: f
        for f in shape.fields
        if f.depth == outer.depth + 1 and f.pointer.startswith(above)
    }


def _same_type(left: Field, right: Field) -> bool:
    """Whether a value that is read (right) may be written (left)."""
    if left.enum and right.enum and not set(right.enum) <= set(left.enum):
        return False
    return (
        "" in (left.type, right.type)
        or left.type == right.type
        or {left.type, right.type} == {"integer", "number"}
    )
