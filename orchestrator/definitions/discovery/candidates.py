"""Rules that name possible undos; `judging` refuses what may hit something older."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.definitions.discovery.evidence import Candidate, Kind, Strength
from orchestrator.definitions.discovery.identity import Named, map_identity, new_identity
from orchestrator.definitions.discovery.judging import (
    judge_creation,
    judge_flag,
    judge_put,
    judge_scope,
)
from orchestrator.definitions.discovery.lexicon import (
    CREATES,
    OVER,
    PAIRS,
    UNDO_WORDS,
    UNDOES_CREATION,
    joined,
    stemmed,
    words_of,
)
from orchestrator.definitions.discovery.mapping import (
    map_rest,
    map_same_names,
    shared_path,
)
from orchestrator.definitions.discovery.restoring import restore_deleted, restore_updated
from orchestrator.definitions.discovery.survey import Facts, Survey, id_verb, verbs_of

Rule = Callable[[Facts, Survey], Iterator[Candidate]]


def deleted_item(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """POST /things and DELETE /things/{id}."""
    if forward.method != "POST":
        return
    for undo in survey.at((*forward.stem, "{}"), "DELETE"):
        candidate = Candidate("deleted-item", Kind.DELETE_CREATED, forward, undo, base=0.55)
        candidate.note(0.0, f"{undo.where} stands below {forward.path}")
        yield from _of_new_thing(candidate, survey)


def undone_item(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """POST /payments and POST /payments/{id}/reversals, or POST /orders and POST /orders/cancel."""
    if forward.method != "POST" or set(verbs_of(forward)) & UNDO_WORDS:
        return
    for rank, (word, is_business) in enumerate(UNDOES_CREATION):
        for stem in ((*forward.stem, "{}"), forward.stem):
            for undo in _actions(survey, stem, word):
                candidate = Candidate(
                    "undone-item", Kind.INVERSE_ACTION, forward, undo, base=0.55 - 0.01 * rank,
                    strength=Strength.BUSINESS if is_business else Strength.EXACT,
                )  # fmt: skip
                candidate.note(0.05, f"'{word}' takes back what {forward.operation_id} made")
                yield from _of_new_thing(candidate, survey)


def _actions(survey: Survey, stem: tuple[str, ...], word: str) -> Iterator[Facts]:
    """Operations one segment further whose segment is a form of the word."""
    for undo in survey.about(stem[-1]) if stem and stem[-1] != "{}" else _below(survey, stem):
        if (
            undo.stem[:-1] == stem
            and undo.last == word
            and undo.method in ("POST", "PUT", "DELETE")
        ):
            yield undo


def _below(survey: Survey, stem: tuple[str, ...]) -> list[Facts]:
    noun = next((part for part in reversed(stem) if part != "{}"), "")
    return survey.about(noun) if noun else []


def elsewhere(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """POST …/authorizations in one document and POST …/authorizations/{id}/void in another."""
    if forward.method != "POST" or not forward.stem or forward.stem[-1] == "{}":
        return
    for undo in survey.about(forward.stem[-1]):
        if undo.api == forward.api or len(undo.path_names) != 1:
            continue
        place = next(iter(undo.path_names))
        if joined(undo.segments[place - 1]) != joined(forward.segments[-1]):
            continue
        rest = undo.segments[place + 1 :]
        words = dict(UNDOES_CREATION)
        if undo.method == "DELETE" and not rest:
            kind, strength = Kind.DELETE_CREATED, Strength.EXACT
        elif undo.method == "POST" and len(rest) == 1 and undo.last in words:
            kind = Kind.INVERSE_ACTION
            strength = Strength.BUSINESS if words[undo.last] else Strength.EXACT
        else:
            continue
        candidate = Candidate("elsewhere", kind, forward, undo, base=0.55, strength=strength)
        candidate.note(0.0, f"{undo.where} of {undo.api} is about {forward.segments[-1]} too")
        yield from _of_new_thing(candidate, survey)


def linked(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """An OpenAPI link from the answer to an operation that deletes, cancels, voids or refunds."""
    for link in forward.links:
        undo = survey.by_id(forward.api, link.operation_id)
        if undo is None or undo.method not in ("DELETE", "POST"):
            continue
        word = next((w for w in verbs_of(undo) if w in UNDO_WORDS), None)
        if undo.method == "POST" and word is None:
            continue
        kind = Kind.DELETE_CREATED if undo.method == "DELETE" else Kind.INVERSE_ACTION
        candidate = Candidate("linked", kind, forward, undo, base=0.6)
        candidate.strength = Strength.BUSINESS if word == "refund" else Strength.EXACT
        candidate.note(0.15, f"a link of its answer leads to {undo.operation_id}")
        for name, value in link.parameters.items():
            place, _, short = str(name).rpartition(".")
            known = (
                undo.parameter(short, place)
                if place
                else next((p for p in undo.parameters if p.name == name), None)
            )
            if known is not None:
                candidate.parameters[f"{known.place}.{known.name}"] = str(value)
        given = {key for key in candidate.parameters if key.startswith("path.")}
        if all(f"path.{name}" in given for name in undo.path_names.values()):
            map_rest(candidate)
            judge_creation(candidate, survey, Named.LINK)
            yield candidate
        else:
            yield from _of_new_thing(candidate, survey)


def _of_new_thing(candidate: Candidate, survey: Survey) -> Iterator[Candidate]:
    """Fill in what the undo takes, and ask whether it hits the new thing only."""
    candidate.parameters |= shared_path(candidate.forward, candidate.undo)
    name = new_identity(candidate)
    found = None if name is None else map_identity(candidate, name)
    if name is not None and found is None:
        candidate.refute(
            f"neither answer nor request gives the {name} that {candidate.undo.operation_id} takes"
        )
    map_rest(candidate)
    if name is None and not any(
        "$response" in str(value) for value in candidate.parameters.values()
    ):
        candidate.refute(
            "nothing in it comes from the answer, so it cannot mean the new thing only"
        )
    judge_creation(candidate, survey, found or Named.SERVER)
    yield candidate


def paired_action(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """POST /things/{id}/lock and POST /things/{id}/unlock; POST chat.add and POST chat.remove."""
    if forward.method not in ("POST", "PUT") or forward.last not in PAIRS or len(forward.stem) < 2:
        return
    stem = forward.stem[:-1]
    for pair in PAIRS[forward.last]:
        for undo in _actions(survey, stem, pair.undo):
            candidate = Candidate(
                "paired-action", Kind.INVERSE_ACTION, forward, undo, base=0.7,
                strength=Strength.BUSINESS if pair.business else Strength.EXACT,
            )  # fmt: skip
            candidate.note(0.1, f"'{pair.undo}' takes back '{forward.last}' of the same thing")
            if forward.last in CREATES and not forward.path_names:
                yield from _of_new_thing(candidate, survey)
            else:
                yield from _of_same_thing(candidate, survey, forward.last)


def flag(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """PUT and DELETE of the same path: star and unstar, add and remove."""
    if forward.method not in ("PUT", "POST") or set(verbs_of(forward)) & UNDO_WORDS:
        return
    for undo in survey.at(forward.stem, "DELETE", api=forward.api):
        words = {*stemmed(words_of(undo.operation_id)), *undo.summary_words[:1]}
        pairs = [
            (verb, pair) for verb in verbs_of(forward) for pair in PAIRS.get(verb, ())
            if pair.undo in words
        ]  # fmt: skip
        is_named = forward.stem[-1:] == ("{}",) or forward.last in PAIRS
        if not pairs or (forward.method == "POST" and not is_named):
            continue  # POST and DELETE of a collection: one makes one, the other removes all
        verb, pair = pairs[0]
        candidate = Candidate("flag", Kind.INVERSE_ACTION, forward, undo, base=0.6)
        candidate.note(0.1, f"'{pair.undo}' at the same path takes back '{verb}'")
        for each in _of_same_thing(candidate, survey, verb):
            if each.only_if is None:
                judge_put(each, survey)
            yield each


def _of_same_thing(candidate: Candidate, survey: Survey, verb: str) -> Iterator[Candidate]:
    judge_scope(candidate)
    candidate.parameters |= shared_path(candidate.forward, candidate.undo)
    missing = [
        n for n in candidate.undo.path_names.values() if f"path.{n}" not in candidate.parameters
    ]
    if missing:
        candidate.refute(f"nothing gives the {missing[0]} that {candidate.undo.operation_id} takes")
    map_rest(candidate)
    lists = [each.pointer for each in candidate.undo.request.fields if each.type == "array"]
    if any(f"body.{pointer}" in candidate.parameters for pointer in lists):
        candidate.refute(f"{lists[0]} may name some that were so before")
    if not candidate.parameters:
        candidate.refute(f"nothing says what {candidate.undo.operation_id} is to be done to")
    if candidate.strength is Strength.EXACT:
        judge_flag(candidate, survey, verb)
    yield candidate


def over_status(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """POST /paymentLinks and PATCH /paymentLinks/{id} with the status expired, and no other."""
    if forward.method != "POST":
        return
    for undo in survey.at((*forward.stem, "{}"), "PATCH", "PUT", "POST", api=forward.api):
        for field in undo.request.top().values():
            values = [str(value) for value in field.enum]
            if field.type != "string" or not values or not {joined(v) for v in values} <= OVER:
                continue
            candidate = Candidate("over-status", Kind.SELF_INVERSE, forward, undo, base=0.6)
            candidate.strength = Strength.BUSINESS
            candidate.parameters[f"body.{field.pointer}"] = f"literal:{values[0]}"
            candidate.note(
                0.1,
                f"{undo.operation_id} can set {field.pointer} to {values[0]!r} and to no other",
            )
            yield from _of_new_thing(candidate, survey)


def same_words(forward: Facts, survey: Survey) -> Iterator[Candidate]:
    """POST /pins.add and POST /pins.remove: a pair of words in otherwise equal paths or ids."""
    verb = id_verb(forward)
    if forward.method not in ("POST", "PUT") or verb not in PAIRS or forward.path_names:
        return
    rest = tuple(word for word in forward.id_words if word != verb)
    pairs = [(p, u) for p in PAIRS[verb] for u in survey.named(forward.api, p.undo, rest)]
    for pair, undo in pairs:
        if undo.method not in ("POST", "DELETE") or undo.path_names:
            continue
        kind = Kind.DELETE_CREATED if pair.undo in ("delete", "destroy") else Kind.INVERSE_ACTION
        candidate = Candidate("same-words", kind, forward, undo, base=0.6)
        candidate.strength = Strength.BUSINESS if pair.business else Strength.EXACT
        candidate.note(
            0.05, f"'{pair.undo}' takes back '{verb}': their names differ in nothing else"
        )
        if kind is Kind.DELETE_CREATED or verb in CREATES - {"add"}:
            yield from _of_new_thing(candidate, survey)
            continue
        map_same_names(candidate)
        yield from _of_same_thing(candidate, survey, verb)


RULES: tuple[Rule, ...] = (
    linked, deleted_item, undone_item, over_status, paired_action, flag, same_words, elsewhere,
    restore_updated, restore_deleted,
)  # fmt: skip


_SOURCES = ("$request.", "$response.", "$before.", "literal:", "$statusCode")


def checked(candidate: Candidate, survey: Survey) -> Candidate:
    """Judge an undo that no rule has named: all it takes exists, and it hits the new thing."""
    undo = candidate.undo
    for key, value in candidate.parameters.items():
        place, _, name = key.partition(".")
        in_path = place == "path" and name in undo.path_names.values()
        is_known = place == "body" or in_path or undo.parameter(name, place) is not None
        if not is_known or not str(value).startswith(_SOURCES):
            candidate.refute(f"{key}: {value} means nothing to {undo.operation_id}")
    named = [str(candidate.parameters.get(f"path.{name}", "")) for name in undo.path_names.values()]
    creates = candidate.kind in (Kind.DELETE_CREATED, Kind.SELF_INVERSE)
    if creates and not any("$response" in str(v) for v in candidate.parameters.values()):
        candidate.refute(
            "nothing in it comes from the answer, so it cannot mean the new thing only"
        )
    if "" in named:
        candidate.refute(f"not all parameters of {undo.path} are given")
    for value in candidate.parameters.values():
        if str(value).startswith("$response.body#") and not _is_answered(candidate, str(value)):
            candidate.refute(f"the answer has no {str(value).partition('#')[2]}")
    if not candidate.is_refuted:
        map_rest(candidate)
    if creates:
        judge_creation(candidate, survey, Named.SERVER)
    elif candidate.kind is Kind.INVERSE_ACTION:
        candidate.note(0.05, "an action of the same API")
    return candidate


def _is_answered(candidate: Candidate, value: str) -> bool:
    answer = candidate.forward.answer
    return not answer.is_known or answer.at(value.partition("#")[2]) is not None
