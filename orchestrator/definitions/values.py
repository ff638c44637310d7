"""JSON values, and how one is found inside another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, final


@final
class Absent:
    """The value of a reference that leads nowhere. One instance, `ABSENT`; false in a condition."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = Absent()


def dig(value: Any, tokens: Sequence[str | int]) -> Any:
    """Follow the tokens of a JSON pointer, or ABSENT."""
    for token in tokens:
        value = _child(value, token)
        if value is ABSENT:
            return ABSENT
    return value


def dig_name(names: Mapping[str, Any], name: str, accessors: Sequence[str | int]) -> Any:
    """Look up `name`, then follow `accessors`; of keys with dots in them the longest counts."""
    if not accessors:
        return names.get(name, ABSENT)
    parts = [name, *map(str, accessors)]
    for count in range(len(parts), 0, -1):
        key = ".".join(parts[:count])
        if key in names:
            return dig(names[key], accessors[count - 1 :])
    return ABSENT


def _child(value: Any, token: str | int) -> Any:
    if type(value) is dict:  # as nearly always, and asking an abstract class is slow
        return value.get(str(token), ABSENT)
    if isinstance(value, Mapping):
        return value.get(str(token), ABSENT)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        index = _index(token)
        return value[index] if index is not None and index < len(value) else ABSENT
    return ABSENT


_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def _index(token: str | int) -> int | None:
    if isinstance(token, int):
        return token
    return int(token) if _INDEX.fullmatch(token) else None


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"), ((int, float), "a number"), (str, "a text"), (Mapping, "an object"),
    ((list, tuple), "an array"),
)  # fmt: skip


def json_kind(value: Any) -> str:
    """What a JSON value is, in words; integers and other numbers are one kind."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")
