"""The demo's orders are a function of the seed, in the promised shares."""

from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.demo.schemas import MAX_PAYMENT_CENTS
from orchestrator.demo.seeding import REVIEWED, seed_orders


def test_the_same_seed_gives_the_same_orders() -> None:
    first = seed_orders(200, seed=7, prefix="d")
    assert first == seed_orders(200, seed=7, prefix="d")
    assert first != seed_orders(200, seed=8, prefix="d")


@pytest.mark.parametrize(
    ("count", "succeeded", "compensated", "escalated"),
    [(1000, 850, 120, 30), (10_000, 8_500, 1_200, 300), (10, 8, 1, 1), (1, 1, 0, 0), (0, 0, 0, 0)],
)
def test_shares(count: int, succeeded: int, compensated: int, escalated: int) -> None:
    endings = Counter(order.ending for order in seed_orders(count, seed=1, prefix="d"))
    assert endings[RunStatus.SUCCEEDED] == succeeded
    assert endings[RunStatus.COMPENSATED] == compensated
    assert endings[RunStatus.ESCALATED] == escalated


def test_every_refusal_and_every_reviewed_record_occurs() -> None:
    orders = seed_orders(1000, seed=3, prefix="d")
    refused = {o.refused_at for o in orders if o.ending is RunStatus.COMPENSATED}
    assert refused == {"reserve", "register", "charge", "order", "confirm", "ship"}
    reviewed = {o.inputs["review"] for o in orders if o.ending is RunStatus.ESCALATED}
    assert reviewed == set(REVIEWED)


def test_ids_are_unique_and_valid_at_the_server() -> None:
    ids = [order.order_id for order in seed_orders(1000, seed=3, prefix="d1")]
    assert len(set(ids)) == 1000
    assert all(len(order_id) <= 60 and order_id.startswith("d1-") for order_id in ids)


def test_only_the_refused_cannot_pay() -> None:
    for order in seed_orders(1000, seed=5, prefix="d"):
        subtotal = order.inputs["unit_price"] * order.inputs["quantity"]
        if order.refused_at == "charge":
            assert subtotal * 95 // 100 > MAX_PAYMENT_CENTS
        elif order.refused_at != "reserve":
            assert subtotal <= MAX_PAYMENT_CENTS
