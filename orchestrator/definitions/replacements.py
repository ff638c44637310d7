"""Payload replacements: values put into a body before it is written.

In a template each is `{target, type, value}` with the type `jsonpointer`, `jsonpath` or `xpath`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.definitions.encoding import kind_of, refused, scalar_text
from orchestrator.definitions.expressions import Expression, Value, compile_value
from orchestrator.definitions.pointers import pointer_tokens, put
from orchestrator.definitions.problems import ExpressionError, Path, RequestRefused
from orchestrator.definitions.scope import Scope, UnreadableBody
from orchestrator.definitions.values import ABSENT

Put = Callable[[Any, Any], Any]
"""From a payload and a value to the payload with it, or ABSENT when the target leads nowhere."""


@dataclass(frozen=True, slots=True)
class _Replacement:
    target: str
    value: Value
    put: Put
    place: str


class Replacements:
    """Those of one body, in their order."""

    def __init__(self, items: Sequence[Mapping[str, Any]]) -> None:
        self._items = [_compiled(index, item) for index, item in enumerate(items)]

    def put_into(self, payload: Any, scope: Scope) -> Any:
        """The payload with the values in their places. Raises RequestRefused."""
        for each in self._items:
            value = each.value.resolve(scope)
            if value is ABSENT:  # an optional input that was not given leaves the payload as it is
                continue
            try:
                payload = each.put(payload, value)
            except UnreadableBody as error:
                raise refused(
                    each.place, f"a payload: {error}", f"one with {each.target}"
                ) from None
            if payload is ABSENT:
                wanted = f"a payload in which {each.target} leads somewhere"
                raise refused(each.place, "nothing there", wanted)
        return payload

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression, with its place in the template."""
        for each in self._items:
            yield from each.value.expressions()


def compile_target(kind: str, target: str) -> Put:
    """How a value is put there. Raises ExpressionError for what can be no target."""
    # Imported where it is used, as criteria do: most plans have none of these.
    match kind:
        case "jsonpointer":
            tokens = pointer_tokens(target)
            return lambda payload, value: put(payload, tokens, value)
        case "jsonpath":
            from orchestrator.definitions.json_paths import compile_json_locations  # noqa: PLC0415 - rare

            locations = compile_json_locations(target)
            return lambda payload, value: _put_all(payload, locations(payload), value)
        case "xpath":
            from orchestrator.definitions.xml_paths import check_target  # noqa: PLC0415 - rare

            check_target(target)
            return lambda payload, value: _put_into_xml(payload, target, value)
        case _:
            raise ExpressionError(repr(kind), "one of: jsonpointer, jsonpath, xpath")


def _compiled(index: int, item: Mapping[str, Any]) -> _Replacement:
    path: Path = ("requestBody", "replacements", index)
    return _Replacement(
        target=item["target"], value=compile_value(item["value"], (*path, "value")),
        put=compile_target(item["type"], item["target"]), place=f"requestBody/replacements/{index}",
    )  # fmt: skip


def _put_all(payload: Any, locations: list[tuple[str | int, ...]], value: Any) -> Any:
    if not locations:
        return ABSENT
    # The deepest first: what lies within another place is not looked for after that has changed.
    for location in sorted(locations, key=len, reverse=True):
        payload = put(payload, [str(token) for token in location], value)
    return payload


def _put_into_xml(payload: Any, target: str, value: Any) -> Any:
    from orchestrator.definitions.xml_paths import put_into_xml  # noqa: PLC0415 - rare

    if not isinstance(payload, str):
        raise UnreadableBody(f"it is {kind_of(payload)}; wanted XML as a text")
    text = "" if value is None else scalar_text(value, f"the value for {target}")
    try:
        changed = put_into_xml(payload, target, text)
    except ExpressionError as error:
        raise _no_xpath(target, error) from None
    except ValueError:
        raise refused(target, "characters that no XML can hold", "text for XML") from None
    return ABSENT if changed is None else changed


def _no_xpath(target: str, error: ExpressionError) -> RequestRefused:
    """A prefix that the payload's root does not declare is found out only here."""
    return refused(f"the target {target}", error.found, "prefixes that the XML's root declares")
