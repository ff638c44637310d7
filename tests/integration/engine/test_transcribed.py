"""Cases of other engines' public suites, put as questions to ours (docs/conformance.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.plan import Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import RunStatus
from orchestrator.definitions.waiting import SIGNAL, wait_call
from orchestrator.errors import InvalidInput
from orchestrator.ports import RunRecord
from tests.integration.engine.checking import check
from tests.integration.engine.house import House
from tests.integration.engine.test_waits import desk
from tests.integration.engine.world import Kind, shop_plan

A, B = "payment", "delivery"
NESTED: dict[str, Any] = {
    "text": "ä\u2028\U0001f600", "none": None, "deep": {"list": [1, 2.5, [True, {"a": []}]]},
}  # fmt: skip
MOST_BYTES = 1000  # of a signal's data, at the desk of these tests


def waits_for(*signals: str) -> Plan:
    """A keyed step, then a wait for each signal; the run's outputs are what they said."""
    first = shop_plan([(Kind.KEYED, Kind.KEYED)]).steps[0]
    waits = [
        PlanStep(id=name, call=wait_call(SIGNAL, f"order.{name}", {"signal": name}))
        for name in signals
    ]
    outputs = {name: f"$steps.{name}.outputs.said" for name in signals}
    plan = shop_plan([(Kind.KEYED, Kind.KEYED)])
    return with_digest(replace(plan, steps=(first, *waits), outputs=outputs, waits=True))


async def at_its_wait(house: House, plan: Plan) -> str:
    run_id = await house.submit(plan)
    await house.work()
    assert (await house.store.run(run_id)).status is RunStatus.WAITING
    return run_id


async def says(house: House, run_id: str, signal: str, data: dict[str, Any]) -> None:
    await desk(house).send_signal(run_id, signal, key=signal, data=data, by="bank", via="rest")
    await house.work()


async def succeeded(house: House, run_id: str) -> RunRecord:
    run = await house.settle(run_id)
    assert run.status is RunStatus.SUCCEEDED
    await check(house, run_id)
    return run


@pytest.mark.parametrize("order", [(A, B), (B, A)], ids=["in order", "the other way round"])
async def test_two_answers_come_in_either_order(house: House, order: tuple[str, str]) -> None:
    run_id = await at_its_wait(house, waits_for(A, B))
    await says(house, run_id, order[0], {"said": order[0]})
    assert (await house.store.run(run_id)).status is RunStatus.WAITING
    await says(house, run_id, order[1], {"said": order[1]})
    assert (await succeeded(house, run_id)).outputs == {A: A, B: B}


@pytest.mark.parametrize("said", [NESTED, None, "", 0, [], {}], ids=repr)
async def test_a_value_comes_back_as_it_was(house: House, said: Any) -> None:
    run_id = await at_its_wait(house, waits_for(A))
    await says(house, run_id, A, {"said": said})
    assert (await succeeded(house, run_id)).outputs == {A: said}


async def test_an_answer_that_says_nothing_is_an_answer(house: House) -> None:
    run_id = await at_its_wait(house, waits_for(A))
    await says(house, run_id, A, {})
    assert (await succeeded(house, run_id)).outputs == {}


async def test_the_largest_answer_is_taken_and_one_byte_more_is_not(house: House) -> None:
    run_id = await at_its_wait(house, waits_for(A))
    room = MOST_BYTES - len('{"said":""}')
    with pytest.raises(InvalidInput):
        await says(house, run_id, A, {"said": "x" * (room + 1)})
    assert (await house.store.run(run_id)).status is RunStatus.WAITING
    await says(house, run_id, A, {"said": "x" * room})
    assert (await succeeded(house, run_id)).outputs == {A: "x" * room}
