"""The object as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.gate.verdict import WANTED


def show(found: Mapping[str, Any], console: Console) -> None:
    """What was reached beside what is wanted, then each phase."""
    console.print(_overview(found))
    for phase, made in found["phases"].items():
        console.print(_phase(phase, made if isinstance(made, list) else [made]))


def _overview(found: Mapping[str, Any]) -> Table:
    table = Table(title="Gate", title_justify="left")
    for name in ("figure", "measured", "wanted", ""):
        table.add_column(name, justify="right" if name == "measured" else "left")
    for wanted in WANTED:
        value = found[wanted.figure]
        verdict = "not measured" if value is None else "" if wanted.holds(value) else "missed"
        shown = "–" if value is None else str(value)
        table.add_row(wanted.figure, shown, wanted.text, verdict)
    return table


def _phase(name: str, rounds: list[Mapping[str, Any]]) -> Table:
    table = Table(title=name, title_justify="left", show_header=False)
    for figure in rounds[0]:
        table.add_row(figure, *(str(one[figure]) for one in rounds))
    return table
