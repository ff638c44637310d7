"""Workflows with parallel blocks of calls of the shop, and what holds of their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.core.plan import Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import HAPPENED
from orchestrator.definitions.blocks import Fail, block_step, head_step
from orchestrator.ports import RunRecord
from tests.integration.engine.family import check_family, relatives
from tests.integration.engine.house import House
from tests.integration.engine.world import Kind, shop_plan, shop_step

Block = Mapping[str, Sequence[Any]]
"""Branches by name; a text is a step, a mapping a block within."""


def forking(
    *parts: str | tuple[str, Block], fail: Fail = Fail.FAST, name: str = "order", **changes: Any
) -> Plan:
    """A workflow of these steps and blocks (a name, and branches)."""
    made = _chain(parts, name, fail)
    plan = shop_plan([(Kind.KEYED, Kind.KEYED)], name=name)
    steps = {"steps": tuple(made), "outputs": {}, "children": True, "blocks": True}
    return with_digest(replace(plan, **steps, **changes))


def _chain(
    parts: Sequence[str | tuple[str, Block]], name: str, fail: Fail, head: Sequence[PlanStep] = ()
) -> list[PlanStep]:
    """The chain, and behind it the branches of its blocks."""
    own, behind = list(head), list[PlanStep]()
    for part in parts:
        if isinstance(part, str):
            own.append(shop_step(part, name, Kind.KEYED, Kind.KEYED))
            continue
        block, branches = part
        own.append(block_step(block, f"{name}.{block}", list(branches), fail))
        for branch, inner in branches.items():
            label = f"{name}.{block}/{branch}"
            behind += _chain(inner, name, fail, [head_step(block, branch, label)])
    own[-1] = replace(own[-1], last=True)
    return own + behind


async def recorded(house: House, everybody: Sequence[RunRecord], *run_ids: str) -> list[str]:
    """Steps of these runs together, by when their completion was recorded; for a block its own."""
    found = [step for run_id in run_ids for step in await house.store.steps(run_id)]
    landed = [step for step in found if step.forward.link.status in HAPPENED]
    landed.sort(
        key=lambda step: step.forward.finished_at.timestamp() if step.forward.finished_at else 0.0
    )
    names: list[str] = []
    for step in landed:
        parts = [run.id for run in everybody if (run.branch or "").startswith(f"{step.step_id}/")]
        if parts:
            names += await recorded(house, everybody, *parts)
        elif "/" not in step.step_id:
            names.append(step.step_id)
    return names


async def check_block(house: House, run_id: str) -> list[RunRecord]:
    """What holds for any family, and that branches are parts of one run."""
    everybody = await relatives(house, run_id)
    await check_family(house, run_id, await recorded(house, everybody, run_id))
    for run in everybody[1:]:
        assert run.branch is not None
        assert (run.whole_id, run.workflow_id) == (run_id, everybody[0].workflow_id)
    return everybody
