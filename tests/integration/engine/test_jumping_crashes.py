"""A run that retries through another step, leaves steps out and takes a way out, cut at its jumps.

On PostgreSQL (the simulation does it on SQLite and in memory). One run goes through everything;
its process dies at each point of each link beside a jump. What the API has then seen is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import Direction, RunStatus
from tests.faults.simulation.judging import replay_differs
from tests.integration.engine.cells import POINTS, PUBLISHING, At, B, F, at_point
from tests.integration.engine.house import LIMITS, House, dying_at
from tests.integration.engine.world import Fate, Kind, shop_plan

ACTIONS: Mapping[int, Mapping[str, Any]] = {
    2: {"onFailure": [{"retryLimit": 2, "again": "s3", "via": "s2"}]},
    3: {"onFailure": [{"type": "goto", "step": "s6"}]},
    5: {"onSuccess": [{"type": "end"}]},
}  # by index: s3 fails once, s4 fails and s5 is left out, s6 ends and s7 is never seen
REFUSED = {"s3": 1, "s4": 1}
WAY = "s1 s2 s2 s3 s6"
BACK = "s1 s2 s2 s3 s3.undo s2.undo s2.undo s1.undo"
POSITIONS: Mapping[Direction, tuple[int, ...]] = {
    F: (2, 3, 4, 5, 6),  # s3 that fails, s2 and s3 again, s4 that fails, s6
    B: (4, 3, 1),  # both visits of s2 among them
}
KEYED = (Kind.KEYED, Kind.KEYED)


def jumping() -> Plan:
    plan = shop_plan([KEYED] * 7, name="jumping")
    steps = [
        replace(step, call=replace(step.call, template={**step.call.template, **more}))
        for step, more in ((step, ACTIONS.get(n, {})) for n, step in enumerate(plan.steps))
    ]
    return with_digest(replace(plan, steps=tuple(steps), outputs={}, digest=""))


def cells() -> Iterator[tuple[str, At]]:
    for point in POINTS:
        for direction, positions in POSITIONS.items():
            for position in positions:
                yield point, (position, direction)


async def cut(house: House, order: str, point: str, at: At) -> None:
    inline = 0 if point in PUBLISHING else LIMITS.max_inline_steps
    house.limits = replace(LIMITS, max_inline_steps=inline)
    house.retire()
    back = at[1] is B
    for name, times in {**REFUSED, **({"s6": 1} if back else {})}.items():
        house.shop.will(order, name, *[Fate.REFUSED] * times)
    run_id = await house.submit(jumping(), order)
    with dying_at(at_point(point, at)) as hit:
        await house.work()
    assert hit, f"{point} of {at} was never reached"
    run = await house.settle(run_id)
    wanted = (RunStatus.COMPENSATED, BACK) if back else (RunStatus.SUCCEEDED, WAY)
    assert (order, run.status, " ".join(house.shop.applied[order])) == (order, *wanted)
    assert await replay_differs(house.store, run_id) == []


@pytest.mark.postgres
async def test_the_way_is_the_same_wherever_its_process_dies(postgres_house: House) -> None:
    for number, (point, at) in enumerate(cells()):
        await cut(postgres_house, f"o-{number}-{point}-{at[0]}-{at[1]}", point, at)
    assert postgres_house.shop.other_bytes == []
