"""What a workflow itself promises: its objectives, where the document says some.

`x-slo: {success: {target: 0.995}, latency: {target: 0.95, seconds: 30}, compensation: off}`: the
same as of one workflow in `config/slos.yaml`, which goes before it. `core/slo` says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from orchestrator.core.slo import (
    LONGEST_SECONDS,
    MOST_LEAST_BAD,
    TIMED,
    WINDOW_DAYS,
    ObjectiveKind,
)
from orchestrator.definitions.problems import Path, shown

_FIELDS = ("target", "window_days", "least_bad")
_OFF = "off"
"""Which YAML 1.1 reads as false."""


def slo_of(said: Any) -> dict[str, Any]:
    """As a plan holds it, None for what is off; nothing for what is not said, or wrong
    (`slo_problems`)."""
    if not isinstance(said, Mapping):
        return {}
    return {
        str(kind): dict(rule) if isinstance(rule, Mapping) else None for kind, rule in said.items()
    }


def slo_problems(said: Any) -> Iterator[tuple[Path, str, str]]:
    """(path, found, wanted) of everything wrong with it."""
    if not isinstance(said, Mapping) or not said:
        yield (), shown(said), "an object: {success: {target: 0.995}}"
        return
    for kind, rule in said.items():
        if kind not in set(ObjectiveKind):
            yield (str(kind),), f"the field {kind}", "one of: " + ", ".join(ObjectiveKind)
        elif isinstance(rule, Mapping):
            for path, found, wanted in _rule_problems(rule, timed=kind in TIMED):
                yield (str(kind), *path), found, wanted
        elif rule is not False and rule != _OFF:
            yield (str(kind),), shown(rule), "an object with a target, or off"


def _rule_problems(rule: Mapping[str, Any], *, timed: bool) -> Iterator[tuple[Path, str, str]]:
    fields = (*_FIELDS, "seconds") if timed else _FIELDS
    for name in rule:
        if name not in fields:
            yield (str(name),), f"the field {name}", "one of: " + ", ".join(fields)
    target, seconds = rule.get("target"), rule.get("seconds")
    if not _is_number(target) or not 0 < target < 1:
        wanted = "the part of its events that shall be good: above 0, below 1"
        yield ("target",), _shown(rule, "target"), wanted
    if timed and (not _is_number(seconds) or not 0 < seconds <= LONGEST_SECONDS):
        yield ("seconds",), _shown(rule, "seconds"), f"seconds, at most {LONGEST_SECONDS:g}"
    for name, (least, most) in (("window_days", WINDOW_DAYS), ("least_bad", (1, MOST_LEAST_BAD))):
        value = rule.get(name, least)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            yield (name,), shown(value), f"a whole number, {least} to {most}"


def _shown(rule: Mapping[str, Any], name: str) -> str:
    return shown(rule[name]) if name in rule else "nothing"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
