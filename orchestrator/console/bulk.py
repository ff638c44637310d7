"""Acts on all that fit a filter: what a page offers, how it is asked, and the job that follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from nicegui import ui

from orchestrator.console.asking import Question, ask
from orchestrator.console.desk import Visitor
from orchestrator.console.frame import tell
from orchestrator.errors import OrchestratorError
from orchestrator.ports import Role, Which
from orchestrator.service.principal import Principal

Arguments = Mapping[str, Any]
"""Of a job, as its kind takes them."""


def nothing_more() -> Callable[[], Arguments]:
    """Asks for no arguments."""
    return dict


@dataclass(frozen=True, kw_only=True, slots=True)
class Bulk:
    """An act on many, as people see it."""

    kind: str  # of the job
    verb: str
    means: str
    asks: Callable[[], Callable[[], Arguments]] = nothing_more
    """Draws what else can be said; what it gives back reads that when it is done."""
    least: Callable[[Arguments], Role] = lambda _: Role.OPERATOR
    grave: bool = False


def bulk_button(visitor: Visitor, which: Which, bulk: Bulk) -> ui.button:
    """Asks, and does it with all that fit."""
    button = ui.button(bulk.verb + "…", on_click=partial(_ask, visitor, which, bulk))
    if bulk.grave:
        button.props("color=negative")
    return button.props("outline dense no-wrap").classes("q-px-sm")


async def _ask(visitor: Visitor, which: Which, bulk: Bulk) -> None:
    try:
        fit = await visitor.services.jobs.count(bulk.kind, which)
    except OrchestratorError as error:
        tell(error)
        return
    if not fit:
        ui.notify("None that it could be done with fits this filter now.")
        return
    reads: list[Callable[[], Arguments]] = []

    async def start(who: Principal, reason: str) -> str:
        arguments = reads[0]()
        who.require(bulk.least(arguments))
        job = await visitor.services.jobs.start(
            bulk.kind, which, by=who.name, reason=reason, arguments=arguments
        )
        ui.navigate.to(f"/jobs/{job.id}")
        return f"{job.total:,} are seen to."

    ask(visitor, Question(
        title=f"{bulk.verb}: {fit:,}", verb=f"{bulk.verb} ({fit:,})", means=bulk.means, does=start,
        more=lambda: reads.append(bulk.asks()), grave=bulk.grave,
        label="Why, and the evidence (kept in the audit of each)",
    ))  # fmt: skip
