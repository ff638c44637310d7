"""Attributes of a run: a few short texts by name, by which people look it up.

A workflow says what they are, over the inputs alone (`x-attributes: {customer: $inputs.who}` in a
document), and a submission may give more. They are stored and shown in clear, so that nothing
secret may become one: no input that `secrets` calls so, and nothing that has the name of a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.core.exchange import Facts
from orchestrator.core.plan import Plan
from orchestrator.core.redaction import HIDDEN, is_secret_name
from orchestrator.definitions.attribute_texts import (
    MOST_ATTRIBUTES,
    WANTED_NAME,
    WANTED_VALUE,
    Pairs,
    fits,
    is_name,
    problem_of,
)
from orchestrator.definitions.expressions import Expression, Root, as_text, compile_value
from orchestrator.definitions.inputs import declared_inputs
from orchestrator.definitions.problems import (
    ExpressionError,
    Path,
    UnresolvedExpression,
    shown,
)
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.secrets import Paths, Secrets
from orchestrator.definitions.values import ABSENT
from orchestrator.errors import InvalidInput, Problem

_NEVER_TEXT = {"object", "array"}


class Attributes:
    """What a plan declares, compiled. Raises ExpressionError for what cannot be read."""

    def __init__(self, declared: Mapping[str, Any], secrets: Secrets) -> None:
        self._declared = [(name, compile_value(value, (name,))) for name, value in declared.items()]
        self._secrets = secrets

    def of(self, inputs: Mapping[str, Any], given: Mapping[str, Any]) -> Pairs:
        """A run's attributes, by name; without those whose input is missing or null.

        Raises InvalidInput that names each attribute that cannot be one.
        """
        if not self._declared and not given:
            return ()
        found = self._evaluated(inputs)
        problems = list(self._problems_of(found, inputs, given))
        if problems:
            raise InvalidInput("the run's attributes cannot be kept", problems=problems)
        return tuple(sorted((n, as_text(value)) for n, value in {**given, **found}.items()))

    def again(self, inputs: Mapping[str, Any], known: Mapping[str, str]) -> Pairs:
        """Those of a run that follows another: what is declared now, and the others as they were.

        Raises InvalidInput.
        """
        declared = {name for name, _ in self._declared}
        return self.of(inputs, {n: value for n, value in known.items() if n not in declared})

    def _evaluated(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        scope, found = Scope(Facts(run_id="", inputs=inputs)), {}
        for name, value in self._declared:
            try:
                resolved = value.resolve(scope)
            except UnresolvedExpression:  # a longer text, one of whose inputs is missing
                continue
            if resolved is not ABSENT and resolved is not None and resolved != "":
                found[name] = resolved
        return found

    def _problems_of(
        self, found: Mapping[str, Any], inputs: Mapping[str, Any], given: Mapping[str, Any]
    ) -> Iterator[Problem]:
        for name, value in {**given, **found}.items():
            if not fits(value):
                yield problem_of(name, shown(value), WANTED_VALUE)
        secrets = self._secrets.of_inputs(inputs) if given else frozenset()
        for name, value in given.items():
            if not is_name(name):
                yield problem_of(name, shown(name), WANTED_NAME)
            elif is_secret_name(name) or (fits(value) and as_text(value) in secrets):
                yield problem_of(name, HIDDEN, "no secret: attributes are kept and shown in clear")
            elif name in found and as_text(value) != as_text(found[name]):
                wanted = f"{shown(found[name])}, as the workflow declares it, or nothing"
                yield problem_of(name, shown(value), wanted)
        count = len({**given, **found})
        if count > MOST_ATTRIBUTES:
            yield Problem(
                place="attributes", found=f"{count} of them", wanted=f"at most {MOST_ATTRIBUTES}"
            )


def attribute_problems(said: Any, plan: Plan) -> Iterator[tuple[Path, str, str]]:
    """(path, found, wanted) of all that is wrong with `x-attributes` of this plan's workflow."""
    if not isinstance(said, Mapping):
        yield (), shown(said), "an object: {customer: $inputs.customer_id}"
        return
    if len(said) > MOST_ATTRIBUTES:
        yield (), f"{len(said)} attributes", f"at most {MOST_ATTRIBUTES}"
    secrets = Secrets(plan).input_paths
    for name, value in said.items():
        path = (str(name),)
        if not isinstance(name, str) or not is_name(name):
            yield path, f"the name {name}", WANTED_NAME
        elif is_secret_name(name):
            yield path, f"the name {name}", "the name of nothing secret"
        elif not isinstance(value, str):
            yield path, shown(value), "an expression over the inputs: $inputs.customer_id"
        else:
            yield from (
                (path, *rest) for rest in _value_problems(value, plan.inputs_schema, secrets)
            )


def _value_problems(
    value: str, schema: Mapping[str, Any], secrets: Paths
) -> Iterator[tuple[str, str]]:
    try:
        expressions = [each for _, each in compile_value(value).expressions()]
    except ExpressionError as error:
        yield error.found, error.wanted
        return
    if not expressions:
        yield shown(value), "an expression over the inputs: $inputs.customer_id"
    declared = declared_inputs(schema)
    for each in expressions:
        if each.root is not Root.INPUTS:
            yield each.text, "inputs alone ($inputs.NAME): what is known from the start"
        elif not each.names & declared.keys():
            yield each.text, "one of the inputs: " + ", ".join(sorted(declared))
        elif _is_secret(each, secrets):
            yield each.text, "no secret input: attributes are kept and shown in clear"
        elif value == each.text and (kinds := _kinds_of(each, schema)) and kinds <= _NEVER_TEXT:
            yield f"{each.text}, of type {' or '.join(sorted(kinds))}", "a text or a number"


def _is_secret(expression: Expression, secrets: Paths) -> bool:
    """Whether it leads to a secret, into one, or to what holds one."""
    parts = (expression.name, *map(str, expression.accessors))
    named = any(is_secret_name(part) for part in parts)
    return named or any(_meet(parts, path) for path in secrets)


def _meet(parts: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Whether one begins with the other; `*` stands for any part."""
    return all(part == there or there == "*" for part, there in zip(parts, path, strict=False))


def _kinds_of(expression: Expression, schema: Mapping[str, Any]) -> set[str]:
    """The types that the input's schema names; none where that is not the whole of its way."""
    if expression.accessors:
        return set()
    said = declared_inputs(schema)[expression.name].get("type", ())
    return {said} if isinstance(said, str) else set(said)
