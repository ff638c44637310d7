"""The rule of four eyes: of which runs one person's decision needs a second person.

In a document `x-four-eyes: true`, or `{when: CONDITION, hours: 24}`; in a plan the same as an
object, without `when` where it is for all runs. The condition speaks of the run's inputs alone:
they never change, so a run is under the rule from its first to its last minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.core.exchange import Facts
from orchestrator.definitions.conditions import Condition, parse_condition
from orchestrator.definitions.expressions import Root
from orchestrator.definitions.inputs import declared_inputs
from orchestrator.definitions.problems import ExpressionError, Path, shown
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT

USUAL_HOURS = 24.0
MOST_HOURS = 24.0 * 90
_FIELDS = ("when", "hours")


class FourEyes:
    """A plan's rule, compiled. Raises ExpressionError for a condition that cannot be read."""

    def __init__(self, rule: Mapping[str, Any]) -> None:
        self._is_there = bool(rule)
        self._when: Condition | None = parse_condition(rule["when"]) if "when" in rule else None
        self.seconds = float(rule.get("hours", USUAL_HOURS)) * 3600
        """How long a proposal is good."""

    def applies(self, facts: Facts) -> bool:
        """Whether a run with these inputs is under it.

        One of which an input that the condition asks for is missing is: nobody shall be rid of the
        rule by leaving something out.
        """
        if not self._is_there or self._when is None:
            return self._is_there
        scope = Scope(facts)
        values = [each.evaluate(scope) for each in self._when.expressions()]
        if any(value is ABSENT or value is None for value in values):
            return True
        return self._when.holds(scope)


def rule_of(said: Any) -> dict[str, Any]:
    """As a plan holds it; nothing for what is not said, or wrong (`rule_problems`)."""
    if said is True:
        return {"hours": USUAL_HOURS}
    return {"hours": USUAL_HOURS, **said} if isinstance(said, Mapping) else {}


def rule_problems(said: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    """(path, found, wanted) of everything wrong with it; `schema` is that of the inputs."""
    if isinstance(said, bool):
        return
    if not isinstance(said, Mapping):
        yield (), shown(said), "true, or an object with when and hours"
        return
    for name in said:
        if name not in _FIELDS:
            yield (name,), f"the field {name}", "one of: when, hours"
    hours = said.get("hours", USUAL_HOURS)
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= MOST_HOURS:
        yield ("hours",), shown(hours), f"a number of hours, at most {MOST_HOURS:g}"
    if "when" in said:
        yield from over_inputs_problems(said["when"], schema)


def over_inputs_problems(when: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    """What is wrong with a field `when`, a condition over the inputs alone."""
    if not isinstance(when, str):
        yield ("when",), shown(when), "a condition over the inputs: $inputs.amount > 1000"
        return
    try:
        expressions = list(parse_condition(when).expressions())
    except ExpressionError as error:
        yield ("when",), error.found, error.wanted
        return
    if not expressions:
        yield ("when",), shown(when), "a condition that asks for an input, or no `when` at all"
    declared = declared_inputs(schema)
    for each in expressions:
        if each.root is not Root.INPUTS:
            yield ("when",), each.text, "inputs alone ($inputs.NAME): what is known from the start"
        elif not each.names & declared.keys():
            yield ("when",), each.text, "one of the inputs: " + ", ".join(sorted(declared))
