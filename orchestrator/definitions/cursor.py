"""A place in a document: reads what must be there and notes, with line and pointer, what is not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.definitions.document import Document
from orchestrator.definitions.problems import Findings, Path, shown


@dataclass(frozen=True, slots=True)
class Cursor:
    """A value in a document, with the way that led to it."""

    document: Document
    findings: Findings
    value: Any
    path: Path = ()

    @property
    def place(self) -> str:
        """`file.yaml:12 (/workflows/0)`."""
        return self.document.place(self.path)

    def bad(self, wanted: str, *, found: str | None = None) -> None:
        """Note a problem here."""
        self.findings.add(self.place, shown(self.value) if found is None else found, wanted)

    def warn(self, text: str) -> None:
        """Note something that the author should know."""
        self.findings.warn(self.place, text)

    # --- children ---------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether this is an object with that key."""
        return isinstance(self.value, Mapping) and name in self.value

    def get(self, name: str) -> Cursor | None:
        """The child with that key; None when there is none."""
        return self.child(name, self.value[name]) if self.has(name) else None

    def child(self, token: str | int, value: Any) -> Cursor:
        """A cursor one token further."""
        return Cursor(self.document, self.findings, value, (*self.path, token))

    def items(self, name: str) -> list[Cursor]:
        """The elements of the array under that key; none when it is not there."""
        found = self.get(name)
        if found is None:
            return []
        if not isinstance(found.value, list):
            found.bad("an array")
            return []
        return [found.child(index, value) for index, value in enumerate(found.value)]

    def entries(self, name: str) -> list[tuple[str, Cursor]]:
        """Keys and values of the object under that key; none when it is not there."""
        found = self.get(name)
        if found is None or not found.is_object():
            return []
        return [(str(key), found.child(str(key), value)) for key, value in found.value.items()]

    # --- checks -----------------------------------------------------------------------------------

    def is_object(self) -> bool:
        """Whether this is an object; noted when not."""
        if isinstance(self.value, Mapping):
            return True
        self.bad("an object")
        return False

    def only(self, allowed: Collection[str], refused: Mapping[str, str] | None = None) -> None:
        """Note every key that means nothing here; `refused` says what is wanted instead."""
        if not isinstance(self.value, Mapping):
            return
        for key, value in self.value.items():
            if key in allowed:
                continue
            child = self.child(str(key), value)
            if refused and key in refused:
                child.bad(refused[key], found=str(key))
            elif str(key).startswith("x-"):
                child.warn(f"{key} is not known here and does nothing")
            else:
                child.bad("one of: " + ", ".join(sorted(allowed)), found=f"the field {key}")

    def text(self, name: str, *, required: bool = False) -> str | None:
        """A string that is not empty, or None (noted when it must be there)."""
        found = self.get(name)
        if found is None:
            if required:
                self.bad(f"the field {name}", found=f"no {name}")
            return None
        if not isinstance(found.value, str) or not found.value.strip():
            found.bad("a text")
            return None
        return found.value

    def number(self, name: str, *, least: float = 0, whole: bool = False) -> float | None:
        """A number of at least `least`, or None (noted when it is something else)."""
        found = self.get(name)
        if found is None:
            return None
        kinds = int if whole else (int, float)
        value = found.value
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value < 1e9:
            found.bad(f"a {'whole ' if whole else ''}number of at least {least:g}")
            return None
        return float(value)

    def flag(self, name: str) -> bool:
        """A boolean; False when it is not there."""
        found = self.get(name)
        if found is None:
            return False
        if not isinstance(found.value, bool):
            found.bad("true or false")
        return found.value is True

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        """One of the choices, or None (noted when it is something else)."""
        found = self.get(name)
        if found is None:
            return None
        if found.value not in choices:
            found.bad("one of: " + ", ".join(choices))
            return None
        return str(found.value)
