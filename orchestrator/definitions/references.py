"""`$ref` from one file of an API's document into another, within the first one's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from orchestrator.definitions.document import SOURCES, read_document
from orchestrator.definitions.values import ABSENT, dig

_MOST_FOLLOWED = 20  # references after each other
MOST_FILES = 500
"""Of one document; together they may be as long as one document."""


class ReferencedFiles:
    """The other files, each read once, when something in it is asked for."""

    def __init__(self, main: Path) -> None:
        self._main = main.resolve()
        self._folder = self._main.parent
        self._values: dict[Path, Any] = {}
        self._seen: dict[Path, tuple[int, int]] = {}
        self._bytes = 0

    @property
    def are_unchanged(self) -> bool:
        """Whether each file that was read is still as it was."""
        return all(_stamp(path) == stamp for path, stamp in self._seen.items())

    def get(self, reference: str) -> Any:
        """What `FILE#/POINTER` names, seen from the main file; ABSENT when it is nothing there.

        References in it are written anew so that they, too, are seen from there. A file outside of
        the folder is nothing. Raises InvalidDefinition or NotFound when a file cannot be read.
        """
        name, _, fragment = reference.partition("#")
        path = self._inside(unquote(name), self._folder)
        if path is None:
            return ABSENT
        found = at_fragment(self._read(path), f"#{fragment}")
        return found if path == self._main else self._from_main(found, path)

    def _inside(self, name: str, folder: Path) -> Path | None:
        if ":" in name or "\0" in name:  # a url; nothing is fetched
            return None
        path = (folder / name).resolve()  # links followed, so that none leads out either
        return path if path.is_relative_to(self._folder) else None

    def _read(self, path: Path) -> Any:
        if path not in self._values:
            self._seen[path] = _stamp(path)
            document = read_document(path, limits=SOURCES, with_lines=False)
            self._bytes += len(document.text)
            too_much = len(self._values) >= MOST_FILES or self._bytes > SOURCES.bytes
            self._values[path] = ABSENT if too_much else document.value
        return self._values[path]

    def _from_main(self, value: Any, path: Path) -> Any:
        if isinstance(value, list):
            return [self._from_main(item, path) for item in value]
        if not isinstance(value, Mapping):
            return value
        changed = {key: self._from_main(item, path) for key, item in value.items()}
        reference = value.get("$ref")
        if isinstance(reference, str):
            changed["$ref"] = self._seen_from_main(reference, path)
        return changed

    def _seen_from_main(self, reference: str, path: Path) -> str:
        name, _, fragment = reference.partition("#")
        target = path if not name else self._inside(unquote(name), path.parent)
        if target is None:
            return f"outside:{reference}"  # found to be nothing by whoever follows it
        where = "" if target == self._main else target.relative_to(self._folder).as_posix()
        return f"{where}#{fragment}"


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # what reads it says so
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def at_fragment(value: Any, fragment: str) -> Any:
    """The part of a document that `#`, or `#/POINTER`, names; ABSENT when there is none."""
    if fragment in ("", "#"):
        return value
    if not fragment.startswith("#/"):
        return ABSENT
    tokens = [unquote(token) for token in fragment[2:].split("/")]
    return dig(value, [token.replace("~1", "/").replace("~0", "~") for token in tokens])


def followed(root: Any, value: Any) -> Any:
    """What a `$ref` within one document leads to; an empty schema where it leads nowhere."""
    for _ in range(_MOST_FOLLOWED):
        reference = value.get("$ref") if isinstance(value, Mapping) else None
        if not isinstance(reference, str):
            return value
        value = at_fragment(root, reference) if reference.startswith("#/") else ABSENT
        if value is ABSENT:
            break
    return {}
