"""Where pages of the console are, and links to them, whole from the moment they are drawn."""

from __future__ import annotations

from functools import partial

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

page = partial(ui.page, response_timeout=30.0)
"""A page at a path. On a busy database it may take its time; NiceGUI's own limit is 3 s."""


def link_to(text: str = "", target: str = "") -> TextElement:
    """A link to a page of the console, `target` without the path where the console is mounted.

    NiceGUI's own writes that path into the address only after the browser has drawn it: whoever is
    quick follows an address that does not exist, and a list that is drawn anew does not find the
    link again that had the focus.
    """
    made = TextElement(tag="a", text=text)
    made.props["href"] = f"{_mounted_at()}{target}"
    return made.classes("nicegui-link")


def _mounted_at() -> str:
    request = ui.context.client.request
    return f"{request.headers.get('X-Forwarded-Prefix', '')}{request.scope.get('root_path', '')}"
