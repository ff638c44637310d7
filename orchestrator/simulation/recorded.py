"""Answers of simulated APIs: those that a run has had, as far as its steps read them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.core.plan import Call
from orchestrator.definitions.checking.schemas import Schema
from orchestrator.ports.simulating import Visited
from orchestrator.testing.definitions import Definition
from orchestrator.testing.samples import Documented, sample
from orchestrator.testing.scripts import Answer

_BODY = re.compile(r"\$response\.body(?:#((?:/[^/]+)*))?")
_HEADER = re.compile(r"\$response\.header\.([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True)
class Replayed(Definition):
    """A workflow whose APIs answer as they have done before, else as their documents say."""

    recorded: Mapping[str, Sequence[Visited]] = field(default_factory=dict)
    asked: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def documented(self, call: Call) -> Iterator[Documented]:
        """With what the step gave then in the places that it was read from, the best first."""
        plain = list(Definition.documented(self, call))
        step = next((each.id for each in self.steps if each.call is call), None)
        visits = self.recorded.get(step or "", ())
        if step is not None and visits:
            visit = visits[min(self.asked[step], len(visits) - 1)]
            self.asked[step] += 1
            alike = sorted(plain, key=lambda made: made.status != visit.status)
            told = [_with_outputs(made, call, visit) for made in alike]
            if visit.status is not None:
                yield replace(told[0], status=visit.status)
            yield from told
        yield from plain


def _with_outputs(made: Documented, call: Call, visit: Visited) -> Documented:
    body, headers = made.body, dict(made.headers)
    for name, value in visit.outputs.items():
        expression = str(call.template.get("outputs", {}).get(name, ""))
        if (at := _BODY.fullmatch(expression)) is not None:
            body = _put(body, (at[1] or "").split("/")[1:], value)
        elif (header := _HEADER.fullmatch(expression)) is not None:
            headers[header[1].lower()] = str(value)
    return replace(made, body=body, headers=headers)


def _put(value: Any, tokens: Sequence[str], new: Any) -> Any:
    """The value with `new` at the end of this way, whatever was there."""
    if not tokens:
        return new
    name = tokens[0].replace("~1", "/").replace("~0", "~")
    if isinstance(value, list) and name.isdecimal():
        index = int(name)
        longer = [*value, *[None] * (index + 1 - len(value))]
        return [_put(v, tokens[1:], new) if i == index else v for i, v in enumerate(longer)]
    known = value if isinstance(value, Mapping) else {}
    return {**known, name: _put(known.get(name), tokens[1:], new)}


def results(
    call: Call,
    schemas: Mapping[str, Mapping[str, Any]],
    read: Sequence[str],
    visits: Sequence[Visited],
) -> list[Answer]:
    """What a Python function returns, time by time: as before, else a value that fits its type.

    No function is called: nobody knows what it would do. `read`: names that others read of it.
    """
    if visits:
        return [Answer(200, dict(visit.outputs)) for visit in visits]
    schema = Schema(schemas.get(call.task_name or "", {}), lambda value: value)
    made = sample(schema) if schema.fields() else {}
    more = schema.keyword("additionalProperties")
    filler = sample(Schema(more, lambda value: value)) if isinstance(more, Mapping) and more else 1
    return [
        Answer(200, {**dict.fromkeys(read, filler), **(made if isinstance(made, dict) else {})})
    ]
