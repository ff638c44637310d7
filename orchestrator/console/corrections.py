"""The values of a stuck request as fields: what was changed becomes a correction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nicegui import ui

from orchestrator.core.redaction import HIDDEN, is_secret_name
from orchestrator.errors import InvalidInput, Problem

MOST = 40
Leaf = str | int | float | bool | None


class Corrections:
    """Fields for the values of a request's body; none where it has none that can be changed."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._before = dict(leaves(_body_of(context)))
        self._fields: dict[str, ui.input] = {}

    def draw(self) -> None:
        """The fields, folded away: most retries want none."""
        if not self._before:
            return
        with ui.expansion("With other values, as another request").classes("w-full"):
            for pointer, value in list(self._before.items())[:MOST]:
                field = ui.input(pointer, value=_typed(value)).classes("w-full")
                self._fields[pointer] = field.props("dense")

    def changed(self) -> dict[str, Leaf] | None:
        """By JSON pointer; None: nothing was. Raises InvalidInput."""
        found = {
            pointer: read_value(pointer, field.value, self._before[pointer])
            for pointer, field in self._fields.items()
            if field.value != _typed(self._before[pointer])
        }
        return found or None


def leaves(value: Any, pointer: str = "") -> Iterator[tuple[str, Leaf]]:
    """The values of a JSON document by their pointers, without what is secret."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not is_secret_name(name):
                escaped = name.replace("~", "~0").replace("/", "~1")
                yield from leaves(item, f"{pointer}/{escaped}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from leaves(item, f"{pointer}/{place}")
    elif pointer and value != HIDDEN:
        yield pointer, value


def _body_of(context: Mapping[str, Any]) -> Any:
    """Of the stuck request, as it is kept with an escalation; None: none that is JSON."""
    stuck = context.get("stuck") or {}
    if stuck.get("step") in context.get("unknown", ()):
        return None  # it may have had its effect: another request might do it twice
    body = (stuck.get("request") or {}).get("body")
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def _typed(value: Leaf) -> str:
    """As it stands in its field."""
    return value if isinstance(value, str) else json.dumps(value)


def read_value(pointer: str, text: str, before: Leaf) -> Leaf:
    """What was typed, as the kind of value that stood there. Raises InvalidInput."""
    if isinstance(before, str):
        return text
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    if isinstance(found, (dict, list)) or (isinstance(found, str) and before is not None):
        wanted = f"a value such as {json.dumps(before)}"
        raise InvalidInput(
            "this cannot stand there", problems=[Problem(place=pointer, found=text, wanted=wanted)]
        )
    return found  # type: ignore[no-any-return]  # what JSON has that is no object and no array
