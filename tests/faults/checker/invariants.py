"""The judge: holds ledger, tables and audit against what was submitted.

It knows nothing of the engine. Each promise is one function from a run's story to its breaches;
`INVARIANTS` lists them all. Everything is linear in what there is to read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.checker.auditing import audit_gaps, second_outcomes
from tests.faults.checker.knowing import why_unresolvable
from tests.faults.checker.outcomes import (
    duplicate_effects,
    escalations_incomplete,
    lost,
    needless_escalations,
    orphaned_effects,
    phantom_effects,
    unexpected_endings,
)
from tests.faults.checker.requests import (
    changed_bytes,
    limits_exceeded,
    out_of_order_compensations,
    unkeyed_repeats,
)
from tests.faults.checker.stories import Story, stories
from tests.faults.checker.tables import Tables
from tests.faults.ledger.records import Records
from tests.faults.workload import RunSeed

Invariant = Callable[[Story], Iterator[str]]

INVARIANTS: Mapping[str, Invariant] = {
    invariant.__name__: invariant
    for invariant in (
        lost,
        orphaned_effects,
        duplicate_effects,
        unkeyed_repeats,
        out_of_order_compensations,
        unexpected_endings,
        needless_escalations,
        audit_gaps,
        changed_bytes,
        phantom_effects,
        limits_exceeded,
        second_outcomes,
        escalations_incomplete,
    )
}
SECRETS = "secrets"
"""The one promise that is about all text at once and not about a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One breach of a promise."""

    invariant: str
    run: str  # its name, or the file in which a secret was found
    detail: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found, and how the runs ended."""

    violations: tuple[Violation, ...]
    endings: Mapping[str, int]  # runs by status, "" for those that are not in the tables
    unresolvable: tuple[tuple[str, str], ...]  # run, why nothing could have resolved its doubt
    stories: Mapping[str, Story] = field(repr=False)

    def counts(self) -> dict[str, int]:
        """Breaches by invariant, zeros included."""
        found = dict.fromkeys([*INVARIANTS, SECRETS], 0)
        for violation in self.violations:
            found[violation.invariant] += 1
        return found


def check(
    seeds: Iterable[RunSeed],
    records: Records,
    tables: Tables,
    *,
    acknowledged: Collection[str] | None = None,
    canaries: Sequence[str] = (),
    files: Iterable[Path] = (),
) -> Verdict:
    """Judge. `acknowledged`: names of runs whose submit returned (None: all seeds).

    `canaries` are looked for in all text of `tables` and in `files`.
    """
    told = stories(seeds, records, tables, acknowledged)
    found = [
        Violation(invariant=name, run=story.name, detail=detail)
        for story in told.values()
        for name, invariant in INVARIANTS.items()
        for detail in invariant(story)
    ]
    endings: dict[str, int] = {}
    for story in told.values():
        endings[story.status] = endings.get(story.status, 0) + 1
    return Verdict(
        violations=(*found, *secrets(canaries, tables, files)),
        endings=endings,
        unresolvable=tuple(_unresolvable(told.values())),
        stories=told,
    )


def secrets(canaries: Sequence[str], tables: Tables, files: Iterable[Path]) -> Iterator[Violation]:
    """P13 no-secret-out: no canary in any row or file. It is not repeated in the report."""
    if not canaries:
        return
    for number, canary in enumerate(canaries, 1):
        rows = sum(canary in value for value in tables.texts)
        if rows:
            detail = f"secret {number} is in {rows} values of the tables"
            yield Violation(invariant=SECRETS, run="", detail=detail)
    for path in files:
        content = path.read_bytes()
        for number, canary in enumerate(canaries, 1):
            times = content.count(canary.encode())
            if times:
                detail = f"secret {number} is there {times} times"
                yield Violation(invariant=SECRETS, run=path.name, detail=detail)


def _unresolvable(told: Iterable[Story]) -> Iterator[tuple[str, str]]:
    for story in told:
        for escalation in story.escalations:
            why = why_unresolvable(story, escalation)
            if escalation.reason == "in_doubt" and why:
                yield story.name, why
