"""The payment world: endings by seed, and charges read as effects and undos."""

from __future__ import annotations

from collections import Counter
from typing import Any

from orchestrator.core.states import RunStatus
from orchestrator.demo.payments import EFFECTS, seed_payments, state_of
from orchestrator.demo.reconcile import RunView, Verdict, reconcile

ORDERS = seed_payments(200, seed=1, prefix="p")


def charge(order_id: str, step: str, *, status: str = "succeeded", refunds: int = 0) -> Any:
    return {
        "description": f"{order_id} {step}",
        "status": status,
        "refunded": refunds > 0,
        "refunds": {"data": [{"id": f"re_{n}"} for n in range(refunds)]},
    }


def verdict(ending: RunStatus, *charges: Any, failed_at: str | None = None) -> Verdict:
    order = next(o for o in ORDERS if (o.ending, o.refused_at) == (ending, failed_at))
    undone = ("deposit",) if ending is RunStatus.COMPENSATED else ()
    view = RunView(run_id="r", status=ending, failed_at=failed_at, completed=EFFECTS, undone=undone)
    renamed = [
        {**c, "description": c["description"].replace("o1", order.order_id)} for c in charges
    ]
    return reconcile(
        [order],
        {order.order_id: view},
        state_of(renamed),
        effects=EFFECTS,
        expected={},
        others=frozenset(),
    )


def test_shares_and_reasons() -> None:
    endings = Counter(order.ending for order in ORDERS)
    assert endings == {
        RunStatus.SUCCEEDED: 170,
        RunStatus.COMPENSATED: 24,
        RunStatus.ESCALATED: 6,
    }
    for order in ORDERS:
        disputed = order.inputs["deposit_source"] == "tok_createDispute"
        assert disputed == (order.ending is RunStatus.ESCALATED)


def test_both_charges_stand_after_success() -> None:
    both = (charge("o1", "deposit"), charge("o1", "balance"))
    assert verdict(RunStatus.SUCCEEDED, *both).clean
    assert verdict(RunStatus.SUCCEEDED, both[0]).unexpected_endings == 1


def test_a_second_charge_of_the_same_step_is_a_duplicate() -> None:
    charges = [charge("o1", "deposit"), charge("o1", "balance"), charge("o1", "balance")]
    assert verdict(RunStatus.SUCCEEDED, *charges).duplicate_effects == 1


def test_a_declined_charge_is_no_effect_and_its_deposit_is_refunded_once() -> None:
    declined = charge("o1", "balance", status="failed")
    refunded = charge("o1", "deposit", refunds=1)
    assert verdict(RunStatus.COMPENSATED, refunded, declined, failed_at="balance").clean


def test_a_deposit_that_was_not_refunded_is_orphaned() -> None:
    kept = charge("o1", "deposit")
    assert verdict(RunStatus.COMPENSATED, kept, failed_at="balance").orphaned_effects == 1


def test_a_second_refund_is_caught() -> None:
    twice = charge("o1", "deposit", refunds=2)
    found = verdict(RunStatus.COMPENSATED, twice, failed_at="balance")
    assert not found.clean
