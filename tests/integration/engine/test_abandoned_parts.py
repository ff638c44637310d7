"""A person who abandons a run whose parts are under way reaches them: they stop where they are."""

from __future__ import annotations

import pytest

from orchestrator.core.plan import OnCancel, Plan
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.ports import RunFilter
from tests.integration.engine.blocks import forking
from tests.integration.engine.family import ORDER, begins, family, leaf, publish
from tests.integration.engine.house import House
from tests.integration.engine.test_blocks import FAN
from tests.integration.engine.test_maps import each, order, payment, settled
from tests.integration.engine.world import Fate

CHILD, ITEMS = leaf(), payment()
LEFT = begins(CHILD, on_cancel=OnCancel.LEAVE)
STOPPED: dict[str, tuple[Plan, list[Plan], str, dict[str, list[str]]]] = {
    "branches": (forking("s1", FAN, "s3"), [], "a1", {ORDER: ["s1", "a1"]}),
    "a child": (family("s1", begins(CHILD), "s3"), [CHILD], "c1", {ORDER: ["s1", "c1"]}),
    "items": (
        order("s1", each(ITEMS), "s3"), [ITEMS], "c1",
        {ORDER: ["s1"], "i-0": ["c1"], "i-1": [], "i-2": []},
    ),
    "who goes on anyway": (family("s1", LEFT), [CHILD], "c1", {ORDER: ["s1", "c1", "c2"]}),
}  # fmt: skip
"""The workflow and those it begins; the call during which it is abandoned; what was done."""


async def poisoned(house: House, run_id: str) -> str:
    """The escalation of a run that sleeps: it has taken too many processes along."""
    await house.execute("UPDATE runs SET claims = 99, wake_at = 0 WHERE id = :id", id=run_id)
    await house.redeliverer.publish(await house.store.take_due())
    hint = next(each for each in house.broker.hints if each.run_id == run_id)
    house.broker.hints.remove(hint)
    await (await house.worker()).drive(hint)
    (escalation,) = await house.store.escalations_of(run_id)
    return escalation.id


@pytest.mark.parametrize("what", list(STOPPED))
async def test_what_is_under_way_stops_at_its_next_boundary(house: House, what: str) -> None:
    plan, others, when, wanted = STOPPED[what]
    await publish(house, *others)
    run_id = await house.submit(plan)
    calls: list[str] = []

    async def abandon(name: str) -> None:
        calls.append(name)
        if calls.count(when) == 1 and name == when:
            await house.escalations.abandon(
                await poisoned(house, run_id), by="ada", reason="nobody needs it"
            )
            await (await house.worker()).maps.look_after()  # as each second's sweep

    house.shop.on_send = abandon
    run = await settled(house, run_id)
    assert run.status is RunStatus.ABANDONED
    runs = await house.store.runs(RunFilter(limit=None))
    assert all(each.status in FINAL for each in runs)
    assert {order: house.shop.applied[order] for order in wanted} == wanted
    if what != "who goes on anyway":
        (first, *_) = sorted((each for each in runs if each.id != run_id), key=lambda run: run.id)
        assert first.status is RunStatus.ABANDONED
        assert "nobody needs it" in first.cause or "the run ended abandoned" in first.cause


async def test_what_undoes_a_child_ends_by_itself(house: House) -> None:
    await publish(house, CHILD)
    run_id = await house.submit(family("s1", begins(CHILD), "s3"))
    house.shop.will(ORDER, "s3", Fate.REFUSED)
    calls: list[str] = []

    async def abandon(name: str) -> None:
        calls.append(name)
        if calls.count("c2.undo") == 1 and name == "c2.undo":
            await house.escalations.abandon(await poisoned(house, run_id), by="ada", reason="no")

    house.shop.on_send = abandon
    assert (await settled(house, run_id)).status is RunStatus.ABANDONED
    assert house.shop.applied[ORDER] == ["s1", "c1", "c2", "c2.undo", "c1.undo"]
