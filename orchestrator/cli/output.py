"""Where answers and errors go: tables for people, one JSON value for machines."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
import typer
from rich.console import Console, RenderableType

from orchestrator import errors
from orchestrator.core.exchange import FrozenRequest

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON value instead.")]

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_NOT_FOUND = 4
EXIT_CONFLICT = 5
EXIT_UNAVAILABLE = 6
EXIT_OVERLOADED = 7
EXIT_INTERRUPTED = 130

_WITH_PROBLEMS = errors.RefusedError | errors.Overloaded
_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (errors.NotFound, EXIT_NOT_FOUND),
    (errors.Conflict, EXIT_CONFLICT),
    (errors.RefusedError, EXIT_REFUSED),
    (errors.IllegalTransition, EXIT_CONFLICT),
    (errors.StaleOwner, EXIT_CONFLICT),
    (errors.Overloaded, EXIT_OVERLOADED),
    (errors.Unavailable, EXIT_UNAVAILABLE),
)


def answer(value: Any, draw: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Print `value` as JSON, or what `draw` makes of it."""
    if as_json:
        print_json(value)
    else:
        stdout.print(draw())


def print_json(value: Any) -> None:
    """One JSON value and a line end on standard output."""
    sys.stdout.write(to_json(value) + "\n")
    sys.stdout.flush()


def to_json(value: Any) -> str:
    """Records as objects, times as RFC 3339, bytes as text where they are text."""
    return orjson.dumps(plain(value), option=orjson.OPT_INDENT_2).decode()


def plain(value: Any) -> Any:
    """Reduce records, enums, times and paths to what JSON has."""
    if isinstance(value, FrozenRequest):
        return value.to_json()
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return _plain_leaf(value)


def _plain_leaf(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    return value


def exit_code_of(error: Exception) -> int:
    """The exit code that stands for this kind of error."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), EXIT_UNEXPECTED)


def show_error(error: errors.OrchestratorError, *, as_json: bool) -> None:
    """Place, found and wanted on standard error; with --json one object on standard output."""
    if as_json:
        print_json({"error": _error_as_data(error)})
        return
    message = error.message if isinstance(error, _WITH_PROBLEMS) else str(error)
    stderr.print(f"[bold red]error[/] {_escape(message)}")
    for problem in _problems(error):
        stderr.print(f"  [bold]{_escape(problem.place)}[/]")
        stderr.print(f"    found   {_escape(problem.found)}")
        stderr.print(f"    wanted  {_escape(problem.wanted)}")


def _error_as_data(error: errors.OrchestratorError) -> dict[str, Any]:
    message = error.message if isinstance(error, _WITH_PROBLEMS) else str(error)
    return {
        "kind": type(error).__name__,
        "message": message,
        "problems": plain(_problems(error)),
        "exit_code": exit_code_of(error),
        **_when_again(error),
    }


def _when_again(error: errors.OrchestratorError) -> dict[str, float]:
    if isinstance(error, errors.Overloaded):
        return {"retry_after_seconds": error.retry_after_seconds}
    return {}


def _problems(error: errors.OrchestratorError) -> tuple[errors.Problem, ...]:
    return error.problems if isinstance(error, _WITH_PROBLEMS) else ()


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
