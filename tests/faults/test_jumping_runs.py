"""Every way through a workflow has its effects once and in its order, whatever dies meanwhile."""

from __future__ import annotations

import pytest

from tests.faults.jumping import simulate_jumps


@pytest.mark.parametrize(
    ("seed", "store"), [*((seed, "memory") for seed in range(1, 5)), (5, "sqlite")]
)
def test_every_way_has_its_effects_once_and_in_its_order(seed: int, store: str) -> None:
    found = simulate_jumps(seed, store=store)
    assert found.violations == ()
    assert found.deaths + found.crashes + found.freezes > 3
