"""How soon the runs of a killed worker went on in other hands, by the database's clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.chaos.bystander import Bystander
from tests.faults.chaos.saboteur import Happened
from tests.faults.chaos.schedule import Kind


@dataclass(frozen=True, kw_only=True)
class Recoveries:
    """Of all kills that no other fault disturbed."""

    kills: int = 0
    seconds: tuple[float, ...] = ()  # one for each run that was in the hands of a killed worker
    cut_short: int = 0  # runs that had not gone on when the next fault came: not measurable

    def percentile(self, share: float) -> float | None:
        """The smallest value that this share of all is not above; None without any."""
        return percentile(self.seconds, share)


def percentile(values: Sequence[float], share: float) -> float | None:
    """Nearest rank; None without any."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def recoveries(tables: Bystander, happened: Sequence[Happened]) -> Recoveries:
    """Look at every kill. Needs the database."""
    found: list[float] = []
    kills = cut_short = 0
    for kill in happened:
        if not _measurable(kill, happened):
            continue
        kills += 1
        until = _quiet_seconds(kill, happened)
        took = _seconds(tables, kill)
        found += [seconds for seconds in took if seconds <= until]
        cut_short += len(kill.held) - sum(seconds <= until for seconds in took)
    return Recoveries(kills=kills, seconds=tuple(found), cut_short=cut_short)


def _measurable(kill: Happened, happened: Sequence[Happened]) -> bool:
    """Whether it is a kill whose runs are known, while nothing else was wrong."""
    known = kill.planned.kind is Kind.KILL and kill.database_time is not None and kill.worker
    return bool(known) and not any(
        other.began <= kill.began and (other.ended is None or other.ended > kill.began)
        for other in happened
        if other is not kill and not other.skipped
    )


def _quiet_seconds(kill: Happened, happened: Sequence[Happened]) -> float:
    later = [h.began for h in happened if h.began > kill.began and not h.skipped]
    return min(later, default=math.inf) - kill.began


def _seconds(tables: Bystander, kill: Happened) -> list[float]:
    assert kill.database_time is not None
    assert kill.worker is not None
    at = tables.next_step_of_others(kill.held, worker=kill.worker, after=kill.database_time)
    return [moment - kill.database_time for moment in at.values()]
