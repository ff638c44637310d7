"""Workflows with parallel blocks of calls of the shop, and what holds of their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.core.plan import Plan, PlanStep
from orchestrator.core.plan_json import with_digest
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


async def check_block(house: House, run_id: str) -> list[RunRecord]:
    """What holds for any family, and that branches are parts of one run."""
    await check_family(house, run_id)
    everybody = await relatives(house, run_id)
    for run in everybody[1:]:
        assert run.branch is not None
        assert (run.whole_id, run.workflow_id) == (run_id, everybody[0].workflow_id)
    return everybody
