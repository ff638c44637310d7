"""What is wanted, what was reached, and the one object that is printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Found = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One figure of the object, and what it should be."""

    figure: str
    text: str
    holds: Callable[[float], bool]


WANTED = (
    Wanted(figure="utilization", text=">= 0.99", holds=lambda value: value >= 0.99),
    Wanted(figure="violations", text="0", holds=lambda value: value == 0),
    Wanted(figure="redis_round_trips_per_call", text="<= 2", holds=lambda value: value <= 2),
    Wanted(figure="jain", text=">= 0.98", holds=lambda value: value >= 0.98),
    Wanted(figure="small_p99_over_alone", text="<= 1.5", holds=lambda value: value <= 1.5),
    Wanted(figure="outage_failed_runs", text="0", holds=lambda value: value == 0),
    Wanted(figure="outage_peak_over_permitted", text="<= 1.2", holds=lambda value: value <= 1.2),
    Wanted(figure="token_refreshes", text="1", holds=lambda value: value == 1),
    Wanted(figure="token_failed_runs", text="0", holds=lambda value: value == 0),
    Wanted(figure="adaptive_violation_share", text="< 0.01", holds=lambda value: value < 0.01),
    Wanted(figure="adaptive_seconds_until_95", text="<= 60", holds=lambda value: value <= 60),
    Wanted(figure="killed_peak_over_ceiling", text="<= 1", holds=lambda value: value <= 1),
)


def summary(phases: Mapping[str, Any]) -> dict[str, Any]:
    """The figures at the top of the object; None where its phase was not asked for or not possible.

    `phases` by name; `steady` is a list, one for each number of workers.
    """
    steady: Sequence[Found] = phases.get("steady", [])
    return {
        "utilization": _worst(steady, "utilization", min),
        "violations": _total(phases, "violations"),
        "jain": _of(phases, "fairness", "jain"),
        "small_p99_over_alone": _of(phases, "fairness", "small_p99_over_alone"),
        "redis_round_trips_per_call": _worst(steady, "redis_round_trips_per_call", max),
        "gate_over_limits": _of(phases, "cost", "gate_over_limits"),
        "outage_failed_runs": _of(phases, "outage", "failed_runs"),
        "outage_peak_over_permitted": _of(phases, "outage", "peak_over_permitted"),
        "token_refreshes": _of(phases, "token", "refreshes"),
        "token_failed_runs": _of(phases, "token", "failed_runs"),
        "adaptive_violation_share": _of(phases, "adaptive", "violation_share"),
        "adaptive_seconds_until_95": _of(phases, "adaptive", "seconds_until_95"),
        "killed_seconds_until_all_usable": _of(phases, "killed", "seconds_until_all_usable"),
        "killed_peak_over_ceiling": _of(phases, "killed", "peak_over_ceiling"),
        "failed_runs": _total(phases, "failed_runs"),
    }


def missed(found: Mapping[str, Any]) -> dict[str, str]:
    """Figures that are not as wanted, with what was."""
    return {
        wanted.figure: f"{found[wanted.figure]}, wanted {wanted.text}"
        for wanted in WANTED
        if found.get(wanted.figure) is not None and not wanted.holds(found[wanted.figure])
    }


def kept(found: Mapping[str, Any]) -> bool:
    """Whether no limit was exceeded and no run failed: the exit code."""
    return not found["violations"] and not found["failed_runs"]


def _of(phases: Mapping[str, Any], phase: str, figure: str) -> Any:
    return phases.get(phase, {}).get(figure)


def _worst(steady: Sequence[Found], figure: str, choose: Callable[[list[float]], float]) -> Any:
    return choose([one[figure] for one in steady]) if steady else None


def _total(phases: Mapping[str, Any], figure: str) -> int:
    each = [*phases.get("steady", []), *(phases[name] for name in phases if name != "steady")]
    return sum(one.get(figure, 0) for one in each)
