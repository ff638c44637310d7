"""What the API does badly, decided in advance for each request: by a table or by a seed.

A decision depends on the link (run, step, direction, question or not) and on how many requests it
has had, never on time. Only the first few requests of a link are treated badly, so that patience
wins. What no engine could handle is never drawn by a seed: an unkeyed request that has its effect
after a question about it was answered with "not there", and a refusal that the run's name does not
announce.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from tests.faults.ledger.book import KEYED, Asked


class Fault(StrEnum):
    """What is done to one request. "Cut": the connection is closed without an answer."""

    NONE = "none"
    DELAY = "delay"  # `seconds` pass before the effect
    DROP_BEFORE = "drop_before"  # cut before the effect
    DROP_AFTER = "drop_after"  # cut after the effect
    LATE = "late"  # cut at once; the effect comes by itself `seconds` later
    HALF = "half"  # effect, then half of the answer, then cut
    GARBLED = "garbled"  # effect, then an answer that is not the JSON that it says it is
    ERROR = "error"  # `status` 5xx, with or without the effect
    BUSY = "busy"  # `status` 429 or 503, no effect
    REFUSE = "refuse"  # `status` 4xx, no effect; 422 is remembered like any refusal
    HANG = "hang"  # no answer until the caller gives up, with or without the effect


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What becomes of one request."""

    fault: Fault = Fault.NONE
    effect: bool = True  # of ERROR and HANG: whether it has its effect
    seconds: float = 0.0  # of DELAY and LATE
    status: int = 0  # of ERROR, BUSY and REFUSE; 0 means 500, 503 and 422
    retry_after: str | None = None  # of BUSY: the header

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Fate:
        """From the fields that differ from those of a well treated request."""
        return Fate(**{**data, "fault": Fault(data["fault"])})


WELL = Fate()
Place = tuple[str, str, str, bool]  # run, step, direction, question

MOST = 3
LONGEST_DELAY_SECONDS = 0.5  # far below the patience of any caller
LATE_SECONDS = (0.2, 4.0)
WEIGHTS: Mapping[Fault, float] = {
    Fault.DELAY: 3, Fault.DROP_BEFORE: 2, Fault.DROP_AFTER: 3, Fault.LATE: 3, Fault.HALF: 1,
    Fault.GARBLED: 1, Fault.ERROR: 3, Fault.BUSY: 3, Fault.HANG: 1,
}  # fmt: skip
_KEYED_ONLY = frozenset({Fault.LATE})
_ERRORS = (500, 502, 504)
_BUSY = ((429, "0"), (429, "1"), (429, None), (503, "1"), (503, None))


@dataclass(slots=True)
class FaultPlan:
    """All decisions. `rate` is the share of the first `most` requests of a link treated badly.

    `table` names the fates of a link's first requests and goes before the seed. Both may be
    changed at any time.
    """

    seed: int = 0
    rate: float = 0.0
    weights: Mapping[Fault, float] = field(default_factory=lambda: dict(WEIGHTS))
    most: int = MOST
    table: dict[Place, list[Fate]] = field(default_factory=dict)
    _seen: dict[Place, int] = field(default_factory=dict)
    _drawn: dict[Place, Sequence[Fate]] = field(default_factory=dict)

    def will(
        self, run: str, step: str, direction: str, *fates: Fate | Fault, question: bool = False
    ) -> None:
        """Decide about the next requests of a link that has not been decided about."""
        place = (run, step, direction, question)
        made = [fate if isinstance(fate, Fate) else Fate(fault=fate) for fate in fates]
        before = self.table.setdefault(place, [])
        before += [WELL] * (self._seen.get(place, 0) - len(before)) + made

    def heal(self) -> None:
        """Treat every request well from now on."""
        self.rate = 0.0
        self.table.clear()

    def next(self, asked: Asked) -> Fate:
        """The fate of a request that has just arrived."""
        place = (asked.run, asked.step, asked.direction, asked.question)
        nth = self._seen.get(place, 0)
        self._seen[place] = nth + 1
        if self.table:
            listed = self.table.get(place, ())
            if nth < len(listed):
                return listed[nth]
        if self.rate <= 0.0 or nth >= self.most:
            return WELL
        return self._fates(place, asked)[nth]

    def reseed(self, *, seed: int, rate: float, weights: Mapping[Fault, float] = WEIGHTS) -> None:
        """Draw other decisions from now on."""
        self.seed, self.rate, self.weights = seed, rate, weights
        self._drawn.clear()

    def _fates(self, place: Place, asked: Asked) -> Sequence[Fate]:
        drawn = self._drawn.get(place)
        if drawn is None:
            drawn = self._drawn[place] = tuple(self._draw(place, asked))
        return drawn

    def _draw(self, place: Place, asked: Asked) -> list[Fate]:
        chance = random.Random(f"{self.seed}/{'/'.join(map(str, place))}")
        kinds = [kind for kind in self.weights if asked.route == KEYED or kind not in _KEYED_ONLY]
        weights = [self.weights[kind] for kind in kinds]
        fates: list[Fate] = []
        for _ in range(self.most):
            bad = chance.random() < self.rate
            fates.append(_fate(chance.choices(kinds, weights)[0], chance) if bad else WELL)
        return fates


def _fate(fault: Fault, chance: random.Random) -> Fate:
    match fault:
        case Fault.DELAY:
            return Fate(fault=fault, seconds=chance.uniform(0.0, LONGEST_DELAY_SECONDS))
        case Fault.LATE:
            return Fate(fault=fault, seconds=chance.uniform(*LATE_SECONDS))
        case Fault.ERROR:
            return Fate(fault=fault, status=chance.choice(_ERRORS), effect=chance.random() < 0.5)
        case Fault.BUSY:
            status, retry_after = chance.choice(_BUSY)
            return Fate(fault=fault, status=status, retry_after=retry_after)
        case Fault.HANG:
            return Fate(fault=fault, effect=chance.random() < 0.5)
        case _:
            return Fate(fault=fault)
