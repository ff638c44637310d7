"""Tables: plain ones, which screen readers read and narrow screens scroll."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import ui

from orchestrator.console.links import link_to


@contextmanager
def table(*columns: str, of: str) -> Iterator[None]:
    """A table with these columns; its rows inside of the `with`. `of` is its name for readers."""
    with (
        ui.element("div").classes("w-full overflow-auto").props(
            f'tabindex=0 role="region" aria-label="{of}"'
        ),
        ui.element("table").classes("w-full text-left"),
    ):  # fmt: skip
        if columns:
            _head(*columns)
        with ui.element("tbody"):
            yield


def row() -> ui.element:
    """Of a table; its cells inside of the `with`."""
    return ui.element("tr")


def _head(*names: str) -> None:
    with ui.element("thead"), ui.element("tr"):
        for name in names:
            with ui.element("th").props('scope="col"').classes("q-pr-md"):
                ui.label(name)


def cell(text: str, *, wraps: bool = True) -> None:
    """One of a table's row."""
    with ui.element("td").classes("q-pr-md" if wraps else "q-pr-md text-no-wrap"):
        ui.label(text)


def link_cell(text: str, target: str) -> None:
    """One that leads to a page."""
    with ui.element("td").classes("q-pr-md text-no-wrap"):
        link_to(text, target).classes("mono")
