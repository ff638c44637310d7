"""How APIs stand at the gate now, as a table of the overview and of the page of APIs."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from nicegui import ui

from orchestrator.console.desk import Visitor
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.core.health import WINDOW_SECONDS, BreakerState
from orchestrator.errors import Unavailable
from orchestrator.ports.gate_view import ApiState

States = Mapping[str, ApiState] | str
"""By API; or why they cannot be seen."""


async def states(visitor: Visitor) -> States:
    """All of them; everything else is shown although the gate's store is away."""
    try:
        return await visitor.services.apis.states()
    except Unavailable as error:
        return str(error)


def draw_states(found: States) -> None:
    """A line each."""
    if isinstance(found, str):
        ui.label(found).classes("text-negative")
    elif not found:
        ui.label("No API is known: no file in config/apis, no published workflow calls one.")
    else:
        columns = ("API", "Breaker", "Calls", "Failed", "Pace", "Slots", "Waiting")
        with table(*columns, of="How APIs stand now"):
            for name, state in found.items():
                with row():
                    _line(name, state)
        ui.label(
            f"Calls and failures: of the last {WINDOW_SECONDS} seconds. Slots: lent to workers, "
            "in use or at hand."
        ).classes("text-caption")


def _line(name: str, state: ApiState) -> None:
    link_cell(name, f"/apis/{quote(name, safe='')}")
    cell(breaker(state))
    cell(f"{state.calls / WINDOW_SECONDS:.1f}/s")
    cell(f"{state.failures / state.calls:.1%}" if state.calls else "–")
    cell("full" if state.pace == 1 else f"{state.pace:.0%}")
    cell("–" if state.slots_limit is None else f"{state.slots_lent} of {state.slots_limit}")
    cell(str(state.waiting))


def breaker(state: ApiState) -> str:
    """In words."""
    if state.breaker is BreakerState.OPEN:
        return f"open, tried in {state.tried_in_seconds:.0f} s"
    if state.paused_seconds:
        return f"it asked for a pause, {state.paused_seconds:.0f} s left"
    return "half open: a few calls try it" if state.breaker is BreakerState.HALF_OPEN else "closed"
