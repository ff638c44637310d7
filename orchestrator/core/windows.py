"""What calls of one operation of an API were like in a stretch of time, in a few hundred bytes.

Durations are kept as a DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile
sketch with relative-error guarantees", VLDB 2019): how many calls fell into each bucket
(gamma^(i-1), gamma^i], gamma = (1 + ACCURACY) / (1 - ACCURACY). Whatever is worked out from them is
off by ACCURACY at most, and adding the buckets of two sketches gives the sketch of both. Adding one
call is on the hot path of every worker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.exchange import Outcome
from orchestrator.core.shapes import Shape, merge_shapes

ACCURACY = 0.01
WINDOW_SECONDS = 300
HOUR_SECONDS = 3600
NO_ANSWER = 0
"""Stands for the status of a call without a complete answer."""
SHORTEST_SECONDS = 1e-6
"""What is shorter counts as this."""

_PER_LOG = 1.0 / math.log((1.0 + ACCURACY) / (1.0 - ACCURACY))

Buckets = dict[int, int]


def bucket_of(seconds: float) -> int:
    """The bucket into which a duration falls."""
    return math.ceil(math.log(max(seconds, SHORTEST_SECONDS)) * _PER_LOG)


def mean_seconds(buckets: Buckets) -> float | None:
    """Of the durations in these buckets, off by ACCURACY at most; None without any."""
    calls = sum(buckets.values())
    if not calls:
        return None
    middle = 1.0 - ACCURACY  # of a bucket, over its upper bound: as far from both ends
    return sum(n * math.exp(index / _PER_LOG) * middle for index, n in buckets.items()) / calls


@dataclass(kw_only=True, slots=True)
class Window:
    """Counts of calls, by what they were like. Only ever grows."""

    calls: int = 0
    failed: int = 0  # that say the API is ill: no answer, an unclear one, a 5xx
    throttled: int = 0  # refused as too many (429)
    seconds: Buckets = field(default_factory=dict)  # from the first byte out to the last one in
    waited: Buckets = field(default_factory=dict)  # before the gate, of those that had to
    statuses: dict[int, int] = field(default_factory=dict)
    shapes: dict[int, Shape] = field(default_factory=dict)  # by status; of some answers

    def add(
        self, *, status: int | None, outcome: Outcome, seconds: float, waited: float = 0.0
    ) -> None:
        """One call more. `status` is None without a complete answer."""
        self.calls += 1
        index = bucket_of(seconds)
        self.seconds[index] = self.seconds.get(index, 0) + 1
        if waited:
            index = bucket_of(waited)
            self.waited[index] = self.waited.get(index, 0) + 1
        if status is None:
            self.failed += outcome is not Outcome.LANDED
            status = NO_ANSWER
        elif status >= 500 or outcome is Outcome.UNKNOWN:
            self.failed += 1
        elif status == 429:
            self.throttled += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def merge(self, other: Window) -> None:
        """Take over what another one counts; exact, in any order."""
        self.calls += other.calls
        self.failed += other.failed
        self.throttled += other.throttled
        for mine, others in (
            (self.seconds, other.seconds), (self.waited, other.waited),
            (self.statuses, other.statuses),
        ):  # fmt: skip
            for key, count in others.items():
                mine[key] = mine.get(key, 0) + count
        for status, shape in other.shapes.items():
            merge_shapes(self.shapes.setdefault(status, {}), shape)

    def as_json(self) -> dict[str, Any]:
        """What `of_json` reads, beside the three counts."""
        told: dict[str, Any] = {"seconds": self.seconds, "statuses": self.statuses}
        more = {"waited": self.waited, "shapes": self.shapes}
        return told | {name: value for name, value in more.items() if value}

    @staticmethod
    def of_json(calls: int, failed: int, throttled: int, data: Mapping[str, Any]) -> Window:
        """Inverse of `as_json`; names of JSON are text."""
        return Window(
            calls=calls, failed=failed, throttled=throttled,
            **{name: _counts(data.get(name, {})) for name in ("seconds", "waited", "statuses")},
            shapes={int(status): shape for status, shape in data.get("shapes", {}).items()},
        )  # fmt: skip


def _counts(data: Mapping[str, int]) -> dict[int, int]:
    return {int(key): count for key, count in data.items()}
