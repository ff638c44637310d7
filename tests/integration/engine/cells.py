"""One cell of the crash matrix: a run is cut at a point, recovered from, and judged.

After recovery the run settles; what is keyed or can be asked about settles by itself, what is
neither may need a person, who then finds everything in the escalation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.core.plan import Plan
from orchestrator.core.states import Direction, RunStatus
from orchestrator.crashpoints import Reached
from tests.integration.engine.checking import check
from tests.integration.engine.house import LIMITS, House, Hung, dying_at
from tests.integration.engine.world import Fate, Kind, shop_plan

F, B = Direction.FORWARD, Direction.BACKWARD
At = tuple[int, Direction]
STEPS = 3  # that happen; going back, a fourth one is refused
KINDS = [Kind.KEYED, Kind.VERIFIED, Kind.UNKEYED]
LINKS = {"first": {F: 0, B: 2}, "middle": {F: 1, B: 1}, "last": {F: 2, B: 0}}
POINTS = (  # those that a driver comes to with its run in hand
    "before_intent", "after_intent", "before_send", "after_answer", "before_commit",
    "after_commit", "before_publish", "after_publish",
)  # fmt: skip
BEFORE_THE_COMMIT = {"before_intent", "before_commit"}
PUBLISHING = {"before_publish", "after_publish"}
AFTER_THE_COMMIT = {"after_commit", "after_intent", "before_send", "after_answer"}


def cells() -> list[Any]:
    """Every (point, direction, link); None for the commit and the publishing at a chain's end."""
    made = []
    for point in POINTS:
        for direction in (F, B):
            for place, links in LINKS.items():
                at = (links[direction], direction)
                if point in PUBLISHING and at == (0, F):
                    continue  # a run's first link needs no hop
                made.append(pytest.param(point, direction, at, id=f"{point}-{direction}-{place}"))
            if point in ("before_commit", "after_commit"):
                made.append(pytest.param(point, direction, None, id=f"{point}-{direction}-end"))
    return made


def each_with_a_kind() -> list[Any]:
    """Every (point, direction, link, kind). Those of one kind in turn are for everyday runs."""
    return [
        pytest.param(
            *cell.values, kind, id=f"{cell.id}-{kind}",
            marks=[] if (number + turn) % len(KINDS) == 0 else pytest.mark.long,
        )
        for number, cell in enumerate(cells())
        for turn, kind in enumerate(KINDS)
    ]  # fmt: skip


def at_point(point: str, at: At | None) -> Callable[[Reached], bool]:
    return lambda reached: reached.point == point and reached.at == at


def arrange(house: House, direction: Direction, kind: Kind, point: str) -> Plan:
    """A workflow that goes through all links of this direction."""
    if point in PUBLISHING:  # between two links there is a message only without inline steps
        house.limits = replace(LIMITS, max_inline_steps=0)
    if direction is F:
        return shop_plan([(kind, kind)] * STEPS)
    house.shop.will("o-1", f"s{STEPS + 1}", *[Fate.REFUSED] * 9)
    return shop_plan([(kind, kind)] * (STEPS + 1))


ENDINGS = {F: RunStatus.SUCCEEDED, B: RunStatus.COMPENSATED}


async def dies(house: House, point: str, direction: Direction, at: At | None, kind: Kind) -> None:
    """Its process ends: the driver is dropped without any cleanup."""
    run_id = await house.submit(arrange(house, direction, kind, point))
    with dying_at(at_point(point, at)) as hit:
        await house.work()
    assert hit, "the run never came to the point"
    run = await house.settle(run_id)
    assert (run.status is RunStatus.ESCALATED) == needs_a_person(point, at, kind)
    await check(house, run_id)
    run = await house.decide_truthfully(run_id, "o-1")
    assert_ended_well(run.status, direction, point, at, kind)
    await check(house, run_id)


async def hangs(house: House, point: str, direction: Direction, at: At | None, kind: Kind) -> None:
    """Its process stands still while another one settles the run, and then wakes up."""
    run_id = await house.submit(arrange(house, direction, kind, point))
    async with Hung(house, at_point(point, at)) as hung:
        assert hung.worker is not None
        house.bury(hung.worker)  # others call it dead
        run = await house.settle(run_id)
        assert (run.status is RunStatus.ESCALATED) == needs_a_person(point, at, kind)
        await check(house, run_id)
        run = await house.decide_truthfully(run_id, "o-1")
        before, sent = await everything(house), len(house.shop.sent)
        await hung.wake_up()
        assert await everything(house) == before, "a stale owner has written"
        # Not even with its key: whoever has taken the run over may have been refused on it.
        assert house.shop.sent[sent:] == [], "a request left after others had taken the run over"
    assert_ended_well(run.status, direction, point, at, kind)
    await check(house, run_id, sent=sent)


def needs_a_person(point: str, at: At | None, kind: Kind) -> bool:
    """Only where a request may have left, nothing is recorded, and nothing can tell.

    The outcome of one link is committed together with the intent of the next, so before that commit
    it is the link before which is in doubt.
    """
    if kind is not Kind.UNKEYED:
        return False
    if point in BEFORE_THE_COMMIT:
        return at != (0, F)
    return point in AFTER_THE_COMMIT and at is not None


def assert_ended_well(
    status: RunStatus, direction: Direction, point: str, at: Any, kind: Kind
) -> None:
    """As if nothing had been; a person who finds that nothing happened may turn a run back."""
    if needs_a_person(point, at, kind) and direction is F:
        assert status in {RunStatus.SUCCEEDED, RunStatus.COMPENSATED}
    else:
        assert status is ENDINGS[direction]


async def everything(house: House) -> Any:
    """All rows that a run's owner writes."""
    tables = ("runs", "run_steps", "attempts", "audit", "escalations")
    return {
        name: [
            tuple(row) for row in await house.store._database.rows(text(f"SELECT * FROM {name}"))
        ]
        for name in tables
    }
