"""YAML and JSON documents as plain JSON values, with the line of every place.

Read from YAML's event stream, so that nothing is built before its limits are known: size, nesting,
and the number of values after aliases are followed (a few lines of aliases can stand for billions).
Scalars follow YAML 1.2's core schema: `no`, `12:30` and `0123` are strings, there are no dates.
Duplicate keys, merge of non-mappings and tags are refused.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestrator.definitions.problems import Path as JsonPath
from orchestrator.definitions.problems import pointer
from orchestrator.errors import InvalidDefinition, NotFound, Problem

MAX_NESTING = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How large a document may be."""

    bytes: int
    values: int  # mappings, sequences and scalars, aliases followed


WORKFLOWS = Limits(bytes=4 * 1024 * 1024, values=200_000)
SOURCES = Limits(bytes=32 * 1024 * 1024, values=3_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document's value, its text, and where things stand in it."""

    name: str
    text: str
    value: Any
    lines: dict[JsonPath, int] = field(default_factory=dict, repr=False)  # 1-based

    def line(self, path: JsonPath) -> int | None:
        """The line of a place, or of the nearest known one around it."""
        return next(
            (self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None
        )

    def place(self, path: JsonPath) -> str:
        """`file.yaml:12 (/workflows/0)`, with the line of the nearest place known."""
        where = pointer(path)
        line = self.line(path)
        name = self.name if line is None else f"{self.name}:{line}"
        return f"{name} ({where})" if where else name


def read_document(path: Path, *, limits: Limits, with_lines: bool = True) -> Document:
    """Read a file. Raises NotFound, or InvalidDefinition with file, line and column."""
    text = read_text(path, limits=limits)
    return parse_document(text, name=path.name, limits=limits, with_lines=with_lines)


def read_text(path: Path, *, limits: Limits, wanted: str = "a document") -> str:
    """What a file holds. Raises NotFound; InvalidDefinition where it is too much, or no text."""
    try:
        size = path.stat().st_size
        if size > limits.bytes:
            raise _refused(path.name, f"{size} bytes", f"at most {limits.bytes} bytes")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(path.name, f"byte {error.start} is not UTF-8", "UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte in it
        why = getattr(error, "strerror", None) or str(error)
        problem = Problem(place=str(path), found=why, wanted=wanted)
        raise NotFound(f"{path} cannot be read", problems=[problem]) from None


def parse_document(
    text: str, *, name: str, limits: Limits = WORKFLOWS, with_lines: bool = True
) -> Document:
    """Parse YAML or JSON text. Raises InvalidDefinition with line and column."""
    if not with_lines and text.lstrip().startswith("{"):
        return Document(name=name, text=text, value=_parse_json(text, name))
    builder = _Builder(name, limits, with_lines=with_lines)
    try:
        value = builder.build(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = name if mark is None else f"{name}:{mark.line + 1}:{mark.column + 1}"
        raise _refused(where, error.problem or "a syntax error", "YAML or JSON") from None
    except yaml.YAMLError as error:
        raise _refused(name, str(error).splitlines()[0], "YAML or JSON") from None
    return Document(name=name, text=text, value=value, lines=builder.lines)


def _refused(place: str, found: str, wanted: str) -> InvalidDefinition:
    problem = Problem(place=place, found=found, wanted=wanted)
    return InvalidDefinition("the document cannot be read", problems=[problem])


# --- JSON -----------------------------------------------------------------------------------------


def _parse_json(text: str, name: str) -> Any:
    """Large OpenAPI documents come as JSON; the C parser reads them fifty times as fast."""
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, name))
    except json.JSONDecodeError as error:
        raise _refused(f"{name}:{error.lineno}:{error.colno}", error.msg, "JSON") from None
    except RecursionError:
        raise _refused(name, "very deep nesting", f"at most {MAX_NESTING} levels") from None


def _unique(pairs: list[tuple[str, Any]], name: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise _refused(name, f"the key {twice!r} twice in one object", "each key once")
    return found


# --- YAML events ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Open:
    """A mapping or sequence being filled."""

    value: Any
    path: JsonPath
    anchor: str | None
    started_at: int  # count of values when it began
    key: Any = None
    has_key: bool = False
    merged: dict[str, Any] = field(default_factory=dict)


class _Builder:
    """Builds plain values from YAML events, iteratively."""

    def __init__(self, name: str, limits: Limits, *, with_lines: bool) -> None:
        self.lines: dict[JsonPath, int] = {}
        self._name, self._limits, self._with_lines = name, limits, with_lines
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}  # name -> value, number of values in it
        self._values = 0
        self._documents = 0
        self._root: Any = None

    def build(self, events: Iterator[Any]) -> Any:
        for event in events:
            self._on(event)
        return self._root

    def _on(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._count(1, event)
                self._check_tag(event)
                value = scalar(event.value) if _is_plain(event) else event.value
                self._remember(event.anchor, value, 1)
                self._add(value, event)
            case yaml.MappingStartEvent():
                self._start({}, event)
            case yaml.SequenceStartEvent():
                self._start([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self._bad(event, "a second document", "one document in the file")

    def _start(self, value: Any, event: Any) -> None:
        self._count(1, event)
        self._check_tag(event)
        if len(self._open) >= MAX_NESTING:
            raise self._bad(event, "deeper nesting", f"at most {MAX_NESTING} levels")
        if self._open and self._expects_key:
            raise self._bad(event, "a key that is not a string", "keys that are strings")
        path = self._child_path()
        self._mark(path, event)
        self._open.append(_Open(value, path, event.anchor, self._values))

    def _end(self, event: Any) -> None:
        done = self._open.pop()
        if done.merged:
            done.value.update({k: v for k, v in done.merged.items() if k not in done.value})
        self._remember(done.anchor, done.value, self._values - done.started_at + 1)
        self._add(done.value, event, already_marked=True)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise self._bad(event, f"the alias *{event.anchor}", "an anchor that stands before it")
        value, size = self._anchors[event.anchor]
        self._count(size, event)
        self._add(value, event)

    def _add(self, value: Any, event: Any, *, already_marked: bool = False) -> None:
        if not self._open:
            self._root = value
            if not already_marked:
                self._mark((), event)
            return
        parent = self._open[-1]
        if isinstance(parent.value, list):
            if not already_marked:
                self._mark((*parent.path, len(parent.value)), event)
            parent.value.append(value)
        elif not parent.has_key:
            self._take_key(parent, value, event)
        else:
            self._put(parent, value, event)

    def _take_key(self, parent: _Open, key: Any, event: Any) -> None:
        if isinstance(key, dict | list):
            raise self._bad(event, "a key that is not a string", "keys that are strings")
        # 200: and true: are keys of OpenAPI documents; JSON knows text only.
        parent.key = event.value if isinstance(event, yaml.ScalarEvent) else str(key)
        is_merge = parent.key == "<<" and _is_plain(event)
        if parent.key in parent.value and not is_merge:
            raise self._bad(event, f"the key {parent.key!r} a second time", "each key once")
        parent.has_key = True
        if is_merge:
            parent.key = _MERGE
        else:
            self._mark((*parent.path, parent.key), event)

    def _put(self, parent: _Open, value: Any, event: Any) -> None:
        if parent.key is _MERGE:
            for part in value if isinstance(value, list) else [value]:
                if not isinstance(part, dict):
                    raise self._bad(event, "something else after '<<'", "a mapping, or several")
                parent.merged = {**part, **parent.merged}
        else:
            parent.value[parent.key] = value
        parent.has_key = False

    # --- small parts ------------------------------------------------------------------------------

    @property
    def _expects_key(self) -> bool:
        return isinstance(self._open[-1].value, dict) and not self._open[-1].has_key

    def _child_path(self) -> JsonPath:
        if not self._open:
            return ()
        parent = self._open[-1]
        if isinstance(parent.value, list):
            return (*parent.path, len(parent.value))
        return (*parent.path, "<<" if parent.key is _MERGE else parent.key)

    def _remember(self, anchor: str | None, value: Any, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)

    def _count(self, more: int, event: Any) -> None:
        self._values += more
        if self._values > self._limits.values:
            wanted = f"at most {self._limits.values} values, aliases followed"
            raise self._bad(event, "more values", wanted)

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            raise self._bad(event, f"the tag {event.tag}", "plain values without tags")

    def _mark(self, path: JsonPath, event: Any) -> None:
        if self._with_lines:
            self.lines.setdefault(path, event.start_mark.line + 1)

    def _bad(self, event: Any, found: str, wanted: str) -> InvalidDefinition:
        mark = event.start_mark
        return _refused(f"{self._name}:{mark.line + 1}:{mark.column + 1}", found, wanted)


_MERGE = object()


def _is_plain(event: Any) -> bool:
    """Whether it is an unquoted scalar; libyaml says so with an empty style, Python with None."""
    return isinstance(event, yaml.ScalarEvent) and not event.style and event.tag is None


_PLAIN_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
# A number with a leading zero (a postcode, say) stays text: versions of YAML disagree about it.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,4000})", re.ASCII)
_OTHER_BASE = re.compile(r"0o[0-7]{1,1000}|0x[0-9a-fA-F]{1,1000}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)


def scalar(text: str) -> str | int | float | bool | None:
    """A plain scalar under YAML 1.2's core schema; what JSON cannot hold stays text."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        value = float(text)
        return value if abs(value) != float("inf") else text
    return text
