"""Which fields answers had and of which JSON types, without anything of what stood in them.

A shape is `{place: {type: how often}}`. A place is a JSON pointer in which `*` stands for every
element of an array, and for names that may be data themselves: ids, addresses, keys of large maps.
So the number of objects at a place, less those at a field below it, lacked the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MOST_PLACES = 200
"""Of one shape; what comes beyond is left out."""
DEEPEST = 6
MOST_FIELDS = 40
"""An object with more is a map, whose keys are data."""
MOST_ELEMENTS = 20
"""Of an array; the others are not looked at."""

Shape = dict[str, dict[str, int]]
ANY_NAME = "*"
_NAME = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$.:-]{0,39}")
_DATA = re.compile(r"\d{3,}|[0-9a-f]{8,}|@.*\.")


def add_shape(shape: Shape, value: object, place: str = "") -> None:
    """One JSON value more."""
    if place not in shape and len(shape) >= MOST_PLACES:
        return
    kinds = shape.setdefault(place, {})
    kind = type_of(value)
    kinds[kind] = kinds.get(kind, 0) + 1
    if place.count("/") >= DEEPEST:
        return
    if isinstance(value, Mapping):
        is_map = len(value) > MOST_FIELDS
        for name, item in value.items():
            add_shape(shape, item, f"{place}/{ANY_NAME if is_map else _plain(str(name))}")
    elif isinstance(value, list | tuple):
        for item in value[:MOST_ELEMENTS]:
            add_shape(shape, item, f"{place}/{ANY_NAME}")


def merge_shapes(into: Shape, other: Mapping[str, Mapping[str, int]]) -> None:
    """Take over what another one counts."""
    for place, kinds in other.items():
        if place not in into and len(into) >= MOST_PLACES:
            continue
        mine = into.setdefault(place, {})
        for kind, count in kinds.items():
            mine[kind] = mine.get(kind, 0) + count


def tokens_of(place: str) -> Sequence[str]:
    """The parts of a place."""
    return place.split("/")[1:]


def type_of(value: object) -> str:
    """The JSON type of a value."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case None:
            return "null"
        case Mapping():
            return "object"
        case _:
            return "array"


def _plain(name: str) -> str:
    return name if _NAME.fullmatch(name) and not _DATA.search(name) else ANY_NAME
