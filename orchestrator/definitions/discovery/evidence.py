"""The values of discovery: kinds, candidates with their evidence, proposals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.definitions.discovery.survey import Facts


class Kind(StrEnum):
    """How an operation is undone."""

    DELETE_CREATED = "delete-created"  # an operation removes what was made
    INVERSE_ACTION = "inverse-action"  # a paired action: cancel, void, refund, unlock
    SELF_INVERSE = "self-inverse"  # the same or the update operation with other values
    RESTORE_PREVIOUS = "restore-previous"  # write back what was read before the step
    NONE_FOLLOW_UP = "none-follow-up"  # nothing known undoes it
    NONE_NEEDED = "none-needed"  # it leaves nothing behind


class Strength(StrEnum):
    """What the world is like after the undo."""

    EXACT = "exact"  # as before
    BUSINESS = "business"  # a new fact reverses the effect; the old state does not come back


@dataclass(frozen=True, slots=True)
class Evidence:
    """One reason, for or against, with its weight."""

    weight: float
    text: str
    refutes: bool = False  # whatever else speaks for it: not proposed


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What has to be read before the step."""

    operation: Facts
    parameters: Mapping[str, str]


@dataclass(slots=True)
class Candidate:
    """A possible undo of an operation, while evidence is gathered."""

    rule: str
    kind: Kind
    forward: Facts
    undo: Facts
    base: float  # how often the rule alone is right
    parameters: dict[str, Any] = field(default_factory=dict)
    only_if: str | None = None
    read_before: Read | None = None
    strength: Strength = Strength.EXACT
    is_assumed: bool = False  # a value's place is not described, but taken to be the usual one
    evidence: list[Evidence] = field(default_factory=list)

    def note(self, weight: float, text: str) -> None:
        """A reason for (positive) or against (negative)."""
        self.evidence.append(Evidence(weight, text))

    def refute(self, text: str) -> None:
        """A reason that settles it: this is not proposed."""
        self.evidence.append(Evidence(-1.0, text, refutes=True))

    @property
    def is_refuted(self) -> bool:
        """Whether anything settles against it."""
        return any(each.refutes for each in self.evidence)

    @property
    def confidence(self) -> float:
        """From 0 to 0.99: the rule's own rate with all reasons added."""
        if self.is_refuted:
            return 0.0
        return round(min(0.99, max(0.0, self.base + sum(each.weight for each in self.evidence))), 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What discovery says of one mutating operation."""

    api: str
    operation_id: str
    method: str
    path: str
    kind: Kind
    undo: Facts | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    only_if: str | None = None
    read_before: Read | None = None
    strength: Strength | None = None
    is_assumed: bool = False  # where a value stands is not described: a rehearsal has to show it
    confidence: float
    rule: str
    reasons: tuple[str, ...]
    idempotency_header: str | None = None
    otherwise: Proposal | None = None  # what undoes it where `only_if` does not hold, but its own

    def as_json(self) -> dict[str, Any]:
        """The proposal with the field names of labelled examples."""
        compensation = None if self.undo is None else {
            "operation_id": self.undo.operation_id, "method": self.undo.method,
            "path": self.undo.path, "parameters": dict(self.parameters),
        }  # fmt: skip
        if compensation is not None and self.undo is not None and self.undo.api != self.api:
            compensation["api"] = self.undo.api
        read = None if self.read_before is None else {
            "operation_id": self.read_before.operation.operation_id,
            "parameters": dict(self.read_before.parameters),
        }  # fmt: skip
        return {
            "api": self.api, "operation_id": self.operation_id, "method": self.method,
            "path": self.path, "kind": self.kind.value, "compensation": compensation,
            "only_if": self.only_if, "read_before": read,
            "strength": None if self.strength is None else self.strength.value,
            "confidence": self.confidence, "rule": self.rule, "reasons": list(self.reasons),
            "idempotency_header": self.idempotency_header,
            "otherwise": None if self.otherwise is None else self.otherwise.as_json(),
        }  # fmt: skip
