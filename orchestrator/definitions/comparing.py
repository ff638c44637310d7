"""States of an API, as its answers show them, compared field by field."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.definitions.problems import pointer

NOTHING = "nothing"
"""Stands for what is not there."""
SOMETHING = "something"
"""Stands for an element, or a whole answer, that is there."""

_VOLATILE = re.compile(
    r"(?:last_?)?(?:modified|updated|changed|accessed|seen)(?:_?(?:at|on|time|date))?|e?tag"
    r"|revision|version|timestamp",
    re.IGNORECASE,
)
_NAMES = ("id", "uuid", "key", "name", "slug")
_ABSENT = frozenset({404, 410})


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One field of one read that is not as it was."""

    read: str  # "GET /v1/charges/ch_1"
    where: str  # a JSON pointer; elements of a list are named by their id: /data/[ch_1]/amount
    before: Any
    after: Any


Snapshot = Mapping[str, Mapping[str, Any]]
"""For each read what it shows: values by where they stand. A thing that is absent shows nothing."""


def shown(status: int, body: Any) -> dict[str, Any]:
    """What an answer shows; an error shows its status alone."""
    if status in _ABSENT:
        return {}
    if not 200 <= status < 300:
        return {"": f"status {status}"}
    return dict(_flat(body, ()))


def differences(
    before: Snapshot, after: Snapshot, *, volatile: Collection[tuple[str, str]] = ()
) -> list[Difference]:
    """Every field that is not as before, but for those that change by themselves."""
    found: list[tuple[str, Difference]] = []
    for read in {**before, **after}:
        left, right = before.get(read, {}), after.get(read, {})
        for where in sorted({**left, **right}):
            old, new = left.get(where, NOTHING), right.get(where, NOTHING)
            last = where.rpartition("/")[2]
            is_kept = bool(left) and bool(right) and bool(_VOLATILE.fullmatch(last))
            if old != new and not is_kept and not _is_empty(old, new):
                found.append((where, _whole(read, where, old, new, left=left, right=right)))
    return list({
        (each.read, each.where): each for where, each in found
        if not {(each.read, where), (each.read, each.where)} & {*volatile}
    }.values())  # fmt: skip


def _is_empty(old: Any, new: Any) -> bool:
    """Whether it is only a list or an object that had nothing in it, or has nothing any more."""
    return NOTHING in (old, new) and ([] in (old, new) or {} in (old, new))


def _whole(
    read: str, where: str, old: Any, new: Any, *, left: Mapping[str, Any], right: Mapping[str, Any]
) -> Difference:
    """The difference; for a field of an element that is all new, or all gone, that element."""
    if NOTHING not in (old, new):
        return Difference(read=read, where=where, before=old, after=new)
    other = left if old == NOTHING else right
    cuts = [0, *(n for n in range(1, len(where)) if where[n - 1] == "]" and where[n] == "/")]
    for cut in cuts:
        above = where[:cut]
        if cut and not any(key == above or key.startswith(above + "/") for key in other):
            return _one_sided(read, above, is_new=old == NOTHING)
        if not cut and not other:
            return _one_sided(read, "", is_new=old == NOTHING)
    return Difference(read=read, where=where, before=old, after=new)


def _one_sided(read: str, where: str, *, is_new: bool) -> Difference:
    before, after = (NOTHING, SOMETHING) if is_new else (SOMETHING, NOTHING)
    return Difference(read=read, where=where, before=before, after=after)


def _flat(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        if not value:
            yield pointer(path), {}
        for key, item in value.items():
            yield from _flat(item, (*path, str(key)))
    elif isinstance(value, list):
        if not value:
            yield pointer(path), []
        for index, item in enumerate(value):
            yield from _flat(item, (*path, f"[{_name(item, index)}]"))
    else:
        yield pointer(path), value


def _name(item: Any, index: int) -> str:
    """An element's own name, so that a list in another order says the same."""
    if isinstance(item, Mapping):
        named = (str(item[name]) for name in _NAMES if isinstance(item.get(name), str | int))
        return next(named, str(index))
    return str(item) if isinstance(item, str | int) else str(index)
