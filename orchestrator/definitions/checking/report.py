"""What a check says: findings with their places, and how mature each workflow is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is. The order of the members is the order of weight."""

    ERROR = "error"  # it cannot be published, or it cannot do what it says
    WARNING = "warning"  # it runs, and may end otherwise than its author thinks
    NOTE = "note"  # worth knowing

    @property
    def weight(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing at one place."""

    rule: str  # id of the rule, see `rules.RULES`
    severity: Severity
    file: str  # as it was named to the check
    line: int | None  # 1-based; None when it is not known
    pointer: str  # RFC 6901; "" for the whole document
    found: str
    wanted: str
    fix: str = ""  # what to write instead, where that is known
    source: str = ""  # the line's text


class Level(StrEnum):
    """How far a workflow can be trusted, each level on top of the one before."""

    UNSTRUCTURED = "unstructured"  # it has errors
    STRUCTURED = "structured"  # explicit steps that fit together
    TRANSACTIONAL = "transactional"  # every effect is compensated, and keyed or verified
    MANAGED = "managed"  # limits, a promise, an owner, a rehearsal


@dataclass(frozen=True, kw_only=True, slots=True)
class Maturity:
    """The level of one workflow, and what the next one lacks."""

    workflow: str
    level: Level
    next: Level | None  # None: there is no higher one
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentReport:
    """Everything about one document."""

    file: str
    findings: Sequence[Finding] = ()
    workflows: Sequence[Maturity] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def worst(self) -> Severity | None:
        """The gravest severity, None when nothing was found."""
        return min((item.severity for item in self.findings), key=lambda s: s.weight, default=None)
