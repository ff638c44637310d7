"""The checkout of `orchestrator bench orphans`, by us: its third step is declined."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.states import RunStatus
from tests.bench.orphans.documents import INPUTS
from tests.bench.orphans.ours import check_out
from tests.bench.orphans.shop import open_shop

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


async def test_a_declined_checkout_leaves_no_orphan(tmp_path: Path) -> None:
    with open_shop() as shop:
        ended = await check_out(shop, tmp_path, INPUTS)
    assert ended is RunStatus.COMPENSATED
    assert shop.seen == [
        "POST /customers", "POST /charges", "POST /orders",
        "POST /charges/ch_2/void", "DELETE /customers/cus_1",
    ]  # fmt: skip
    assert (shop.customers, shop.charges) == (set(), set())
