"""The object that `--json` prints: ours beside each peer, ratios pair by pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.bench.engine.figures import Round, medians, ratios


@dataclass
class Side:
    """One peer, as far as it got."""

    system: str
    durability: str
    version: str | None = None
    runs: int = 0  # of each round
    missing: str = ""  # what is to be installed
    error: str = ""  # why it was given up
    settings: Mapping[str, Any] = field(default_factory=dict)
    variant: str | None = None
    tried: dict[str, Round] = field(default_factory=dict)  # by variant, a short round of each
    rounds: list[Round] = field(default_factory=list)
    ours: list[Round] = field(default_factory=list)  # the round of ours before each of them

    @property
    def measurable(self) -> bool:
        """Whether it is there and has not failed."""
        return not (self.missing or self.error)

    def keep_fastest(self) -> None:
        """The variant that the rounds are made with."""
        self.variant = max(self.tried, key=lambda name: self.tried[name].runs_per_second)

    def to_json(self) -> dict[str, Any]:
        """Figures are medians over its rounds; none when it was not measured."""
        found: dict[str, Any] = {
            "system": self.system, "available": not self.missing, "version": self.version,
            "variant": self.variant, "durability": self.durability, "ratio": None, "ratios": [],
        }  # fmt: skip
        found |= {name: why for name in ("missing", "error") if (why := getattr(self, name))}
        if self.rounds:
            pairs = ratios(self.ours[: len(self.rounds)], self.rounds)
            found |= {"runs": self.runs, "ratio": round(median(pairs), 3), "ratios": pairs}
            found |= medians(self.rounds)
        tried = [_tried(name, made) for name, made in self.tried.items()]
        return {**found, "tried": tried, "settings": dict(self.settings)}


def _tried(name: str, made: Round) -> dict[str, Any]:
    """CPU too: on a machine that is not quiet it tells variants apart when their speed does not."""
    figures = made.figures()
    shown = ("runs_per_second", "cpu_seconds_per_1000_steps")
    return {"variant": name, "runs": made.runs, **{key: round(figures[key], 3) for key in shown}}


def report(load: str, ours: Sequence[Round], sides: Sequence[Side]) -> dict[str, Any]:
    """All of it but for options, settings and machine."""
    return {
        "load": load,
        "ours": medians(ours) if ours else None,
        "peers": [side.to_json() for side in sides],
    }
