"""Undoing a change by writing back what was read before it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.definitions.discovery.evidence import Candidate, Kind, Read
from orchestrator.definitions.discovery.lexicon import (
    CREATES,
    NOT_CREATING,
    REPLACES,
    SENT,
    UNDO_WORDS,
    UPSERTS,
    joined,
)
from orchestrator.definitions.discovery.mapping import (
    map_parameters,
    map_rest,
    resource_of,
    shared_path,
)
from orchestrator.definitions.discovery.survey import Facts, Survey, id_verb, lead_verb, verbs_of
from orchestrator.definitions.discovery.writing_back import write_described, write_undescribed

_FEW_EXTRA = (
    4  # fields of an answer that a whole write-back may carry beside those that are written
)
_RIGHTS = frozenset({"acl", "access", "grant", "permission", "role", "sharing"})


_PAGE_FIELDS = 3  # the items, and what tells where the next ones are


def restore_updated(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """PUT or PATCH of what a GET of the same path reads."""
    if forward.method not in ("PUT", "PATCH") and not _is_update_by_post(forward):
        return
    for read, given in _reads(forward, survey):
        whole = survey.one(forward.stem, "PUT", forward.api)
        undo = whole if forward.method == "PATCH" and whole is not None else forward
        candidate = Candidate("restore-updated", Kind.RESTORE_PREVIOUS, forward, undo, base=0.5)
        _judge_change(candidate, read)
        _write_back(candidate, read, given)
        _judge_new(candidate)
        yield candidate


def _judge_change(candidate: Candidate, read: Facts) -> None:
    """Does it only change what is there?"""
    forward, verbs = candidate.forward, verbs_of(candidate.forward)
    changes = {*forward.summary_words, *forward.id_words} & REPLACES
    known = next((verb for verb in verbs if verb in REPLACES), None)
    is_first = bool(verbs) and verbs[0] in REPLACES
    moves = not is_first and {*verbs} & (NOT_CREATING | UNDO_WORDS)
    makes = {*verbs} & CREATES and (forward.method != "PUT" or not changes)
    if moves or makes:
        candidate.refute(f"'{verbs[0]}' is more than a change of what {read.operation_id} reads")
    elif known is not None:
        candidate.note(0.05, f"'{known}' changes what is there")


def _judge_new(candidate: Candidate) -> None:
    """Where it may make something new there is nothing to be restored, and somebody has to know."""
    forward = candidate.forward
    said = UPSERTS.search(f"{forward.summary} {forward.description}")
    if 201 in forward.answers and forward.answers.keys() & {200, 204}:
        status = min(forward.answers.keys() & {200, 204})
        candidate.only_if = f"$statusCode == {status}"
        candidate.note(-0.02, "201 means that it was new: then nothing is restored")
    elif 201 in forward.answers or lead_verb(forward) in CREATES or said:
        candidate.only_if = "$before.statusCode == 200"
        candidate.note(-0.05, "where it makes something new, nothing is restored")


def remove_new(restoring: Candidate, survey: Survey) -> Candidate | None:
    """The other case of a PUT that may make or replace: a DELETE of what it has made.

    Due only where the answer, or a look before the step, says that nothing was there: never of
    something that was there before.
    """
    forward = restoring.forward
    delete = survey.one(forward.stem, "DELETE", forward.api)
    if forward.method != "PUT" or restoring.kind is not Kind.RESTORE_PREVIOUS or delete is None:
        return None
    candidate = Candidate("delete-new", Kind.DELETE_CREATED, forward, delete, base=0.6)
    candidate.parameters |= shared_path(forward, delete)
    if not _is_due_when_new(candidate, restoring):
        return None
    if set(delete.path_names) != {*forward.path_names} or resource_of(delete) in SENT:
        candidate.refute(f"{delete.operation_id} does not take back what {forward.where} makes")
    map_rest(candidate)
    return candidate


def _is_due_when_new(candidate: Candidate, restoring: Candidate) -> bool:
    said, read = restoring.only_if or "", restoring.read_before
    if said.startswith("$statusCode == "):
        candidate.only_if = "$statusCode == 201"
        candidate.note(0.1, "201 means that it is new; then it is deleted")
        return True
    if said != "$before.statusCode == 200" or read is None:
        return False
    candidate.only_if, candidate.read_before = "$before.statusCode == 404", read
    is_the_same = read.operation.stem == candidate.forward.stem
    candidate.note(0.05, f"{read.operation.operation_id} finds nothing before: then it is deleted")
    return is_the_same and candidate.forward.stem[-1:] == ("{}",)


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
    below = survey.one((*forward.stem, "{}"), "GET", forward.api)
    is_collection = forward.stem[-1:] != ("{}",) and below is not None
    if read is not None and not is_collection and not _lists(read):
        if not any(p.required and p.place == "query" for p in read.parameters):
            yield read, shared_path(forward, read)
        return
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


def _lists(read: Facts) -> bool:
    """Whether it answers with a list, or a page of one: to write that back touches all of them."""
    top = read.answer.top()
    arrays = [each.name for each in top.values() if each.type == "array"]
    is_page = len(arrays) == 1 and len(top) <= _PAGE_FIELDS
    noun = joined(read.segments[-1]) if read.segments else ""
    return read.answer.type == "array" or is_page or noun in map(joined, arrays)


def _write_back(candidate: Candidate, read: Facts, given: dict[str, str]) -> None:
    candidate.read_before = Read(operation=read, parameters=given)
    candidate.parameters |= shared_path(candidate.forward, candidate.undo)
    written, answered = candidate.undo.request, read.answer
    candidate.note(0.05, f"{read.operation_id} reads what was there before")
    if not written.is_known:
        candidate.refute(f"{candidate.undo.operation_id} takes no body that could bring it back")
    elif not answered.is_known:
        write_undescribed(candidate, written)
    else:
        write_described(candidate, written, answered)
    map_parameters(candidate)
