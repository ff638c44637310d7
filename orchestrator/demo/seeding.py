"""The demo's orders: from one seed, each with the ending that it implies."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.core.states import RunStatus
from orchestrator.demo.schemas import DELIVERED_TO, ITEMS, MAX_PAYMENT_CENTS, MAX_QUANTITY

REFUSED_SHARE = 0.12
ESCALATED_SHARE = 0.03
_AT_LEAST_ONE_FROM = 10
"""From this many runs on, each kind of ending occurs."""

REVIEWED = ("payments", "customers", "stock-reservations")
"""Records that the review desk may have to change, so that each occurs.

Not the order itself: it is what the desk finds its work by. An order that is there proves that the
steps before it are on record, so that the desk's change comes after them whatever the timing.
"""

_NAMES = ("Ada", "Blaise", "Clara", "Dmitri", "Edsger", "Frances", "Grace", "Hedy", "Ida", "Joan")
_UNSERVED = ("AQ", "GS", "TF")
_PAYABLE_CENTS = MAX_PAYMENT_CENTS - 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One run to submit. `ending` is where it must settle before any person acts."""

    order_id: str
    inputs: Mapping[str, Any]
    ending: RunStatus
    refused_at: str | None  # step that the server refuses
    why: str  # for people


def seed_orders(count: int, *, seed: int, prefix: str) -> tuple[Order, ...]:
    """`count` orders in the order of submission, the same for the same arguments.

    `prefix` begins each order's id, and with it the ids of all its records.
    """
    dice = random.Random(f"{seed}/{count}")
    endings = deal_endings(count, dice)
    kinds = {RunStatus.SUCCEEDED: 0, RunStatus.COMPENSATED: 0, RunStatus.ESCALATED: 0}
    orders = []
    for number, ending in enumerate(endings, start=1):
        good = _good_inputs(f"{prefix}-{number:06d}", dice)
        orders.append(_spoil(good, ending, kinds[ending], dice))
        kinds[ending] += 1
    return tuple(orders)


def deal_endings(count: int, dice: random.Random) -> list[RunStatus]:
    """How each run has to end, in order of submission, in the promised shares."""
    least = 1 if count >= _AT_LEAST_ONE_FROM else 0
    escalated = max(least, round(count * ESCALATED_SHARE))
    refused = max(least, round(count * REFUSED_SHARE))
    endings = [RunStatus.ESCALATED] * escalated + [RunStatus.COMPENSATED] * refused
    endings += [RunStatus.SUCCEEDED] * (count - len(endings))
    dice.shuffle(endings)
    return endings


def _good_inputs(order_id: str, dice: random.Random) -> dict[str, Any]:
    item = dice.choice(sorted(ITEMS))
    price = ITEMS[item]
    return {
        "order_id": order_id,
        "name": dice.choice(_NAMES),
        "email": f"{order_id}@example.org",
        "item": item,
        "quantity": dice.randint(1, min(MAX_QUANTITY, _PAYABLE_CENTS // price)),
        "unit_price": price,
        "country": dice.choice(DELIVERED_TO),
        "review": "none",
    }


def _spoil(good: dict[str, Any], ending: RunStatus, nth: int, dice: random.Random) -> Order:
    if ending is RunStatus.SUCCEEDED:
        return _order(good, ending, None, "nothing refuses it")
    if ending is RunStatus.ESCALATED:
        reviewed = REVIEWED[nth % len(REVIEWED)]
        inputs = {**good, "country": dice.choice(_UNSERVED), "review": reviewed}
        why = f"refused by the carrier after the review desk had changed its record in {reviewed}"
        return _order(inputs, ending, "ship", why)
    step, wrong, why = _REFUSALS[nth % len(_REFUSALS)]
    return _order({**good, **wrong}, ending, step, why)


_REFUSALS: tuple[tuple[str, Mapping[str, Any], str], ...] = (
    ("charge", {"item": "telescope", "unit_price": 12_900, "quantity": 20}, "payment too large"),
    ("order", {"item": "phlogiston", "unit_price": 4_200, "quantity": 2}, "unknown item"),
    ("ship", {"country": "AQ"}, "country not served"),
    ("confirm", {"email": "nobody@mailbox.invalid"}, "mail not deliverable"),
    ("reserve", {"quantity": MAX_QUANTITY + 5}, "more pieces than the warehouse reserves"),
    ("register", {"email": "no address at all"}, "not a mail address"),
)
"""Step, inputs that make the server refuse it, and why; taken in turn, so that each occurs."""


def _order(inputs: Mapping[str, Any], ending: RunStatus, refused_at: str | None, why: str) -> Order:
    return Order(
        order_id=inputs["order_id"], inputs=inputs, ending=ending, refused_at=refused_at, why=why
    )
