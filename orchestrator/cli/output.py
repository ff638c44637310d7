"""Where answers and errors go: tables for people, one JSON value for machines."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

from orchestrator import errors
from orchestrator.telemetry.plain import plain

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON value instead.")]

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What terminals obey, but for tabs and line ends: it moves, hides, renames, fills clipboards."""
_STEERING_JSON = re.compile(r"[\x7f-\x9f]")  # JSON itself asks for those below to be escaped
_PICTURES = 0x2400  # where Unicode draws the first of them
_DELETE = 0x7F


class Terminal(Console):
    """Shows what it is given; obeys nothing in it. Names, reasons and answers may be anybody's."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As Rich does, with characters that steer a terminal drawn, as ␛."""
        for segment in super().render(renderable, options):
            if segment.control or not _STEERING.search(segment.text):
                yield segment
            else:
                yield Segment(_STEERING.sub(_picture, segment.text), segment.style)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(_PICTURES + code) if code < _DELETE else "\ufffd"


stdout = Terminal(highlight=False)
stderr = Terminal(stderr=True, highlight=False)

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
    text = orjson.dumps(plain(value), option=orjson.OPT_INDENT_2).decode()
    return _STEERING_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def exit_code_of(error: Exception) -> int:
    """The exit code that stands for this kind of error."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), EXIT_UNEXPECTED)


def show_error(error: errors.OrchestratorError, *, as_json: bool) -> None:
    """Place, found and wanted on standard error; with --json one object on standard output."""
    if as_json:
        print_json({"error": _error_as_data(error)})
        return
    message = error.message if isinstance(error, _WITH_PROBLEMS) else str(error)
    stderr.print(f"[bold red]error[/] {escape(message)}")
    for problem in _problems(error):
        stderr.print(f"  [bold]{escape(problem.place)}[/]")
        stderr.print(f"    found   {escape(problem.found)}")
        stderr.print(f"    wanted  {escape(problem.wanted)}")


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
