"""Rates in the notation of the `limits` library: "200/second; 5000/hour"."""

from __future__ import annotations

import limits

from orchestrator.ports import Rate


def parse_rates(text: str | None) -> tuple[Rate, ...]:
    """All windows, which hold at once; None: no rate. Raises ValueError."""
    found = limits.parse_many(text) if text else []
    return tuple(Rate(amount=item.amount, seconds=float(item.get_expiry())) for item in found)


def checked_rates(text: str) -> str:
    """The text itself. Raises ValueError that says what is wanted."""
    try:
        parse_rates(text)
    except ValueError:
        raise ValueError('rates such as "200/second; 5000/hour"') from None
    return text
