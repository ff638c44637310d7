"""What would follow a decision: the rest of the chain, if each of its calls goes well.

`decide` itself is asked, again and again, with the outcome that everybody hopes for; so a preview
cannot differ from what the engine does. Where a step's author has told it to go elsewhere, the way
that it takes depends on an answer that is not there yet: the straight way is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.saga import Perform, Saga, Verify, Wait, standing
from orchestrator.core.states import Direction, RunStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class NextLink:
    """A call that would be made."""

    step: str  # its id
    label: str
    direction: Direction
    asks: bool  # whether it landed, before anything else


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What would follow, and where that ends."""

    links: tuple[NextLink, ...]
    status: RunStatus
    standing: tuple[str, ...]  # ids of steps whose effects exist in the end


def preview(saga: Saga, event: e.Event, now: datetime) -> Preview:
    """What would follow this event, if each call goes well. Raises IllegalTransition."""
    decision = decide(saga, event, now)
    links: list[NextLink] = []
    while True:
        saga = decision.saga
        match decision.command:
            case Perform(step=step, direction=direction):
                if not saga.call(step, direction).is_local:
                    links.append(_link(saga, step, direction, asks=False))
                began = decide(saga, e.Began(), now).saga
                decision = decide(began, e.Landed(), now)
            case Verify(step=step, direction=direction):
                links.append(_link(saga, step, direction, asks=True))
                decision = decide(saga, e.Landed(), now)
            case Wait(until=until):
                now = max(now, until)
                decision = decide(saga, e.Resumed(), now)
            case _:  # it ends, or needs a person again
                kept = tuple(saga.plan_step(step).id for step in standing(saga))
                return Preview(links=tuple(links), status=saga.status, standing=kept)


def _link(saga: Saga, step: int, direction: Direction, *, asks: bool) -> NextLink:
    label = saga.call(step, direction).label
    return NextLink(step=saga.plan_step(step).id, label=label, direction=direction, asks=asks)
