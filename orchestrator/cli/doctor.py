"""`orchestrator doctor`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.console import RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import table
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import with_services

if TYPE_CHECKING:
    from orchestrator.service.doctor import Check

_STYLES = {"good": ("✔", "green"), "warning": ("!", "yellow"), "bad": ("✘", "bold red")}


def doctor(*, as_json: JsonFlag = False) -> None:
    """Look at broker, database, clocks, queues and workers; say what to do. Exit code 1 if bad."""
    checks = with_services(lambda services: services.doctor.checks())
    answer(checks, lambda: _draw(checks), as_json=as_json)
    if any(check.verdict == "bad" for check in checks):
        raise typer.Exit(1)


def _draw(checks: Sequence[Check]) -> RenderableType:
    drawn = table("", "check", "found", "what to do", wide=("found", "what to do"))
    for check in checks:
        glyph, style = _STYLES[check.verdict]
        drawn.add_row(
            Text(glyph, style=style),
            Text(check.name),
            Text(check.found, style="" if check.verdict == "good" else style),
            Text(check.do),
        )
    return drawn
