"""The ledger's file: one JSON object per line, only ever added to.

    {"request": {…}}     a request as it stood then; a later line of the same number replaces it
    {"effect": {…}}
    {"exceeded": {…}}

What a line says has happened, and the line is with the operating system before the answer that it
is about leaves: it survives the end of the ledger's process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import orjson

from tests.faults.ledger.records import Effect, Exceeded, Records, Request

_FIELDS = tuple(item.name for item in fields(Request))


@dataclass(kw_only=True, slots=True)
class Entry:
    """A request while it is worked on: the fields of `Request`."""

    number: int
    at: float
    route: str
    run: str
    step: str
    direction: str
    question: bool
    key: str | None
    digest: str
    fault: str = "none"
    replayed: bool = False
    applied: bool = False
    status: int | None = None
    answered: bool = False
    answered_at: float | None = None
    secret: bool = False
    verdict: int | None = None

    def record(self) -> Request:
        """As it stands."""
        return Request(**{name: getattr(self, name) for name in _FIELDS})


class Writer(Protocol):
    """Takes down what happens. Nothing is lost once `flush` has returned."""

    def request(self, entry: Entry) -> None:
        """A request as it stands now."""

    def effect(self, effect: Effect) -> None:
        """A change of state."""

    def exceeded(self, exceeded: Exceeded) -> None:
        """A broken limit."""

    def flush(self) -> None:
        """Called before an answer leaves."""


class MemoryWriter:
    """Implements Writer for simulations: keeps everything in this process."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._effects: list[Effect] = []
        self._exceeded: list[Exceeded] = []
        self._last = 0

    def request(self, entry: Entry) -> None:
        """See Writer."""
        if entry.number > self._last:
            self._last = entry.number
            self._entries.append(entry)

    def effect(self, effect: Effect) -> None:
        """See Writer."""
        self._effects.append(effect)

    def exceeded(self, exceeded: Exceeded) -> None:
        """See Writer."""
        self._exceeded.append(exceeded)

    def flush(self) -> None:
        """See Writer."""

    def records(self) -> Records:
        """Everything so far."""
        return Records(
            requests=tuple(entry.record() for entry in self._entries),
            effects=tuple(self._effects), exceeded=tuple(self._exceeded),
        )  # fmt: skip


class FileWriter:
    """Implements Writer on a file that is added to. A last line that was cut off is removed."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            *_, cut_off = path.read_bytes().rpartition(b"\n")
            os.truncate(path, path.stat().st_size - len(cut_off))
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._lines: list[bytes] = []

    def request(self, entry: Entry) -> None:
        """See Writer."""
        self._note({"request": entry})

    def effect(self, effect: Effect) -> None:
        """See Writer."""
        self._note({"effect": effect})

    def exceeded(self, exceeded: Exceeded) -> None:
        """See Writer."""
        self._note({"exceeded": exceeded})

    def flush(self) -> None:
        """See Writer. Raises OSError when the disk is full."""
        if not self._lines:
            return
        rest = memoryview(b"".join(self._lines))
        self._lines.clear()
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        os.close(self._file)

    def _note(self, line: Any) -> None:
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
