"""Dialogs: what is to be done, why, and then it is done."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from orchestrator.console.desk import Visitor
from orchestrator.console.frame import tell
from orchestrator.errors import InvalidInput, OrchestratorError, Problem
from orchestrator.ports import Role
from orchestrator.service.principal import Principal

Again = Callable[[], Awaitable[None]]
Does = Callable[[Principal, str], Awaitable[str]]
"""Does it as somebody and for a reason; gives back what to tell them."""


async def nothing() -> None:
    """What follows where nothing does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """An act that wants a reason."""

    title: str
    verb: str  # on the button
    does: Does
    means: str = ""
    more: Callable[[], None] | None = None  # draws what else can be said
    least: Role = Role.OPERATOR
    grave: bool = False  # takes something away
    label: str = "Why (kept in the audit)"


def ask(visitor: Visitor, question: Question, then: Again = nothing) -> None:
    """Ask it. `then` follows whatever came of it, unless the words can be mended."""
    # Of the page, not of the list that the button stands in: that may be drawn anew meanwhile.
    with ui.context.client.content, ui.dialog() as dialog, ui.card().classes("q-pa-md") as card:
        dialog.props(f"aria-label={json.dumps(question.title)}")
        card.style("width: 42rem; max-width: 95vw")
        ui.label(question.title).classes("text-h6").props('role="heading" aria-level="2"')
        if question.means:
            ui.label(question.means)
        if question.more is not None:
            question.more()
        reason = ui.input(question.label).classes("w-full").props("autofocus")

        async def act() -> None:
            if not reason.value.strip():
                return
            try:
                who = await visitor.principal(question.least)
                told = await question.does(who, reason.value.strip())
            except InvalidInput as error:
                tell(error)
                return
            except OrchestratorError as error:
                tell(error)
            else:
                ui.notify(told, type="positive")
            visitor.acted()
            dialog.close()
            await then()

        reason.on("keydown.enter", act)
        with ui.row():
            button = ui.button(question.verb, on_click=act)
            if question.grave:
                button.props("color=negative")
            button.bind_enabled_from(reason, "value", backward=lambda text: bool(text.strip()))
            ui.button("Back", on_click=dialog.close).props("flat")
    dialog.on("hide", dialog.delete)
    dialog.open()


async def attempt(visitor: Visitor, act: Callable[[Principal], Awaitable[object]]) -> bool:
    """Do what needs no words, as an operator. Whether it was done; if not, why is told."""
    try:
        await act(await visitor.principal(Role.OPERATOR))
    except OrchestratorError as error:
        tell(error)
        return False
    finally:
        visitor.acted()
    return True


def object_of(text: str, place: str) -> Mapping[str, Any] | None:
    """The JSON object that somebody typed; None: nothing. Raises InvalidInput."""
    if not text.strip():
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        problem = Problem(place=place, found=str(error), wanted="a JSON object")
        raise InvalidInput("this is not JSON", problems=[problem]) from None
    if not isinstance(found, dict):
        problem = Problem(place=place, found=type(found).__name__, wanted="a JSON object")
        raise InvalidInput("this is not an object", problems=[problem])
    return found
