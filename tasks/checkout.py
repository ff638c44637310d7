"""Pricing and mail text of the checkout workflow."""

from __future__ import annotations

from typing import Any

from orchestrator import task

_BULK_FROM = 10
_BULK_DISCOUNT_PERCENT = 5


@task(name="price", effects="none")
def price(unit_price: int, quantity: int) -> dict[str, Any]:
    """What an order costs, in whole cents; 5 % off from ten pieces, rounded down."""
    subtotal = unit_price * quantity
    percent = _BULK_DISCOUNT_PERCENT if quantity >= _BULK_FROM else 0
    discount = subtotal * percent // 100
    return {"subtotal": subtotal, "discount": discount, "total": subtotal - discount}


@task(name="confirmation_text", effects="none")
async def confirmation_text(
    order_id: str, name: str, item: str, quantity: int, total: int
) -> dict[str, str]:
    """Subject and text of the mail that confirms an order; `total` is in cents."""
    return {
        "subject": f"Your order {order_id}",
        "text": (
            f"Dear {name}, thank you for ordering {quantity} × {item}. "
            f"The total of {total / 100:.2f} EUR has been paid. It will be on its way shortly."
        ),
    }
