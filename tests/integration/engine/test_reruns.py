"""A run is run again from a step: what it did before is taken over, and done only once."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict, NotFound
from orchestrator.service.rerunning import Rerun, Rerunning
from tests.integration.engine.busy_gate import BusyGate
from tests.integration.engine.house import House, new_id
from tests.integration.engine.world import Fate, Kind, shop_plan

KEYED = (Kind.KEYED, Kind.KEYED)
PLAN = shop_plan([KEYED] * 3)
CALLS = ("s1", "s2", "s3", "s1.undo", "s2.undo", "s3.undo")


async def rerun(house: House, run_id: str, step: str = "s2", **more: Any) -> str:
    desk = Rerunning(house.store, house.programs, house.broker, new_id=new_id)
    accepted = await desk.rerun(Rerun(run_id=run_id, step=step, by="ada", reason="fixed", **more))
    await house.work()
    return accepted.run_id


async def stopped(house: House) -> str:
    """A run that somebody ended after its first step, which stands."""
    house.gate = gate = BusyGate(0)
    house.shop.on_send = lambda name: setattr(gate, "left", int(name == "s1"))
    run_id = await house.submit(PLAN)
    await house.work()
    wish = {"mode": CancelMode.STOP, "reason": "enough", "by": "ada"}
    redelivery = await house.store.request_cancel(run_id, **wish)
    assert redelivery is not None
    await house.redeliverer.publish([redelivery])
    await house.work()
    assert (await house.store.run(run_id)).status is RunStatus.ABANDONED
    return run_id


def done(house: House) -> list[int]:
    return [house.shop.times("o-1", name) for name in CALLS]


async def test_what_was_done_before_is_not_done_again(house: House) -> None:
    old = await stopped(house)
    new = await rerun(house, old)
    run = await house.store.run(new)
    assert (run.status, run.version, run.inputs) == (RunStatus.SUCCEEDED, 1, {"order": "o-1"})
    assert done(house) == [1, 1, 1, 0, 0, 0]
    assert len({sent.key for sent in house.shop.sent}) == 3
    (told,) = [each for each in await house.store.audit(new) if each.kind == "run.rerun_of"]
    assert (told.actor, told.data) == ("ada", {"run": old, "step": "s2", "reason": "fixed"})
    assert (await house.store.audit(old))[-1].data["run"] == new


async def test_what_it_took_over_of_an_abandoned_run_is_undone_with_the_rest(house: House) -> None:
    old = await stopped(house)
    house.shop.will("o-1", "s3", Fate.REFUSED)
    new = await rerun(house, old)
    assert (await house.store.run(new)).status is RunStatus.COMPENSATED
    assert done(house) == [1, 1, 0, 1, 1, 0]


async def test_only_one_run_may_take_it_over(house: House) -> None:
    old = await stopped(house)
    new = await rerun(house, old)
    assert await rerun(house, old) == new
    await house.store.publish(shop_plan([KEYED, KEYED, (Kind.KEYED, None)]), document="", by="ada")
    with pytest.raises(Conflict, match="in use for something else"):
        await rerun(house, old, version=2)
    assert done(house) == [1, 1, 1, 0, 0, 0]


async def test_effects_of_a_run_that_succeeded_stay_its_own(house: House) -> None:
    old = await house.submit(PLAN)
    await house.work()
    with pytest.raises(Conflict) as refused:
        await rerun(house, old, "s3")
    assert "step s3" in str(refused.value)
    assert "an effect of the old run that stands" in str(refused.value)
    house.shop.will("o-1", "s3", Fate.REFUSED)
    new = await rerun(house, old, "s2", repeat_effects=True)
    assert (await house.store.run(new)).status is RunStatus.COMPENSATED
    assert house.shop.times("o-1", "s2.undo") == 1  # its own
    assert house.shop.times("o-1", "s1.undo") == 0  # not its own


async def test_what_was_undone_or_has_not_ended_is_refused(house: House) -> None:
    house.shop.will("o-1", "s3", Fate.REFUSED)
    undone = await house.submit(PLAN)
    with pytest.raises(Conflict, match="status pending"):
        await rerun(house, undone)
    await house.work()
    with pytest.raises(Conflict, match="step s1: found undone"):
        await rerun(house, undone, "s2")
    with pytest.raises(NotFound, match="s1, s2, s3"):
        await rerun(house, undone, "s9")
    new = await rerun(house, undone, "s1")
    assert (await house.store.run(new)).status is RunStatus.SUCCEEDED


async def test_another_version_must_have_the_same_steps_before(house: House) -> None:
    old = await stopped(house)
    last = (Kind.KEYED, None)
    await house.store.publish(shop_plan([KEYED, KEYED, last]), document="", by="test")
    other = (Kind.VERIFIED, Kind.KEYED)
    await house.store.publish(shop_plan([other, KEYED, KEYED]), document="", by="test")
    with pytest.raises(Conflict, match="step s1: found another definition"):
        await rerun(house, old, version=3)
    new = await rerun(house, old, version=2)
    run = await house.store.run(new)
    assert (run.status, run.version) == (RunStatus.SUCCEEDED, 2)
