"""Additions to a YAML or JSON document that leave everything else as it is, to the byte.

The parser says where each value stands; new text is put between. So comments, order, quotes and
spaces stay, which rewriting the document does not achieve.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from orchestrator.definitions.problems import Path as JsonPath

_WIDTH = 96


class CannotEdit(Exception):
    """An addition has no place of its own in the text. The text says why."""


class Editor:
    """One document that has been read without errors. Make additions, then take `text`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._root = yaml.compose(text, Loader=yaml.CSafeLoader)
        lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))
        self._changes: list[tuple[int, int, int, str]] = []  # start, order, end, text
        self._shared = _shared(self._root)

    def put(self, path: JsonPath, key: str, value: Any) -> None:
        """Set a key of the mapping at a path. A new one stands before the last.

        Behind the last there may be comments that belong to what follows. Raises CannotEdit.
        """
        mapping = self._at(path)
        old = next((node for name, node in mapping.value if name.value == key), None)
        if old is not None and id(old) in self._shared:
            raise CannotEdit(f"{key} stands elsewhere as well, by an alias")
        if isinstance(old, yaml.MappingNode) and isinstance(value, dict):
            for name, item in value.items():
                self.put((*path, key), name, item)
        elif old is not None:
            self._change(self._offset(old.start_mark), self._offset(old.end_mark), _flow(value))
        elif mapping.flow_style or not mapping.value:
            after = self._offset(mapping.start_mark) + 1
            comma = ", " if mapping.value else ""
            self._change(after, after, f"{_flow(key)}: {_flow(value)}{comma}")
        else:
            mark = mapping.value[-1][0].start_mark
            text = _block({key: value}, mark.column)
            at = self._offset(mark)
            self._change(at, at, f"{text.lstrip(' ')}{' ' * mark.column}")

    def insert(self, path: JsonPath, index: int, value: Any) -> None:
        """Put an element before another one of the sequence at a path, and before its comments.

        Raises CannotEdit.
        """
        sequence = self._at(path)
        mark = sequence.value[index].start_mark
        if sequence.flow_style:
            at = self._offset(mark)
            self._change(at, at, f"{_flow(value)}, ")
            return
        line = mark.line
        dash = self._line(line).index("-")
        while line > 0 and self._line(line - 1).lstrip().startswith("#"):
            line -= 1
        inner = _block(value, mark.column)
        text = f"{' ' * dash}-{inner[dash + 1 :]}"
        self._change(self._starts[line], self._starts[line], text)

    def at_own(self, path: JsonPath, key: str) -> None:
        """Raises CannotEdit where the value of a key stands elsewhere as well, or all it holds."""
        self._at((*path, key))

    def changes(self) -> int:
        """How many there are, for `back_to`."""
        return len(self._changes)

    def back_to(self, changes: int) -> None:
        """Forget those that came later."""
        del self._changes[changes:]

    @property
    def text(self) -> str:
        """The document with its changes."""
        done, at = [], 0
        for start, _, end, text in sorted(self._changes):
            done += [self._text[at:start], text]
            at = end
        return "".join([*done, self._text[at:]])

    def _change(self, start: int, end: int, text: str) -> None:
        self._changes.append((start, len(self._changes), end, text))

    def _offset(self, mark: yaml.Mark) -> int:
        return self._starts[mark.line] + mark.column

    def _line(self, number: int) -> str:
        return self._text[self._starts[number] : self._starts[number + 1]]

    def _at(self, path: JsonPath) -> Any:
        node: Any = self._root
        for token in path:
            if isinstance(node, yaml.SequenceNode):
                node = node.value[int(token)]
            else:
                node = next((item for name, item in node.value if name.value == token), None)
            if node is None or id(node) in self._shared:
                raise CannotEdit(f"{token} stands elsewhere as well, by an alias")
        return node


def _shared(root: Any) -> set[int]:
    """Values that stand in several places: a change of one would change the others."""
    seen: set[int] = set()
    twice: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            twice.add(id(node))
        elif isinstance(node, yaml.CollectionNode):
            seen.add(id(node))
            pairs = isinstance(node, yaml.MappingNode)
            waiting += [item for _, item in node.value] if pairs else node.value
    return twice


def _flow(value: Any) -> str:
    """One line that YAML and JSON read alike."""
    return json.dumps(value, ensure_ascii=False)


def _block(value: Any, column: int) -> str:
    """Lines of YAML that begin in a column."""
    text = yaml.safe_dump(
        value, sort_keys=False, allow_unicode=True, width=max(40, _WIDTH - column)
    )  # fmt: skip
    return "".join(" " * column + line for line in text.splitlines(keepends=True))
