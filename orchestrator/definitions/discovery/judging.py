"""What speaks for and against a candidate; every rule is judged by the same questions.

The question behind all of them: does this undo touch only what the step itself created or changed?
"""

from __future__ import annotations

import re

from orchestrator.definitions.discovery.evidence import Candidate, Kind, Read, Strength
from orchestrator.definitions.discovery.identity import Named
from orchestrator.definitions.discovery.lexicon import (
    BEGINS,
    CREATES,
    FAILED,
    NOT_CREATING,
    PAIRS,
    PAYS,
    READS,
    REPLACES,
    SEEN,
    SENT,
    SIGNALS,
    TOOK_EFFECT,
    UNDO_WORDS,
    UPSERTS,
    VERBS,
    joined,
    singular,
    words_of,
)
from orchestrator.definitions.discovery.mapping import resource_of, shared_path
from orchestrator.definitions.discovery.schemas import Shape
from orchestrator.definitions.discovery.survey import (
    Facts,
    Survey,
    id_verb,
    lead_verb,
    verbs_of,
)

PROPOSED_FROM = 0.6
"""The least confidence with which anything is proposed."""

_ALL = re.compile(r"\b(all|every|bulk|batch|multiple|clear|purge|empty)\b", re.IGNORECASE)
_CHANGES_MANY = re.compile(r"\b(bulk|batch|mutate)\b", re.IGNORECASE)
_UN = re.compile(r"^(un|dis(?=able|allow|connect))")
_BULK = re.compile(r"\b(bulk|batch|multiple|several|mass|many)\b|\blist of\b", re.IGNORECASE)
_CHANGES = (CREATES | NOT_CREATING | REPLACES | UNDO_WORDS | PAIRS.keys()) - READS
_OUTCOMES = frozenset({"code", "outcome", "result"})
_STATES = frozenset({"state", "status"})
_BOTH = frozenset({200, 201})


def judge_creation(candidate: Candidate, survey: Survey, named: Named) -> None:
    """Is the thing that the undo removes the one that the step made, and did the step make it?"""
    forward, undo = candidate.forward, candidate.undo
    judge_scope(candidate)
    _judge_verbs(candidate)
    _judge_number(candidate)
    _judge_reach(candidate)
    if 201 in forward.answers:
        candidate.note(0.08, "it answers 201 Created")
    elif set(forward.answers) == {202}:
        candidate.note(-0.15, "it answers 202: what it makes may come later, or never")
    if named is Named.SERVER:
        _judge_answered_thing(candidate, survey)
    if set(forward.tags) & set(undo.tags):
        candidate.note(
            0.03, f"both are tagged {', '.join(sorted(set(forward.tags) & set(undo.tags)))}"
        )
    if forward.idempotency_header is not None:
        candidate.note(
            0.02, f"a repeated {forward.idempotency_header} answers as the first time did"
        )
    if forward.api != undo.api:
        candidate.note(-0.1, f"they stand in two documents: {forward.api} and {undo.api}")
    judge_existing(candidate, survey, named)
    add_outcome(candidate)


def judge_scope(candidate: Candidate) -> None:
    """Refuses an undo that removes everything of its kind."""
    undo = candidate.undo
    is_whole = undo.stem[-1:] != ("{}",)
    said = _ALL.search(f"{undo.summary} {' '.join(words_of(undo.operation_id))}")
    plain = words_of(undo.segments[-1])[-1:] if undo.segments else ()
    is_plural = bool(plain) and singular(plain[0]) != plain[0] and undo.last not in VERBS
    if is_whole and (said is not None or (undo.method == "DELETE" and is_plural)):
        candidate.refute(f"{undo.where} removes all there is, not only what the step made")


def _judge_verbs(candidate: Candidate) -> None:
    verbs = verbs_of(candidate.forward)
    creating = [each for each in verbs if each in CREATES]
    other = [each for each in verbs[:2] if each in NOT_CREATING | READS | REPLACES - {"set"}]
    if other and (not creating or other[0] == verbs[0]):
        candidate.refute(
            f"'{other[0]}' need not make anything new: what is named may be older than the step"
        )
    elif creating:
        candidate.note(0.1, f"'{creating[0]}' makes something new")


def _judge_reach(candidate: Candidate) -> None:
    """Has what is made left already, or been read by others?"""
    noun = resource_of(candidate.undo)
    if candidate.kind is not Kind.DELETE_CREATED:
        return
    if noun in SENT:
        candidate.refute(f"a {noun} has left when it is made; deleting it removes the record only")
    elif noun in SEEN:
        candidate.strength = Strength.BUSINESS
        candidate.note(0.0, f"who has read the {noun} meanwhile has read it")


def _judge_number(candidate: Candidate) -> None:
    forward = candidate.forward
    if forward.request.type == "array" or forward.answer.type == "array":
        candidate.refute("it makes several things at once; this undo takes one")
    elif _BULK.search(f"{forward.summary} {' '.join(words_of(forward.operation_id))}"):
        candidate.refute("its name speaks of several things; this undo takes one")
    else:
        lists = [
            each.name for each in forward.request.top().values()
            if each.type == "array" and joined(each.name) in (resource_of(candidate.undo), "name")
        ]  # fmt: skip
        if lists:
            candidate.refute(f"{lists[0]} of its request asks for several; this undo takes one")


def _judge_answered_thing(candidate: Candidate, survey: Survey) -> None:
    """Is the answer a description of the new thing, rather than of what it belongs to?"""
    forward, undo = candidate.forward, candidate.undo
    if not undo.path_names:
        return
    item = survey.one(undo.stem[: max(undo.path_names) + 1], "GET", undo.api)
    last = max(undo.path_names)
    parent = survey.one(forward.stem[: last - 1], "GET", forward.api) if last >= 2 else None
    is_parents = parent is not None and parent.path_names and _same(parent.answer, forward.answer)
    if item is not None and item.answer.is_known and forward.answer.is_known:
        if _same(item.answer, forward.answer):
            candidate.note(0.12, f"{item.operation_id} answers with the same schema")
            return
        alike = likeness(item.answer, forward.answer)
        if is_parents or alike < 0.25:
            candidate.note(
                -0.25, f"{item.operation_id} describes the thing by another schema than the answer"
            )
        else:
            candidate.note(
                0.12 * alike, f"{item.operation_id} answers with {alike:.0%} of the same fields"
            )
    elif is_parents and parent is not None:
        candidate.refute(
            f"the answer describes what {parent.operation_id} reads, not the new thing in it"
        )


def judge_existing(candidate: Candidate, survey: Survey, named: Named) -> None:
    """Could the thing have been there before? Then only an undo that can tell is proposed."""
    forward = candidate.forward
    said = UPSERTS.search(f"{forward.summary} {forward.description} {forward.operation_id}")
    if forward.answers.keys() >= _BOTH:
        candidate.only_if = "$statusCode == 201"
        candidate.note(0.02, "200 means that it was there already; only 201 is undone")
        return
    if said is not None:
        _needs_look(candidate, survey, f"'{said[0]}': it may have been there before")
    elif named is not Named.CALLER or _looks_before(candidate, survey):
        return
    elif 409 in forward.failures:
        candidate.note(0.03, "409 is answered when it is there already")
    else:
        candidate.refute(
            "the caller chooses its name, and nothing tells whether it was there before"
        )


def _needs_look(candidate: Candidate, survey: Survey, why: str) -> None:
    if not _looks_before(candidate, survey):
        candidate.refute(f"{why}, and nothing tells")
    else:
        candidate.note(0.0, why)


def _looks_before(candidate: Candidate, survey: Survey) -> bool:
    """Read the thing before the step; undo only when there was none."""
    undo = candidate.undo
    if any("$response" in str(value) for value in candidate.parameters.values()):
        return False
    read = survey.one(undo.stem, "GET", undo.api)
    if read is None or not undo.path_names or max(undo.path_names) != len(undo.segments) - 1:
        return False
    wanted = {f"path.{name}" for name in read.path_names.values()}
    given = {
        f"path.{read.path_names[place]}": str(candidate.parameters.get(f"path.{name}"))
        for place, name in undo.path_names.items()
    }  # fmt: skip
    if not wanted <= given.keys() or any(
        p.required and p.place == "query" for p in read.parameters
    ):
        return False
    candidate.read_before = Read(operation=read, parameters=given)
    candidate.only_if = "$before.statusCode == 404"
    candidate.note(
        0.02,
        f"{read.operation_id} before the step tells whether it was there; then nothing is undone",
    )
    return True


def judge_put(candidate: Candidate, survey: Survey) -> None:
    """A DELETE of what a PUT of the same path set: only when the PUT made it."""
    if candidate.forward.answers.keys() & {200, 204} and 201 in candidate.forward.answers:
        candidate.only_if = "$statusCode == 201"
        candidate.note(0.05, "201 means that it is new; only then it is undone")
    elif not _looks_before(candidate, survey):
        candidate.refute("nothing tells whether it was there before")


def judge_flag(candidate: Candidate, survey: Survey, verb: str) -> None:
    """A flag that is set: did it hold before? Finds the field that says so, if there is one."""
    forward = candidate.forward
    base = _UN.sub("", verb)
    sets = "true" if base == verb else "false"
    forms = {base, f"{base}d", f"{base}ed", f"{base}{base[-1:]}ed", f"{base.removesuffix('ate')}e"}
    names = forms | {f"is{each}" for each in forms}
    for length in range(len(forward.stem), 0, -1):
        read = survey.one(forward.stem[:length], "GET", forward.api)
        given = {} if read is None else shared_path(forward, read)
        if read is None or not given or len(given) != len(read.path_names):
            continue
        for field in read.answer.fields:
            if field.type == "boolean" and field.depth <= 2 and joined(field.name) in names:
                candidate.read_before = Read(operation=read, parameters=given)
                candidate.only_if = f"$before.body#{field.pointer} != {sets}"
                text = f"{read.operation_id} tells by {field.pointer} whether it was so before"
                candidate.note(0.05, text)
                return


def add_outcome(candidate: Candidate) -> None:
    """Where the answer has a status of success among others, the undo is due only then."""
    if candidate.only_if is not None or candidate.kind is not Kind.INVERSE_ACTION:
        return
    is_payment = bool({*verbs_of(candidate.forward)} & PAYS)
    for field in candidate.forward.answer.fields:
        words = words_of(field.name)
        tells = words[-1:] and (words[-1] in _OUTCOMES or (is_payment and words[-1] in _STATES))
        if field.depth > 1 or not tells:
            continue
        values = {str(value): joined(str(value)) for value in field.enum}
        if set(values.values()) & BEGINS:
            continue  # a life cycle, of which the answer shows the first state
        good = [value for value, key in values.items() if key in TOOK_EFFECT]
        bad = [value for value, key in values.items() if key in FAILED]
        if len(good) == 1 and bad:
            candidate.only_if = f"$response.body#{field.pointer} == '{good[0]}'"
            candidate.note(
                0.0, f"{field.pointer} says {good[0]!r} when it took effect, {bad[0]!r} when not"
            )
            return


def likeness(left: Shape, right: Shape) -> float:
    """The part of the smaller one's fields that the other has too, envelopes taken off."""
    first, second = _inner(left), _inner(right)
    if not first or not second:
        return 0.0
    return len(first & second) / min(len(first), len(second))


def _inner(shape: Shape) -> set[str]:
    top = shape.top()
    objects = [each for each in top.values() if each.type == "object"]
    if len(top) <= 2 and len(objects) == 1:
        above = objects[0].pointer + "/"
        inner = {
            joined(f.name) for f in shape.fields if f.depth == 2 and f.pointer.startswith(above)
        }
        return inner or {joined(name) for name in top}
    return {joined(name) for name in top}


def _same(left: Shape, right: Shape) -> bool:
    if not left.is_known or not right.is_known:
        return False
    if left.name and left.name == right.name:
        return True
    names = {each.pointer for each in left.fields}
    return bool(names) and names == {each.pointer for each in right.fields}


def same_shape(left: Shape, right: Shape) -> bool:
    """Whether two shapes are the same schema or have the same fields."""
    return _same(left, right)


def reads_only(facts: Facts) -> str | None:
    """Why an operation leaves nothing behind, whatever its method; None when it may."""
    if facts.answers.keys() & {201, 202}:
        return None
    lead, named = lead_verb(facts), id_verb(facts)
    if facts.method == "PUT" and facts.last in SIGNALS and not facts.request.is_known:
        if lead in CREATES | REPLACES:
            return None
        return f"'{facts.last}' by PUT without a body may be repeated and stores nothing"
    if facts.method != "POST" or facts.last in _CHANGES or _CHANGES_MANY.search(facts.summary):
        return None
    if lead in READS and named not in _CHANGES:
        return f"its summary begins with '{lead}', which changes nothing"
    if named in READS and named in (facts.last, *facts.id_words[:1]) and lead not in _CHANGES:
        return f"'{named}' changes nothing"
    return None
