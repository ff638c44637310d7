"""What people type or put into files, as inputs of runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import InvalidInput, NotFound, Problem

_FIELDS = frozenset({"inputs", "idempotency_key", "tenant", "priority", "attributes"})
_KEY_DIGITS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLine:
    """One run of a file. None: the command's own option holds."""

    place: str  # "orders.jsonl, line 7"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str
    tenant: str | None = None
    priority: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


def parse_inputs(pairs: Sequence[str], document: str | None) -> dict[str, Any]:
    """Inputs from `--inputs JSON` with `--input k=v` on top. Raises InvalidInput."""
    inputs = _object("--inputs", document) if document is not None else {}
    return {**inputs, **parse_assignments("--input", pairs)}


def parse_assignments(place: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Values from `name=value`, where value is JSON or plain text. Raises InvalidInput."""
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise _refuse(place, repr(pair), "name=value, where value is JSON or plain text")
        found[name] = _value(text)
    return found


def parse_object(place: str, text: str) -> dict[str, Any]:
    """The JSON object that an option holds. Raises InvalidInput."""
    return _object(place, text)


def read_lines(path: Path, *, key_prefix: str = "") -> Iterator[RunLine]:
    """The runs of a JSON Lines file, one object a line; empty lines are passed over.

    A line without `idempotency_key` gets one from its text and number, so that submitting the
    same file again finds the runs of the first time instead of doing everything twice.
    Raises NotFound, InvalidInput.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, text in enumerate(lines, start=1):
                if text.strip():
                    yield _line(f"{path.name}, line {number}", number, text.strip(), key_prefix)
    except FileNotFoundError:
        raise NotFound(f"no file {path}") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise _refuse(str(path), str(error), "a UTF-8 text file, one JSON object a line") from None


def _line(place: str, number: int, text: str, key_prefix: str) -> RunLine:
    data = _object(place, text)
    unknown = sorted(data.keys() - _FIELDS)
    if unknown:
        raise _refuse(place, ", ".join(unknown), "only " + ", ".join(sorted(_FIELDS)))
    inputs = data.get("inputs", {})
    if not isinstance(inputs, dict):
        raise _refuse(f"{place}: inputs", type(inputs).__name__, "an object")
    digest = hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
    return RunLine(
        place=place,
        inputs=inputs,
        idempotency_key=str(data.get("idempotency_key") or f"{key_prefix}{digest}-{number}"),
        tenant=_typed(place, data, "tenant", str),
        priority=_typed(place, data, "priority", int),
        attributes=_typed(place, data, "attributes", dict) or {},
    )


def _typed(place: str, data: Mapping[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    if value is not None and type(value) is not kind:
        raise _refuse(f"{place}: {name}", repr(value), kind.__name__)
    return value


def _object(place: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _refuse(place, f"text that is not JSON ({error})", "a JSON object") from None
    if not isinstance(value, dict):
        raise _refuse(place, type(value).__name__, "a JSON object")
    return value


def _value(text: str) -> Any:
    """JSON where it is JSON (`3`, `true`, `"3"`), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _refuse(place: str, found: str, wanted: str) -> InvalidInput:
    problem = Problem(place=place, found=found[:200], wanted=wanted)
    return InvalidInput("nothing was submitted", problems=[problem])
