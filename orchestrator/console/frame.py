"""The frame around every page: where one is, where one can go, and how errors are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from fastapi import Response
from fastapi.responses import RedirectResponse
from nicegui import ui

from orchestrator.errors import OrchestratorError, RefusedError
from orchestrator.service.principal import LOCAL, Principal

ROOT = "/console"
"""Where it is mounted. Links are relative to it: NiceGUI puts it in front of them."""
PAGES = (
    ("Overview", "/"),
    ("Runs", "/runs"),
    ("Escalations", "/escalations"),
    ("Approvals", "/approvals"),
    ("APIs", "/apis"),
    ("Workflows", "/workflows"),
)
COLOURS = {
    "pending": "grey-7", "running": "primary", "waiting": "blue-grey-7", "parked": "blue-grey-7",
    "paused": "blue-grey-7", "compensating": "deep-orange-9", "escalated": "negative",
    "succeeded": "positive", "compensated": "brown-7", "abandoned": "grey-9",
    "landed": "positive", "failed": "negative", "unknown": "deep-purple-7", "started": "primary",
}  # fmt: skip
"""Of statuses; dark enough for white text on them (WCAG AA)."""
EVERY_SECONDS = 2.0
_STYLE = """
<style>
  .nicegui-content { max-width: 1400px; margin: 0 auto; width: 100%; }
  a:focus-visible, button:focus-visible { outline: 3px solid #f9a825; outline-offset: 2px; }
  .mono { font-family: ui-monospace, monospace; font-size: .85em; }
  main td, main th { padding: 4px 12px 4px 0; border-bottom: 1px solid rgba(128,128,128,.25); }
  main a.nicegui-link { color: #14508c; }
  .body--dark main a.nicegui-link { color: #9cc4f0; }
  .body--dark main .text-negative { color: #ff8a80 !important; }
  main table { border-collapse: collapse; }
  .bar { height: 14px; border-radius: 3px; min-width: 2px; position: relative; }
</style>
"""


def dress(title: str) -> ui.dark_mode:
    """Title, colours and style of a page; dark or light as the system has it."""
    ui.page_title(f"{title} · Orchestrator")
    ui.add_head_html(_STYLE)
    ui.colors(primary="#1f5a96", positive="#2b6b30", negative="#b3261e")
    return ui.dark_mode(value=None)


@contextmanager
def frame(title: str, who: Principal) -> Iterator[None]:
    """A page: its header, and its content inside of the `with`."""
    dark = dress(title)
    with ui.header().classes("items-center gap-4 q-py-sm"):
        ui.link("Orchestrator", "/").classes("text-white text-bold no-underline")
        with ui.element("nav").props('aria-label="Pages"').classes("row gap-4"):
            for name, target in PAGES:
                link = ui.link(name, target).classes("text-white no-underline")
                if name == title:
                    link.props('aria-current="page"').classes("text-bold underline")
        ui.space()
        ui.label(f"{who.name} ({who.role})").classes("text-white")
        if who is not LOCAL:
            ui.link("Log out", "/logout").classes("text-white")
        ui.button(icon="contrast", on_click=dark.toggle).props(
            'flat round color=white aria-label="Dark or light"'
        )
    with ui.element("main").classes("w-full column gap-4"):
        ui.label(title).classes("text-h5").props('role="heading" aria-level="1"')
        yield


def badge(status: str) -> None:
    """A status in its colour."""
    ui.badge(status, color=COLOURS.get(status, "grey-7")).props("text-color=white")


def verbatim(text: str) -> None:
    """Text as it is: JSON, a document."""
    ui.label(text).classes("mono w-full").style("white-space: pre; overflow: auto").props(
        "tabindex=0"
    )


def moment(at: datetime | None) -> str:
    """A time for people, in UTC; the seconds matter at night."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, in one unit."""
    if at is None:
        return ""
    seconds = max(0, int((now - at).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def tell(error: OrchestratorError) -> None:
    """An error on the page: what was found and what was wanted."""
    lines = [error.message if isinstance(error, RefusedError) else str(error)]
    if isinstance(error, RefusedError):
        lines += [f"found {each.found}; wanted {each.wanted}" for each in error.problems]
    ui.notify("\n".join(lines), type="negative", multi_line=True, timeout=10_000, close_button=True)


def live(refresh: Callable[[], Awaitable[None]], *, every: float = EVERY_SECONDS) -> None:
    """Do it again and again while the page is open. What goes wrong is told once."""
    told = False

    async def again() -> None:
        nonlocal told
        try:
            await refresh()
            told = False
        except OrchestratorError as error:
            if not told:
                tell(error)
            told = True

    ui.timer(every, again)


def to_login() -> Response:
    """Where who is unknown has to go first."""
    return RedirectResponse(f"{ROOT}/login", 303)
