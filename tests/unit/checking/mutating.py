"""Documents spoilt at random: what a check must survive, whatever it says of it."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, "", " ", "x", [], {}, [None], {"": None}, {"$ref": "#/"},
    "$inputs", "$inputs.", "$inputs.a.b[0]#/x~2", "$steps.a.outputs.b", "$steps..outputs.",
    "{$", "$", "$response.body#/~", "$response.header.", "{$statusCode} {$url}",
    "$statusCode == 200 && (", "\u0000",
    {"reference": "$components.parameters.x"}, {"reference": 7}, {"x-first-of": ["$url", 3]},
    {"$ref": "#/workflows/0"}, {"allOf": [{"$ref": "#/workflows/0/inputs"}]}, [[[[]]]], "🙂" * 50,
    "$sourceDescriptions.a.b", {"none": ""}, {"in": "header", "name": "X"}, 10**40, "a/b~c",
)  # fmt: skip
KEYS = (
    "steps", "workflows", "inputs", "outputs", "parameters", "requestBody", "payload",
    "criteria", "context", "onSuccess", "onFailure", "dependsOn", "x-compensation", "x-verify",
    "x-idempotency", "x-pivot", "stepId", "workflowId", "operationId", "operationPath", "type",
    "value", "name", "in", "condition", "components", "successCriteria", "replacements",
    "contentType", "retryLimit", "sourceDescriptions", "url", "$ref", "enum", "properties",
    "required", "allOf", "items", "additionalProperties", "x-effects", "onlyIf", "kind",
)  # fmt: skip


def mutated(document: Any, chance: random.Random, *, times: int = 3) -> Any:
    """A copy that is changed at a few places: values replaced, removed, moved, doubled, renamed."""
    changed = copy.deepcopy(document)
    for _ in range(times):
        places = list(_places(changed))
        if not places:
            return changed
        holder, key = chance.choice(places)
        _change(holder, key, chance, places)
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key of it."""
    todo = [value]
    while todo:
        at = todo.pop()
        keys = list(at) if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ()
        for key in keys:
            yield at, key
            todo.append(at[key])


def _change(holder: Any, key: Any, chance: random.Random, places: list[tuple[Any, Any]]) -> None:
    match chance.randrange(6):
        case 0 | 1:
            holder[key] = copy.deepcopy(chance.choice(ODD_VALUES))
        case 2:
            del holder[key]
        case 3:
            other, where = chance.choice(places)
            if where in other if isinstance(other, dict) else where < len(other):
                holder[key] = copy.deepcopy(other[where])
        case 4 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        case _ if isinstance(holder, dict):
            holder[chance.choice(KEYS)] = holder.pop(key)
        case _:
            holder.reverse()
