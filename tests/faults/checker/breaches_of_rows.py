"""More honest histories, each spoilt in what the rows say of themselves."""

from __future__ import annotations

from dataclasses import replace

from tests.faults.checker import spoiling as spoil
from tests.faults.checker.breaches import case
from tests.faults.checker.histories import busy_and_repeated, succeeded, undo_refused
from tests.faults.checker.honest import Scribe, World


def _numbered_alike(_: World, scribe: Scribe) -> None:
    scribe.attempts = [replace(attempt, number=1) for attempt in scribe.attempts]


def _made_by_another(_: World, scribe: Scribe) -> None:
    scribe.attempts[0] = replace(scribe.attempts[0], worker="w9")


CASES = [
    case("audit_gaps", "settled at no time", succeeded,
         lambda _, s: spoil.change_run(s, settled_at=None)),
    case("audit_gaps", "all attempts are the first", busy_and_repeated, _numbered_alike),
    case("audit_gaps", "an attempt of somebody else's", succeeded, _made_by_another),
    case("escalations_incomplete", "says nothing", undo_refused,
         lambda _, s: spoil.change_escalation(s, detail="")),
]  # fmt: skip
