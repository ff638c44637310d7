"""A canary's share: exact in expectation, the same for the same key, and it only grows."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.core.aliases import Way, Ways, takes

SHARES = st.floats(min_value=0, max_value=100)
MANY = 2_000


def taken(share: float, salt: str) -> list[bool]:
    return [takes("order", "acme", f"{salt}-{n}", share) for n in range(MANY)]


@given(share=SHARES, salt=st.text(max_size=10))
@example(share=0.0, salt="")
@example(share=100.0, salt="")
def test_as_many_as_the_share_says(share: float, salt: str) -> None:
    part = share / 100
    spread = math.sqrt(MANY * part * (1 - part))
    # Seven standard deviations: one in 10**11; and near 0 and 100, where it is no bell, some runs.
    assert abs(sum(taken(share, salt)) - MANY * part) <= 7 * spread + 8
    assert share not in (0.0, 100.0) or spread == 0.0


@given(st.tuples(SHARES, SHARES).map(sorted), st.text(max_size=10))
def test_a_larger_share_keeps_all_that_had_it(shares: list[float], salt: str) -> None:
    less, more = (taken(share, salt) for share in shares)
    assert all(b for a, b in zip(less, more, strict=True) if a)


@given(st.text(max_size=5), st.text(max_size=5), SHARES)
def test_nobody_at_nought_everybody_at_a_hundred_and_always_the_same(
    tenant: str, key: str, share: float
) -> None:
    stable, canary = Way(version=1, workflow_id="one"), Way(version=2, workflow_id="two")
    at = Ways(workflow="order", plain=stable, canary=canary, share=share)
    assert at.of(tenant, key) is at.of(tenant, key)
    assert not takes("order", tenant, key, 0.0)
    assert takes("order", tenant, key, 100.0)
