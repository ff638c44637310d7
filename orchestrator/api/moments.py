"""Moments as the REST face takes them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator


def _as_rfc3339_has_it(given: object) -> object:
    """Pydantic would take numbers for seconds since 1970."""
    if isinstance(given, (int, float)) or (isinstance(given, str) and not given[:5].endswith("-")):
        raise ValueError("a time as RFC 3339 has it: 2026-01-31T12:00:00Z")
    return given


Moment = Annotated[AwareDatetime | None, BeforeValidator(_as_rfc3339_has_it)]
