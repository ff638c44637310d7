"""Where answers and errors go: tables for people, one JSON value for machines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console, RenderableType

from orchestrator import errors
from orchestrator.telemetry.plain import plain

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
