"""Rates in the notation of the `limits` library: "200/second; 5000/hour"."""

from __future__ import annotations

from functools import lru_cache

import limits

from orchestrator.ports import Rate

SPACED_FROM = 50.0  # requests a second; slower ones may come in bursts


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


@lru_cache(maxsize=1024)  # asked for by every call that has to wait
def spacing_seconds(rates: tuple[Rate, ...], headroom_seconds: float) -> float:
    """The even distance between requests to an API; 0 where bursts do no harm.

    A request delayed by more than the headroom then meets a neighbour or two in its window; with
    bursts it could meet the whole next one. At slow rates the wait would cost more than it saves.
    """
    if not rates:
        return 0.0
    shortest = min(rates, key=lambda rate: rate.seconds)
    if shortest.amount / shortest.seconds < SPACED_FROM:
        return 0.0
    return (shortest.seconds + headroom_seconds) / shortest.amount
