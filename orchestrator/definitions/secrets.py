"""Which values of a workflow's runs are secret, worked out once from its plan.

    inputs    whose schema says `format: password` or `writeOnly`, whose name says it, or that go
              into a secret field of a request
    outputs   whose name says it, or that are read from a secret field of an answer
    names     of fields and parameters that the documents of its APIs call secret: a call's template
              has them under `secrets`

Where such a value turns up elsewhere, say within what an API answered, it is found by what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.core.joining import plans_of
from orchestrator.core.plan import Call, Plan
from orchestrator.core.redaction import (
    USUAL,
    Known,
    Rules,
    is_secret_name,
    path_of,
    secret_texts,
)
from orchestrator.definitions.secret_fields import secret_paths

Path = tuple[str, ...]
Paths = tuple[Path, ...]

_INPUT = re.compile(r"\$inputs\.([A-Za-z0-9_-]+)(#/[^\s}]*)?")
_OUTPUT = re.compile(r"\$steps\.([A-Za-z0-9_/-]+)\.outputs\.([A-Za-z0-9_.-]+)")


class Secrets:
    """Of one workflow version."""

    def __init__(self, plan: Plan) -> None:
        calls = list(_calls(plan))
        told = {str(n).lower() for _, call in calls for n in call.template.get("secrets", ())}
        names = frozenset(told)
        inputs, outputs = set[Path](), set[tuple[str, str]]()
        for each in plans_of(plan):
            inputs |= set(secret_paths(each.inputs_schema, names))
        for step, call in calls:
            for text in _at_secret_fields(call.template, names):
                inputs |= _inputs_in(text)
                outputs |= set(_OUTPUT.findall(text))
            outputs |= {(step, name) for name in _secret_outputs(call, names)}
        self._outputs = frozenset(outputs)
        self._together: dict[tuple[frozenset[str], Paths, Paths], Rules] = {}
        self.input_paths = tuple(sorted(inputs))
        self.rules = Rules(names=names)
        self.output_names = frozenset(
            name for name, value in plan.outputs.items() if self.tells(str(value))
        )

    def _within(self, besides: Rules, paths: Paths) -> Rules:
        """Names and places together; worked out once, since they are asked for at every step."""
        key = (besides.names, besides.paths, paths)
        known = self._together.get(key)
        if known is None:
            rules = self.rules | Rules(names=besides.names, paths=(*besides.paths, *paths))
            known = self._together[key] = rules
        return known

    def tells(self, expression: str) -> bool:
        """Whether it stands for something secret."""
        read = _inputs_in(expression)
        return not self._outputs.isdisjoint(_OUTPUT.findall(expression)) or any(
            secret[: len(path)] == path or path[: len(secret)] == secret
            for path in read for secret in self.input_paths
        )  # fmt: skip

    def of_outputs(
        self, step_id: str, outputs: Mapping[str, Any], besides: Rules = USUAL
    ) -> list[str]:
        """The secret texts among what a step gave; `besides` is secret of every workflow."""
        named = self.names_of_outputs(step_id, outputs)
        found = [text for name in named for text in secret_texts(outputs[name])]
        return [*found, *self._within(besides, ()).texts_in(outputs)]

    def names_of_outputs(self, step_id: str, outputs: Mapping[str, Any]) -> list[str]:
        """Which of the outputs that a step gave are secret."""
        is_secret, known = self.rules.is_secret, self._outputs
        return [name for name in outputs if (step_id, name) in known or is_secret(name)]

    def of_inputs(self, inputs: Mapping[str, Any]) -> frozenset[str]:
        """The secret texts among what went in."""
        return frozenset(self._within(USUAL, self.input_paths).texts_in(inputs))

    def of_run(
        self,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Mapping[str, Any]],
        besides: Rules = USUAL,
    ) -> Rules:
        """What is to be hidden of one run; `outputs` by step."""
        texts = list(self._within(besides, self.input_paths).texts_in(inputs))
        for step, given in outputs.items():
            texts += self.of_outputs(step, given, besides)
        return replace(self.rules, known=Known.of(texts)) if texts else self.rules


def _calls(plan: Plan) -> Iterator[tuple[str, Call]]:
    """All of them, with the id of the step whose outputs theirs are; "" where nobody reads them."""
    for step in plan.steps:
        yield from _and_verify(step.id, step.call)
        for call in () if step.compensation is None else step.compensation.calls:
            yield from _and_verify("", call)


def _and_verify(step: str, call: Call) -> Iterator[tuple[str, Call]]:
    yield step, call
    if call.verify is not None:
        yield "", call.verify


def _secret_outputs(call: Call, names: frozenset[str]) -> Iterator[str]:
    """Outputs that are read from a secret field: the last word of their expression says so."""
    declared = [call.template.get("outputs", {})]
    declared += [done.get("outputs", {}) for done in call.template.get("alreadyDone", ())]
    for outputs in declared:
        for name, expression in outputs.items():
            last = re.split(r"[/.]", str(expression))[-1]
            if is_secret_name(name) or is_secret_name(last) or last.lower() in names:
                yield name


def _at_secret_fields(template: Mapping[str, Any], names: frozenset[str]) -> Iterator[str]:
    """The expressions that stand for the values of secret fields and parameters of a request."""
    for item in template.get("parameters", ()):
        if is_secret_name(item["name"]) or item["name"].lower() in names:
            yield from _texts(item["value"])
    for part in (template.get("requestBody"), template.get("arguments")):
        yield from _in_secret_fields(part, names)


def _in_secret_fields(value: Any, names: frozenset[str]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if is_secret_name(name) or name.lower() in names:
                yield from _texts(item)
            else:
                yield from _in_secret_fields(item, names)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _in_secret_fields(item, names)


def _texts(value: Any) -> Iterable[str]:
    return (text for text in secret_texts(value) if "$" in text)


def _inputs_in(text: str) -> frozenset[Path]:
    return frozenset(
        (name, *path_of(pointer[1:])) if len(pointer) > 2 else (name,)
        for name, pointer in _INPUT.findall(text)
    )
