"""What a run spends, and what it is meant to do once: declared over its inputs.

    x-budget: {amount: $inputs.amount, currency: EUR}     # or currency: $inputs.currency
    x-intent: {order: $inputs.order_id}                   # left out: all inputs together

The policies of software agents go by them: budgets, and wishes that were there before. Both are
known from the start, so a run is judged before it begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.core.exchange import Facts
from orchestrator.definitions.agent_policies import CURRENCY, LARGEST_AMOUNT, millionths
from orchestrator.definitions.attribute_texts import MOST_ATTRIBUTES, WANTED_NAME, is_name
from orchestrator.definitions.expressions import Root, compile_value
from orchestrator.definitions.inputs import declared_inputs
from orchestrator.definitions.problems import (
    ExpressionError,
    Path,
    UnresolvedExpression,
    shown,
)
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT
from orchestrator.errors import InvalidInput, Problem

_FIELDS = ("amount", "currency")
_KINDS = {"amount": ({"number", "integer", "string"}, "a number"), "currency": ({"string"}, "text")}
_WANTED_AMOUNT = (
    f"a number from 0 to {LARGEST_AMOUNT}, exact to a millionth, or an input: $inputs.amount"
)
_WANTED_CURRENCY = "a unit in capitals, EUR or POINTS, or an input: $inputs.currency"


class Spending:
    """What a plan declares, compiled. Raises ExpressionError for what cannot be read."""

    def __init__(self, budget: Mapping[str, Any], intent: Mapping[str, Any]) -> None:
        self._budget = {name: compile_value(said, (name,)) for name, said in budget.items()}
        self._intent = {name: compile_value(said, (name,)) for name, said in intent.items()}

    def of(self, inputs: Mapping[str, Any]) -> tuple[int, str]:
        """A run's amount in millionths and its currency; (0, "") where none is declared.

        Raises InvalidInput where the inputs do not tell them: what is left out is not free.
        """
        if not self._budget:
            return 0, ""
        values = _resolved(self._budget, inputs)
        amount, currency = millionths(values["amount"]), values["currency"]
        problems = []
        if amount is None:
            wanted = f"a number from 0 to {LARGEST_AMOUNT}, exact to a millionth"
            problems.append(_problem("amount", values["amount"], wanted))
        if not isinstance(currency, str) or not CURRENCY.fullmatch(currency):
            problems.append(_problem("currency", currency, "a unit in capitals: EUR"))
        if amount is None or problems:
            raise InvalidInput("what the run would spend is not known", problems=problems)
        return amount, str(currency)

    def intent(self, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """By what a run is the same wish as another; None: by all inputs."""
        return _resolved(self._intent, inputs) if self._intent else None


def budget_problems(said: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    """(path, found, wanted) of all that is wrong with `x-budget`; `schema`: of the inputs."""
    if not isinstance(said, Mapping):
        yield (), shown(said), "an object: {amount: $inputs.amount, currency: EUR}"
        return
    for name in said:
        if name not in _FIELDS:
            yield (str(name),), f"the field {name}", "one of: amount, currency"
    for name in _FIELDS:
        if name not in said:
            yield (), f"no {name}", f"the field {name}"
    if "amount" in said and not isinstance(said["amount"], str):
        if millionths(said["amount"]) is None:
            yield ("amount",), shown(said["amount"]), _WANTED_AMOUNT
    elif "amount" in said:
        yield from _input_problems("amount", said["amount"], schema, _WANTED_AMOUNT)
    currency = said.get("currency", "EUR")
    if not isinstance(currency, str) or not CURRENCY.fullmatch(currency):
        yield from _input_problems("currency", currency, schema, _WANTED_CURRENCY)


def intent_problems(said: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    """The same of `x-intent`."""
    if not isinstance(said, Mapping) or not 0 < len(said) <= MOST_ATTRIBUTES:
        yield (), shown(said), f"an object of 1 to {MOST_ATTRIBUTES}: {{order: $inputs.order_id}}"
        return
    for name, value in said.items():
        if not is_name(str(name)):
            yield (str(name),), f"the name {name}", WANTED_NAME
        yield from _input_problems(str(name), value, schema, "an input: $inputs.order_id")


def _input_problems(
    name: str, value: Any, schema: Mapping[str, Any], wanted: str
) -> Iterator[tuple[Path, str, str]]:
    """Of what has to be one expression over the inputs, of a kind that fits."""
    try:
        expressions = [each for _, each in compile_value(value).expressions()]
    except ExpressionError as error:
        yield (name,), error.found, error.wanted
        return
    if len(expressions) != 1 or value != expressions[0].text:
        yield (name,), shown(value), wanted
        return
    (found,), declared = expressions, declared_inputs(schema)
    if found.root is not Root.INPUTS:
        yield (name,), found.text, "inputs alone ($inputs.NAME): what is known from the start"
    elif not found.names & declared.keys():
        yield (name,), found.text, "one of the inputs: " + ", ".join(sorted(declared))
    elif name in _KINDS and not found.accessors:
        said = declared[found.name].get("type", ())
        kinds, fits = {said} if isinstance(said, str) else set(said), _KINDS[name]
        if kinds and not kinds & fits[0]:
            yield (name,), f"{found.text}, of type {' or '.join(sorted(kinds))}", fits[1]


def _resolved(declared: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    scope, found = Scope(Facts(run_id="", inputs=inputs)), {}
    for name, value in declared.items():
        try:
            resolved = value.resolve(scope)
        except UnresolvedExpression:
            resolved = None
        found[name] = None if resolved is ABSENT else resolved
    return found


def _problem(name: str, value: Any, wanted: str) -> Problem:
    return Problem(place=f"x-budget, {name}", found=shown(value), wanted=wanted)
