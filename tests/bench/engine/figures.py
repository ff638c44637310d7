"""What one round measured, medians of several, and ratios pair by pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Round:
    """One system doing the work once."""

    runs: int
    steps: int  # forward and back that were done for each run
    seconds: float
    latencies_seconds: Sequence[float] = ()  # of each run, the queue included
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)  # by part
    peak_bytes: Sequence[int] = ()  # of each worker process
    more: Mapping[str, float] = field(default_factory=dict)  # what only this load measures

    @property
    def runs_per_second(self) -> float:
        """The figure that ratios are made of."""
        return self.runs / self.seconds

    @property
    def cpu_of_a_step(self) -> float:
        """Seconds of all parts."""
        return sum(self.cpu_seconds.values()) / self.runs / self.steps

    def with_more(self, more: Mapping[str, float]) -> Round:
        """The same, with more figures."""
        return replace(self, more={**self.more, **more})

    def figures(self) -> dict[str, float]:
        """All of it as numbers with the unit in their names."""
        steps = self.runs * self.steps
        found = {
            "runs_per_second": self.runs_per_second,
            "steps_per_second": steps / self.seconds,
            "cpu_seconds_per_1000_steps": 1e3 * self.cpu_of_a_step,
        }
        if self.peak_bytes:
            found["peak_memory_mib"] = max(self.peak_bytes) / _MIB
            found["peak_memory_of_all_mib"] = sum(self.peak_bytes) / _MIB
        if self.latencies_seconds:
            found["p50_ms"] = 1e3 * percentile(self.latencies_seconds, 0.5)
            found["p99_ms"] = 1e3 * percentile(self.latencies_seconds, 0.99)
        for part, seconds in self.cpu_seconds.items():
            found[f"cpu_seconds_per_1000_steps_{part}"] = 1e3 * seconds / steps
        return {**found, **self.more}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies. Raises IndexError without any."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def medians(rounds: Sequence[Round]) -> dict[str, float]:
    """Each figure's median over the rounds, rounded for reading."""
    each = [made.figures() for made in rounds]
    return {name: _median([one[name] for one in each]) for name in each[0]}


def _median(values: Sequence[float]) -> float:
    return round(median(values), 3)


def ratios(ours: Sequence[Round], others: Sequence[Round]) -> list[float]:
    """Our speed over theirs, pair by pair."""
    pairs = zip(ours, others, strict=True)
    return [round(a.runs_per_second / b.runs_per_second, 3) for a, b in pairs]


def report(load: str, rounds: Mapping[str, Sequence[Round]]) -> dict[str, Any]:
    """The object that `--json` prints, but for settings. `other` is the fastest of the variants.

    `rounds` by system: `ours`, variants of the chain as `celery-chain <variant>`, and the ceilings
    as `inline <variant>`.
    """
    found: dict[str, Any] = {"load": load, "ours": medians(rounds["ours"]), "ratio": None}
    variants = {name: made for name, made in rounds.items() if name.startswith("celery-chain ")}
    if variants:
        name = max(variants, key=lambda name: medians(variants[name])["runs_per_second"])
        found["other"] = _named(name, variants[name])
        found["ratios"] = ratios(rounds["ours"], variants[name])
        found["ratio"] = _median(found["ratios"])
        found["others"] = [_named(name, made) for name, made in variants.items()]
    ceilings = [_named(name, made) for name, made in rounds.items() if name.startswith("inline ")]
    return {**found, "ceiling": ceilings}


def beside(
    load: str, rounds: Mapping[str, Sequence[Round]], other: str, title: str
) -> dict[str, Any]:
    """`ours` beside ourselves under `other` conditions; `ratio` is ours over that, pair by pair.

    `cpu_ratio` is our CPU of a step over that, which a machine with other work disturbs less.
    """
    found = ratios(rounds["ours"], rounds[other])
    pairs = zip(rounds["ours"], rounds[other], strict=True)
    cpu = [a.cpu_of_a_step / b.cpu_of_a_step for a, b in pairs if b.cpu_of_a_step]
    return {
        "load": load,
        "ours": medians(rounds["ours"]),
        "other": {"system": title, **medians(rounds[other])},
        "ratios": found,
        "ratio": _median(found),
        "cpu_ratio": _median(cpu) if cpu else None,
    }


def sqlite_beside(rounds: Mapping[str, Sequence[Round]]) -> dict[str, Any]:
    """What `--db both` adds: the other database's medians, and its speed over PostgreSQL's."""
    found = ratios(rounds["sqlite"], rounds["ours"])
    return {
        "sqlite": medians(rounds["sqlite"]),
        "sqlite_over_postgres": _median(found),
        "sqlite_over_postgres_ratios": found,
    }


def scaled(load: str, rounds: Mapping[int, Sequence[Round]]) -> dict[str, Any]:
    """Speed by number of workers, each over that of the fewest, pair by pair."""
    base = min(rounds)
    found = {count: ratios(made, rounds[base]) for count, made in rounds.items() if count != base}
    return {
        "load": load,
        "ours": medians(rounds[base]),
        "by_workers": {str(count): medians(made) for count, made in rounds.items()},
        "scaling": {str(count): _median(each) for count, each in found.items()},
        "scaling_ratios": {str(count): each for count, each in found.items()},
        "ratio": None,
    }


def _named(name: str, rounds: Sequence[Round]) -> dict[str, Any]:
    system, _, variant = name.partition(" ")
    return {"system": system, "variant": variant, **medians(rounds)}
