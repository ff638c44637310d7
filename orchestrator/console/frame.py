"""The frame around every page: where one is, where one can go, and how errors are told."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from typing import TypeVar
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

from fastapi import Response
from fastapi.responses import RedirectResponse
from nicegui import Client, ui

from orchestrator.console.desk import Visitor
from orchestrator.console.links import link_to
from orchestrator.errors import OrchestratorError, RefusedError
from orchestrator.service.principal import LOCAL, Principal

T = TypeVar("T")
ROOT = "/console"
"""Where it is mounted. Links are relative to it: `link_to` puts it in front of them."""
PAGES = (
    ("Overview", "/"),
    ("Runs", "/runs"),
    ("Escalations", "/escalations"),
    ("Approvals", "/approvals"),
    ("Proposals", "/proposals"),
    ("Jobs", "/jobs"),
    ("Pauses", "/pauses"),
    ("APIs", "/apis"),
    ("Objectives", "/objectives"),
    ("Workflows", "/workflows"),
    ("Schedules", "/schedules"),
    ("Agents", "/agents"),
)
COLOURS = {
    "pending": "grey-7", "running": "primary", "waiting": "blue-grey-7", "parked": "blue-grey-7",
    "paused": "blue-grey-7", "compensating": "deep-orange-9", "escalated": "negative",
    "succeeded": "positive", "compensated": "brown-7", "abandoned": "grey-9",
    "landed": "positive", "failed": "negative", "unknown": "deep-purple-7", "started": "primary",
}  # fmt: skip
"""Of statuses; dark enough for white text on them (WCAG AA)."""
EVERY_SECONDS = 2.0
OLD_SECONDS = 1.0
"""What is older than this is told to be."""
DARK_COOKIE = "orchestrator_dark"
_AGES: WeakKeyDictionary[Client, dict[object, float]] = WeakKeyDictionary()
_PAGE = re.compile(rf"(?:{ROOT}|/flower)/[\w/.~%=&?+-]{{0,1500}}", re.ASCII)
_HERE = files(__package__)
_HEAD = (
    f"<style>{(_HERE / 'page.css').read_text()}</style>"
    f"<script>{(_HERE / 'page.js').read_text()}</script>"
)


def dress(title: str) -> None:
    """Title, colours and style of a page; dark or light as was chosen, or as the system is."""
    ui.page_title(f"{title} · Orchestrator")
    ui.add_head_html(_HEAD)
    ui.colors(primary="#1f5a96", positive="#2b6b30", negative="#b3261e")
    chosen = ui.context.client.request.cookies.get(DARK_COOKIE, "")
    ui.dark_mode(value={"yes": True, "no": False}.get(chosen))


@contextmanager
def frame(title: str, who: Principal) -> Iterator[None]:
    """A page: its header, and its content inside of the `with`."""
    dress(title)
    with ui.header().classes("items-center gap-4 q-py-sm"):
        link_to("Orchestrator", "/").classes("text-white text-bold no-underline")
        with ui.element("nav").props('aria-label="Pages"').classes("row gap-4"):
            for number, (name, target) in enumerate(PAGES, start=1):
                link = link_to(name, target).classes("text-white no-underline")
                if number <= 10:  # there are no more digits
                    link.props(f"aria-keyshortcuts={number % 10}")
                if name == title:
                    link.props('aria-current="page"').classes("text-bold underline")
        ui.space()
        _draw_age()
        ui.label(f"{who.name} ({who.role})").classes("text-white")
        if who is not LOCAL:
            link_to("Log out", "/logout").classes("text-white")
        _in_header("keyboard", "Keys of this page", "consolePage.help()", key="?")
        _in_header("contrast", "Dark or light", "consolePage.dark()", key="t")
    with ui.element("div").classes("w-full column gap-4"):
        ui.label(title).classes("text-h5").props('role="heading" aria-level="1"')
        yield


def _in_header(icon: str, does: str, script: str, *, key: str) -> None:
    button = ui.button(icon=icon).props(
        f'flat round dense color=white aria-label="{does}" aria-keyshortcuts="{key}"'
    )
    button.on("click", js_handler=f"() => {script}")


def heading(text: str) -> None:
    """Of a part of a page."""
    ui.label(text).classes("text-h6").props('role="heading" aria-level="2"')


def keyed(button: ui.button, key: str) -> ui.button:
    """The button with a key of its own, which stands on it."""
    button.props(f'aria-keyshortcuts="{key}"')
    with button:
        ui.html(key, tag="kbd", sanitize=False).props('aria-hidden="true"')
    return button


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


def ago(at: datetime | None, now: datetime, *, to_the_second: bool = False) -> str:
    """How long ago, in one unit. A list that counts seconds is drawn anew with each of them."""
    if at is None:
        return ""
    seconds = max(0, int((now - at).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago" if to_the_second else "just now"


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


async def shown(
    visitor: Visitor,
    read: Callable[[], Awaitable[T]],
    show: Callable[[T], None],
    *,
    by: Callable[[T], object] = lambda found: found,
    every: float = EVERY_SECONDS,
) -> Callable[[], Awaitable[None]]:
    """Show what is read, and again whenever it has changed: what is being used does not move.

    `by`: what a change is told by. Gives back what looks at once. What cannot be read at all is
    said in its place. A replica may be asked; then the page says how old what it shows is.
    """
    last: object = None
    ages = _ages_of_page()
    part = object()

    async def read_on() -> T:
        found, ages[part] = await visitor.look(read)
        return found

    @ui.refreshable
    def content(found: T) -> None:
        show(found)

    async def look() -> None:
        nonlocal last
        found = await read_on()
        if by(found) != last:
            last = by(found)
            content.refresh(found)

    try:
        found = await read_on()
    except OrchestratorError as error:
        ui.label(str(error))
        return look
    last = by(found)
    content(found)
    live(look, every=every)
    return look


def _ages_of_page() -> dict[object, float]:
    """By part of the page that is being drawn: how many seconds old what it shows is."""
    return _AGES.setdefault(ui.context.client, {})


def _draw_age() -> None:
    """Says of what time the page is, where that is not now."""
    ages = _ages_of_page()
    label = ui.label().classes("text-white text-italic").props('role="status"')

    def tell_age() -> None:
        age = max(ages.values(), default=0.0)
        label.text = f"as of {age:.0f} s ago" if age > OLD_SECONDS else ""

    ui.timer(EVERY_SECONDS / 2, tell_age)


def page_here(wanted: str) -> str:
    """The page of this console, or of Flower beside it, that is meant; else the first one."""
    return wanted if _PAGE.fullmatch(wanted) and "//" not in wanted else f"{ROOT}/"


def login_address(then: str) -> str:
    """The login page, from which one comes back to this page."""
    page = page_here(then)
    return f"{ROOT}/login" + ("" if page == f"{ROOT}/" else "?" + urlencode({"then": page}))


def to_login() -> Response:
    """Where who is unknown has to go first, to come back to the page that is open now."""
    url = ui.context.client.request.url
    return RedirectResponse(login_address(f"{url.path}?{url.query}".rstrip("?")), 303)
