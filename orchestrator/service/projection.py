"""What is shown of large values: what fits, and handles by which the rest is read in parts. Pure.

Sizes are bytes of JSON. A path is a JSON pointer (RFC 6901) into the outputs of a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from orchestrator.errors import InvalidInput, Problem

MOST_HANDLES = 20
"""That are listed at once; of more, so many and their number."""
_PREVIEW_CHARACTERS = 60
_LONGEST_PATH = 300
"""Of a handle. Names in an answer may be of any length; what has a longer path is not readable."""
_NAMED_IN_REFUSALS = 10


# No slots: what makes schemas of them looks for defaults at the class.
@dataclass(frozen=True, kw_only=True)
class Handle:
    """Something that was too large to be shown."""

    path: str  # for get_output
    bytes: int
    type: str  # text, list, object
    preview: str  # how a text begins, the names in an object, the number of items of a list


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a value: characters of a text, items of a list, members of an object by name."""

    path: str
    type: str  # text, list, object, number, boolean, null
    total: int  # characters, items, members; 1 for what has no parts
    offset: int
    value: Any
    next: int | None = None  # the offset of what follows
    left_out: Sequence[Handle] = ()  # of this part, too large to stand in it


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Outputs as they are shown."""

    kept: Mapping[str, Any]
    left_out: Sequence[Handle]
    unlisted: int  # left out besides, for want of room


def project(outputs: Mapping[str, Any], most_bytes: int) -> Projection:
    """Those that fit together, the smallest first, and handles of the others."""
    sizes = {name: _size(value) for name, value in outputs.items()}
    kept: dict[str, Any] = {}
    room = most_bytes
    for name in sorted(outputs, key=lambda n: (sizes[n], n)):
        if sizes[name] <= room:
            kept[name] = outputs[name]
            room -= sizes[name]
    others = sorted(outputs.keys() - kept.keys())
    handles = [_handle(pointer_to("", name), outputs[name]) for name in others[:MOST_HANDLES]]
    return Projection(kept=kept, left_out=handles, unlisted=len(others) - len(handles))


def part_of(outputs: Mapping[str, Any], path: str, offset: int, most_bytes: int) -> Part:
    """What stands at `path` from `offset` on, as much as `most_bytes` hold: at least one character
    of a text, and of lists and objects a handle in place of what does not fit alone.

    Raises InvalidInput for a path that leads nowhere, or an offset behind the end.
    """
    value = _at(outputs, path)
    total = len(value) if isinstance(value, str | list | Mapping) else 1
    if offset > max(total - 1, 0):
        problem = Problem(place="offset", found=str(offset), wanted=f"0 to {max(total - 1, 0)}")
        raise InvalidInput(f"there is nothing more at {path or 'the top'}", problems=[problem])
    shown, taken, left_out = _taken(value, path, offset, most_bytes)
    end = offset + taken
    return Part(
        path=path, type=type_of(value), total=total, offset=offset, value=shown,
        next=end if end < total else None, left_out=left_out,
    )  # fmt: skip


def _taken(value: Any, path: str, offset: int, room: int) -> tuple[Any, int, list[Handle]]:
    """(what is shown, how many parts it takes, what stands for itself elsewhere)."""
    if isinstance(value, str):
        text = _cut(value[offset : offset + room], room)
        return text, len(text), []
    if isinstance(value, list):
        pairs = [(str(at), value[at]) for at in range(offset, len(value))]
        taken, handles = _fitting(pairs, path, room, named=False)
        return list(taken.values()), len(taken) + len(handles), handles
    if isinstance(value, Mapping):
        pairs = [(name, value[name]) for name in sorted(value)[offset:]]
        taken, handles = _fitting(pairs, path, room, named=True)
        return taken, len(taken) + len(handles), handles
    return value, 1, []


def _fitting(
    pairs: Iterable[tuple[str, Any]], path: str, room: int, *, named: bool
) -> tuple[dict[str, Any], list[Handle]]:
    """The first ones that fit; a handle of the first when not even that does."""
    taken: dict[str, Any] = {}
    for name, value in pairs:
        size = _size(value) + 1 + (_size(name) + 1 if named else 0)
        if size > room:
            return taken, [] if taken else [_handle(pointer_to(path, name), value)]
        taken[name] = value
        room -= size
    return taken, []


def _cut(text: str, room: int) -> str:
    """As many characters as fit, one at least: escapes and other alphabets take more bytes."""
    if _size(text) - 2 <= room:
        return text
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _size(text[:middle]) - 2 <= room else (low, middle - 1)
    return text[:low]


def _at(outputs: Mapping[str, Any], path: str) -> Any:
    """Raises InvalidInput with the first token that leads nowhere, and what there is."""
    found: Any = outputs
    if path and not path.startswith("/"):
        path = f"/{path}"  # what models write; a pointer cannot begin otherwise
    done = ""
    for token in [each.replace("~1", "/").replace("~0", "~") for each in path.split("/")[1:]]:
        if isinstance(found, Mapping) and token in found:
            found = found[token]
        elif isinstance(found, list) and token.isdecimal() and int(token) < len(found):
            found = found[int(token)]
        else:
            raise _nowhere(done, token, found)
        done = pointer_to(done, token)
    return found


def _nowhere(done: str, token: str, found: Any) -> InvalidInput:
    if isinstance(found, Mapping):
        names = [pointer_to(done, name) for name in sorted(found)]
        wanted = ", ".join(names[:_NAMED_IN_REFUSALS]) or "nothing: there are no outputs"
    elif isinstance(found, list):
        wanted = f"{done}/0 to {done}/{len(found) - 1}" if found else f"{done}: the list is empty"
    else:
        wanted = f"{done}: a {type_of(found)} has no parts"
    problem = Problem(place="path", found=pointer_to(done, token), wanted=wanted)
    return InvalidInput("the path leads nowhere", problems=[problem])


def pointer_to(base: str, token: str) -> str:
    """The pointer one token further."""
    return f"{base}/{token.replace('~', '~0').replace('/', '~1')}"


def type_of(value: Any) -> str:
    """What it is, in the words of people."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, Mapping):
        return "object"
    names = {str: "text", list: "list", type(None): "null"}
    return names.get(type(value), "number")


def _handle(path: str, value: Any) -> Handle:
    path = path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…"
    return Handle(path=path, bytes=_size(value), type=type_of(value), preview=_preview(value))


def _preview(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} items"
    text = ", ".join(sorted(value)) if isinstance(value, Mapping) else str(value)
    return text if len(text) <= _PREVIEW_CHARACTERS else f"{text[:_PREVIEW_CHARACTERS]}…"


def _size(value: Any) -> int:
    return len(orjson.dumps(value))
