"""Reads the ledger's file back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from tests.faults.ledger.records import Effect, Exceeded, Records, Request


def read_records(path: Path) -> Records:
    """All records of a file that `FileWriter` wrote, perhaps of several processes in turn.

    A last line that is cut off, since its process was ended while writing, does not count.
    Raises ValueError naming the line that is none.
    """
    requests: dict[int, dict[str, Any]] = {}
    effects: list[Effect] = []
    exceeded: list[Exceeded] = []
    for line in _lines(path):
        match line:
            case {"request": data}:
                requests[data["number"]] = data  # keeps the place of its first line
            case {"effect": data}:
                effects.append(Effect(**data))
            case {"exceeded": data}:
                exceeded.append(Exceeded(**data))
    return Records(
        requests=tuple(Request(**requests[number]) for number in sorted(requests)),
        effects=tuple(effects), exceeded=tuple(exceeded),
    )  # fmt: skip


def _lines(path: Path) -> list[Any]:
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    found: list[Any] = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            found.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: found {line[:80]!r}; wanted JSON") from error
    return found
