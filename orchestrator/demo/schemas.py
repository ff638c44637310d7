"""What the demo's shop accepts: one JSON schema for each collection, enforced by the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BUCKET = "shop"

ITEMS: Mapping[str, int] = {
    "anvil": 4_999,
    "compass": 1_250,
    "globe": 3_900,
    "kettle": 2_795,
    "lantern": 1_899,
    "rope": 990,
    "sextant": 7_450,
    "telescope": 12_900,
}
"""The catalogue: item to unit price in cents."""

DELIVERED_TO = ("AT", "BE", "CH", "DE", "ES", "FR", "IT", "NL", "PL", "SE")
"""Countries that the carrier serves; it refuses all others."""

MAX_QUANTITY = 20
"""Most pieces of one item that the warehouse reserves at once."""
MAX_PAYMENT_CENTS = 150_000
"""Largest payment that the bank takes."""

_ORDER_ID: Mapping[str, Any] = {"type": "string", "pattern": "^[a-z0-9-]{3,60}$"}
_TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": 2_000}
_CENTS: Mapping[str, Any] = {"type": "integer", "minimum": 1}


def _record(optional: Mapping[str, Any] | None = None, **required: Mapping[str, Any]) -> Any:
    """A closed record. Everyone who writes one signs it in `changed_by`."""
    fields = {"order_id": _ORDER_ID, "changed_by": _TEXT, **required}
    return {
        "type": "object",
        "properties": {**fields, "remark": _TEXT, **(optional or {})},
        "required": list(fields),
        "additionalProperties": False,
    }


COLLECTIONS: Mapping[str, Any] = {
    "items": {
        "type": "object",
        "properties": {"price_cents": _CENTS},
        "required": ["price_cents"],
        "additionalProperties": False,
    },
    "stock-reservations": _record(
        item=_TEXT, quantity={"type": "integer", "minimum": 1, "maximum": MAX_QUANTITY}
    ),
    "customers": _record(
        name=_TEXT, email={"type": "string", "pattern": "^[^@ ]+@[^@ ]+$", "maxLength": 200}
    ),
    "payments": _record(
        amount={**_CENTS, "maximum": MAX_PAYMENT_CENTS}, currency={"enum": ["EUR"]}
    ),
    "orders": _record(
        item={"enum": sorted(ITEMS)},
        quantity={"type": "integer", "minimum": 1},
        total=_CENTS,
        review=_TEXT,
    ),
    "mail": _record(
        # The mail server does not relay to the reserved domain of RFC 2606.
        to={"type": "string", "not": {"pattern": "@([^@]+[.])?invalid$"}},
        subject=_TEXT,
        text=_TEXT,
    ),
    "shipments": _record(
        name=_TEXT, country={"enum": list(DELIVERED_TO)}, pieces={"type": "integer", "minimum": 1}
    ),
    "reviews": _record(subject=_TEXT),
}
"""Collection to JSON schema (draft 7). `reviews` belongs to the review desk alone."""
