"""Aliases of a workflow: which versions new runs get, and who has changed that."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from nicegui import ui

from orchestrator.console.asking import Again, Question, ask
from orchestrator.console.desk import Visitor
from orchestrator.console.frame import heading, moment, shown
from orchestrator.console.tables import cell, row, table
from orchestrator.core.aliases import CANARY, STABLE
from orchestrator.service.aliases import AliasView
from orchestrator.service.principal import Principal

CHANGES_SHOWN = 10
MEANS_SET = (
    "New runs get it from now on; runs that have begun keep their version. Who names no version"
    f" gets {STABLE}, else the latest; of these runs {CANARY} takes its share."
)
MEANS_REMOVE = "From now on new runs begin as if it had never been; runs that have begun go on."


async def draw_aliases(visitor: Visitor, workflow: str) -> None:
    """Drawn anew whenever one has changed."""
    again: Again

    async def look() -> None:
        await again()

    def show(view: AliasView) -> None:
        _show(visitor, view, look)

    again = await shown(visitor, lambda: visitor.services.aliases.show(workflow), show)


def _show(visitor: Visitor, view: AliasView, then: Again) -> None:
    with ui.row().classes("items-center gap-4"):
        heading("Versions that new runs get")
        _button("Set an alias…", partial(_ask_to_set, visitor, view, then))
    ui.label(told(view))
    if view.aliases:
        with table("Alias", "Version", "Share", "Since (UTC)", "By", "Why", "", of="Aliases"):
            for each in view.aliases:
                with row():
                    cell(each.alias)
                    cell(str(each.version))
                    cell(f"{each.share:g} %" if each.share else "")
                    cell(moment(each.at), wraps=False)
                    cell(each.by)
                    cell(each.reason)
                    with ui.element("td"):
                        remove = partial(_ask_to_remove, visitor, view, each.alias, then)
                        _button("Remove…", remove)
    if view.changes:
        with ui.expansion("Changes of aliases").classes("w-full"):
            _changes(view)


def _changes(view: AliasView) -> None:
    with table("When (UTC)", "Alias", "Names", "By", "Why", of="Changes of aliases"):
        for each in view.changes[:CHANGES_SHOWN]:
            share = f", {each.share:g} %" if each.share else ""
            with row():
                cell(moment(each.at), wraps=False)
                cell(each.alias)
                cell("nothing" if each.version is None else f"v{each.version}{share}")
                cell(each.by)
                cell(each.reason)


def told(view: AliasView) -> str:
    """What runs get that name no version."""
    found = {each.alias: each for each in view.aliases}
    stable, canary = found.get(STABLE), found.get(CANARY)
    said = f"Version {stable.version}" if stable else f"Version {view.latest}, the latest"
    if canary is None or not canary.share:
        return f"{said}."
    return f"{said}; {canary.share:g} % of the runs get version {canary.version}."


def _ask_to_set(visitor: Visitor, view: AliasView, then: Again) -> None:
    given: dict[str, Any] = {"alias": CANARY, "version": view.latest, "share": 10.0}

    def more() -> None:
        ui.input("Alias").bind_value(given, "alias").classes("w-full")
        version = ui.number("Version", min=1, max=view.latest, precision=0).classes("w-full")
        version.bind_value(given, "version")
        share = ui.number(f"Share in percent ({CANARY} alone)", min=0, max=100).classes("w-full")
        share.bind_value(given, "share").bind_visibility_from(
            given, "alias", backward=lambda alias: alias == CANARY
        )

    async def does(who: Principal, reason: str) -> str:
        who.require_all_tenants()
        alias, version = str(given["alias"]).strip(), int(given["version"] or 0)
        share = float(given["share"] or 0) if alias == CANARY else None
        await visitor.services.aliases.set(
            view.workflow, alias, version, share=share, by=who.name, reason=reason
        )
        return f"{view.workflow}@{alias} is version {version} now."

    ask(
        visitor,
        Question(
            title=f"Set an alias of {view.workflow}", verb="Set", does=does, means=MEANS_SET,
            more=more,
        ),
        then,
    )  # fmt: skip


def _ask_to_remove(visitor: Visitor, view: AliasView, alias: str, then: Again) -> None:
    async def does(who: Principal, reason: str) -> str:
        who.require_all_tenants()
        await visitor.services.aliases.remove(view.workflow, alias, by=who.name, reason=reason)
        return f"{view.workflow}@{alias} names nothing any more."

    title = f"Remove {alias} of {view.workflow}"
    ask(
        visitor, Question(title=title, verb="Remove", does=does, means=MEANS_REMOVE, grave=True),
        then,
    )  # fmt: skip


def _button(text: str, act: Callable[[], None]) -> None:
    ui.button(text, on_click=act).props("outline dense no-wrap").classes("q-px-sm")
