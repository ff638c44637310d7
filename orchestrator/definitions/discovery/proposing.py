"""From documents to proposals: gather candidates, judge them, choose, or say why not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from orchestrator.definitions.discovery.candidates import RULES, checked
from orchestrator.definitions.discovery.evidence import Candidate, Kind, Proposal
from orchestrator.definitions.discovery.judging import PROPOSED_FROM, reads_only
from orchestrator.definitions.discovery.lexicon import UNDO_WORDS
from orchestrator.definitions.discovery.restoring import remove_new
from orchestrator.definitions.discovery.survey import MUTATING, Facts, Survey, verbs_of
from orchestrator.definitions.document import Document

_ABOUT = 0.2
_ORDER = (
    Kind.DELETE_CREATED, Kind.INVERSE_ACTION, Kind.SELF_INVERSE, Kind.RESTORE_PREVIOUS,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """An undo that somebody else thinks of."""

    undo_operation_id: str
    kind: Kind
    parameters: dict[str, Any]
    why: str


class Proposer(Protocol):
    """Thinks of further undos. Off unless one is given; the same judges decide."""

    name: str

    def suggest(self, forward: Facts, survey: Survey) -> Sequence[Suggestion]:
        """Undos of an operation; none when it has no idea."""
        ...


def discover(
    documents: Iterable[Document], *, proposer: Proposer | None = None, least: float = PROPOSED_FROM
) -> list[Proposal]:
    """One proposal for each mutating operation; `least` is the confidence that one needs."""
    survey = Survey.of(documents)
    return [
        propose(each, survey, proposer, least=least)
        for each in survey.operations
        if each.method in MUTATING
    ]


def propose(
    forward: Facts,
    survey: Survey,
    proposer: Proposer | None = None,
    *,
    least: float = PROPOSED_FROM,
) -> Proposal:
    """What undoes one operation; below the least confidence nothing, and why."""
    harmless = reads_only(forward)
    if harmless is not None:
        return _without(forward, Kind.NONE_NEEDED, 0.7, "reads-only", (harmless,))
    found = [each for rule in RULES for each in rule(forward, survey)]
    if proposer is not None:
        found += _suggested(forward, survey, proposer)
    best = max(found, key=_rank, default=None)
    if best is None:
        return _without(forward, Kind.NONE_FOLLOW_UP, 0.5, "nothing-found", (_why_none(forward),))
    if best.confidence < least:
        return _without(forward, Kind.NONE_FOLLOW_UP, 0.5, "not-sure", tuple(_why_not(found)))
    proposal = _of(best)
    other = _other_case(best, found, survey)
    if other is None:
        return proposal
    if other.confidence >= least:
        return replace(proposal, otherwise=_of(other))
    left = f"in the other case {other.undo.operation_id} is due, which is not covered"
    return replace(proposal, reasons=(*proposal.reasons, left))


_CASE = re.compile(r"(\$statusCode|\$before\.statusCode) == ([0-9]{3})")


def _other_case(best: Candidate, found: Sequence[Candidate], survey: Survey) -> Candidate | None:
    """Of a PUT that may make or replace: what undoes it where the best undo is not due."""
    if best.kind is Kind.RESTORE_PREVIOUS:
        return remove_new(best, survey)
    if best.undo.method != "DELETE" or best.undo.stem != best.forward.stem:
        return None
    restoring = [
        each for each in found
        if each.kind is Kind.RESTORE_PREVIOUS and _exclude_each_other(each, best)
    ]  # fmt: skip
    return max(restoring, key=_rank, default=None)


def _exclude_each_other(left: Candidate, right: Candidate) -> bool:
    mine, its = (_CASE.fullmatch(each.only_if or "") for each in (left, right))
    if mine is None or its is None or left.undo.api != right.undo.api:
        return False
    return mine[1] == its[1] and mine[2] != its[2]


def _of(candidate: Candidate) -> Proposal:
    forward = candidate.forward
    return Proposal(
        api=forward.api, operation_id=forward.operation_id, method=forward.method,
        path=forward.path, kind=candidate.kind, undo=candidate.undo,
        parameters=candidate.parameters, only_if=candidate.only_if,
        read_before=candidate.read_before, strength=candidate.strength,
        is_assumed=candidate.is_assumed, confidence=candidate.confidence, rule=candidate.rule,
        reasons=tuple(each.text for each in candidate.evidence),
        idempotency_header=forward.idempotency_header,
    )  # fmt: skip


def _rank(candidate: Candidate) -> tuple[float, int]:
    """What removes a thing comes before what only ends it, when both are about as sure."""
    return round(candidate.confidence / _ABOUT), -_ORDER.index(candidate.kind)


def _suggested(forward: Facts, survey: Survey, proposer: Proposer) -> list[Candidate]:
    found = []
    for each in proposer.suggest(forward, survey):
        undo = survey.by_id(forward.api, each.undo_operation_id)
        if undo is not None and undo.method in MUTATING:
            rule = f"proposer:{proposer.name}"
            candidate = Candidate(rule, each.kind, forward, undo, base=0.45)
            candidate.parameters |= each.parameters
            candidate.note(0.0, f"{proposer.name} says: {each.why}")
            found.append(checked(candidate, survey))
    return found


def _why_none(forward: Facts) -> str:
    undoing = [each for each in verbs_of(forward) if each in UNDO_WORDS]
    if forward.method == "DELETE":
        return "what it deletes is gone: no operation is known to bring it back under the same name"
    if undoing:
        return f"'{undoing[0]}' is an undo itself; nothing takes it back"
    return "no operation of the documents is known to take it back"


def _why_not(found: Sequence[Candidate]) -> list[str]:
    """For each candidate that fell through, what speaks against it."""
    lines = []
    for each in found:
        against = [e.text for e in each.evidence if e.refutes] or [
            e.text for e in each.evidence if e.weight < 0
        ]
        reason = against[0] if against else "too little speaks for it"
        lines.append(f"not {each.undo.operation_id} ({each.rule}, {each.confidence:.2f}): {reason}")
    return list(dict.fromkeys(lines))


def _without(
    forward: Facts, kind: Kind, confidence: float, rule: str, reasons: tuple[str, ...]
) -> Proposal:
    return Proposal(
        api=forward.api, operation_id=forward.operation_id, method=forward.method,
        path=forward.path, kind=kind, confidence=confidence, rule=rule, reasons=reasons,
        idempotency_header=forward.idempotency_header,
    )  # fmt: skip
