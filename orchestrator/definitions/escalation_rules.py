"""How bad an escalation of a workflow's runs is, where the workflow says so.

In a document `x-escalation: {severity: high, minutes: 30}`, or a list of these of which the first
counts whose condition holds: `[{when: $inputs.amount > 9, severity: high}, {severity: low}]`.
Conditions speak of the run's inputs alone. What is not said is the deployment's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.core.exchange import Facts
from orchestrator.core.severity import Severity
from orchestrator.definitions.conditions import Condition, parse_condition
from orchestrator.definitions.four_eyes import over_inputs_problems
from orchestrator.definitions.problems import Path, shown
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT

MOST_RULES = 20
MOST_MINUTES = 60.0 * 24 * 90
_FIELDS = ("when", "severity", "minutes")


class EscalationRules:
    """A plan's rules, compiled. Raises ExpressionError for a condition that cannot be read."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._rules = [
            (parse_condition(rule["when"]) if "when" in rule else None, rule)
            for rule in told.get("rules", ())
        ]

    def of(self, facts: Facts) -> tuple[Severity | None, float | None]:
        """Severity, and the seconds within which somebody should decide; None: the deployment's."""
        for when, rule in self._rules:
            if when is None or _holds(when, facts):
                severity, minutes = rule.get("severity"), rule.get("minutes")
                return (
                    None if severity is None else Severity(severity),
                    None if minutes is None else float(minutes) * 60,
                )
        return None, None


def _holds(when: Condition, facts: Facts) -> bool:
    """One that asks for an input which the run does not have does not."""
    scope = Scope(facts)
    values = [each.evaluate(scope) for each in when.expressions()]
    return not any(value is ABSENT or value is None for value in values) and when.holds(scope)


def escalation_of(said: Any) -> dict[str, Any]:
    """As a plan holds it; nothing for what is not said, or wrong (`escalation_problems`)."""
    rules = said if isinstance(said, list | tuple) else [said]
    told = [dict(rule) for rule in rules if isinstance(rule, Mapping)]
    return {"rules": told} if told else {}


def escalation_problems(said: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    """(path, found, wanted) of everything wrong with it; `schema` is that of the inputs."""
    if isinstance(said, Mapping):
        yield from _rule_problems(said, schema)
        return
    if not isinstance(said, list | tuple) or not 0 < len(said) <= MOST_RULES:
        yield (), shown(said), f"severity and minutes, or a list of 1 to {MOST_RULES} such objects"
        return
    for place, rule in enumerate(said):
        for path, found, wanted in _rule_problems(rule, schema):
            yield (place, *path), found, wanted
        if place < len(said) - 1 and isinstance(rule, Mapping) and "when" not in rule:
            yield (place,), "a rule without `when` before others", "it at the end: it always holds"


def _rule_problems(rule: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    if not isinstance(rule, Mapping):
        yield (), shown(rule), "an object with severity and minutes"
        return
    for name in rule:
        if name not in _FIELDS:
            yield (str(name),), f"the field {name}", "one of: " + ", ".join(_FIELDS)
    severity, minutes = rule.get("severity"), rule.get("minutes")
    if severity is None and minutes is None:
        yield (), "neither", "severity or minutes"
    if severity is not None and severity not in set(Severity):
        yield ("severity",), shown(severity), "one of: " + ", ".join(Severity)
    if minutes is not None and not _is_time(minutes):
        yield ("minutes",), shown(minutes), f"a number of minutes, at most {MOST_MINUTES:g}"
    if "when" in rule:
        yield from over_inputs_problems(rule["when"], schema)


def _is_time(minutes: Any) -> bool:
    is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
    return is_number and 0 < minutes <= MOST_MINUTES
