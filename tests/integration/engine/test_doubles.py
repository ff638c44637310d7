"""Why was my account charged twice? Two real double charges, told of in one answer."""

from __future__ import annotations

from orchestrator.core.doubles import Cause
from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.states import RunStatus
from orchestrator.ports import RunFilter
from orchestrator.service.explaining import Explaining
from tests.integration.engine.house import House
from tests.integration.engine.world import Fate, Kind, Shop, shop_plan

CHARGE = shop_plan([(Kind.KEYED, Kind.KEYED)])
OF_CUSTOMER = (("customer", "42"),)


class Forgetful(Shop):
    """An API that takes idempotency keys and ignores them."""

    def _replayed(self, key: str | None, request: FrozenRequest) -> Response | None:
        return None


async def charged(house: House, order: str, actor: str, key: str) -> str:
    run_id = await house.submit(
        CHARGE, order, actor=actor, idempotency_key=key, attributes=OF_CUSTOMER
    )
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    return run_id


async def test_two_keys_for_one_intent_and_an_api_that_ignores_keys(house: House) -> None:
    house.shop = Forgetful()
    first = await charged(house, "o-1", "agent:ada", "order-1")
    second = await charged(house, "o-1", "agent:bob", "order-1-again")
    house.shop.will("o-2", "s1", Fate.UNSEEN)
    third = await charged(house, "o-2", "agent:ada", "order-2")
    await house.submit(CHARGE, "o-1", actor="agent:eve", idempotency_key="of somebody else")
    assert (house.shop.times("o-1", "s1"), house.shop.times("o-2", "s1")) == (2, 2)

    found = await Explaining(house.store).explain_all(RunFilter(attributes=dict(OF_CUSTOMER)))
    assert [each.run.id for each in found.stories] == [third, second, first]
    by_cause = {double.cause: double for double in found.doubles}
    assert len(found.doubles) == len(by_cause) == 2
    two, one = by_cause[Cause.TWO_KEYS], by_cause[Cause.ONE_KEY]
    assert {effect.run_id for effect in two.effects} == {first, second}
    assert {effect.actor for effect in two.effects} == {"agent:ada", "agent:bob"}
    said = ("under the key order-1,", "under the key order-1-again,", "agent:ada", "agent:bob")
    for words in (*said, first, second, "POST http://shop.example/orders/o-1/s1"):
        assert words in two.text
    assert [(effect.run_id, effect.call.attempt) for effect in one.effects] == [
        (third, 1), (third, 2),
    ]  # fmt: skip
    (key,) = {effect.call.key for effect in one.effects}
    assert key in one.text
    assert "it ignores keys" in one.text
