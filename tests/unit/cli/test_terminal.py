"""What comes from agents and APIs is shown on a terminal; it does not steer it."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from orchestrator.cli import output
from orchestrator.cli.output import Terminal, show_error, to_json
from orchestrator.errors import InvalidInput, Problem

HOSTILE = (
    "\x1b[2J\x1b[H"  # the screen is empty
    "\x1b]52;c;cm0gLXJmIH4=\x1b\\"  # a clipboard that is pasted into a shell
    "\x1b]8;;https://evil.example\x1b\\all is well\x1b]8;;\x1b\\"  # a link
    "\x9b31m\r\x08\x07\x7f"
)
STEERS = {*"\x1b\x9b\r\x08\x07\x7f"}


def _table() -> Table:
    table = Table("reason", title=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    return table


@pytest.mark.parametrize(
    "drawn", [HOSTILE, Text(HOSTILE), _table(), Panel(HOSTILE, title=HOSTILE)], ids=type
)
def test_nothing_that_is_shown_steers_a_terminal(drawn: RenderableType) -> None:
    written = io.StringIO()
    Terminal(file=written, force_terminal=False, width=200).print(drawn)
    assert not STEERS & {*written.getvalue()}
    assert "\u241b" in written.getvalue()
    assert "all is well" in written.getvalue()


def test_it_stays_in_its_column() -> None:
    written = io.StringIO()
    Terminal(file=written, force_terminal=False, width=80).print(_table())
    lines = [line for line in written.getvalue().splitlines() if line.startswith(("│", "┃", "┏"))]
    assert len({len(line) for line in lines}) == 1


def test_errors_repeat_what_was_found_harmlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(output, "stderr", Terminal(file=written, width=200))
    problem = Problem(
        place=HOSTILE, found=f"[red]{HOSTILE}[/]\\[/]", wanted="[link=x]a name[/link]\\"
    )
    show_error(InvalidInput(f"no {HOSTILE}", problems=[problem]), as_json=False)
    assert not STEERS & {*written.getvalue()}
    assert "[red]" in written.getvalue()
    assert "[link=x]a name[/link]" in written.getvalue()


def test_json_is_the_same_value_and_steers_nothing_either() -> None:
    text = to_json({"reason": HOSTILE})
    assert not STEERS & {*text}
    assert json.loads(text) == {"reason": HOSTILE}
