"""Compensation discovery: what undoes each mutating operation, from OpenAPI documents alone.

    survey      documents → facts (schemas, lexicon)
    candidates  rules that name possible undos (restoring: those that write back what was read)
    mapping     where the values of an undo come from
    judging     what speaks for and against; refuses whatever may hit something older than the step
    proposing   the best candidate above the least confidence, or nothing and why

A wrong undo is far worse than a missing one: every rule ends in a refusal where the documents leave
open whether the thing was there before. Nothing here is run: a proposal becomes a compensation when
a person accepts it.
"""

from orchestrator.definitions.discovery.evidence import Kind, Proposal, Strength
from orchestrator.definitions.discovery.judging import PROPOSED_FROM
from orchestrator.definitions.discovery.proposing import (
    Proposer,
    Suggestion,
    discover,
    propose,
)

__all__ = [
    "PROPOSED_FROM",
    "Kind",
    "Proposal",
    "Proposer",
    "Strength",
    "Suggestion",
    "discover",
    "propose",
]
