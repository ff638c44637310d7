"""Holds the calls that a run's audit tells of against those that the API has seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from orchestrator.core.calls import calls_of
from orchestrator.core.states import Direction
from orchestrator.ports import AuditRecord
from tests.faults.ledger.records import Request

_CHANGES_HANDS = ("run.recovered", "run.given_back")
_DO = {Direction.FORWARD: "do", Direction.BACKWARD: "undo"}


def untold(audit: Sequence[AuditRecord], seen: Iterable[Request]) -> Iterator[str]:
    """What the API has seen and the audit does not tell, or the other way round.

    A call whose worker died may have left or not. A question has no intent before it, so one whose
    worker died is not told at all: as often as the run changed hands, there may be one more.
    """
    least: Counter[tuple[str, str, bool]] = Counter()
    most: Counter[tuple[str, str, bool]] = Counter()
    taken = sum(record.kind in _CHANGES_HANDS for record in audit)
    for call in calls_of(audit):
        what = (call.step, _DO[call.direction], call.verify)
        least[what] += call.sent or 0
        most[what] += 1 if call.sent is None else call.sent
    found = Counter((each.step, each.direction, each.question) for each in seen)
    for what in {*found, *most}:
        spare = taken if what[2] else 0
        if not least[what] <= found[what] <= most[what] + spare:
            yield (
                f"{what}: the API has seen {found[what]} requests;"
                f" the audit tells of {least[what]} to {most[what] + spare}"
            )
