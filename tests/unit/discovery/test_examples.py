"""Discovery on labelled operations of five APIs: the figures that are promised."""

from __future__ import annotations

import time

from orchestrator.definitions.discovery import discover
from orchestrator.definitions.document import SOURCES, read_document
from tests.bench.discovery import DATA, by_api, examples, held_out, rows, score
from tests.steady import HeldStill


def test_the_promised_figures_hold_over_all_and_for_each_api() -> None:
    its = rows(examples())
    total = score(its)
    assert (total.operations, total.mappings, total.false_undos) == (23, 18, 0), its
    assert total.operations_right >= 0.95, [row for row in its if not row.operation_right]
    assert total.mappings_right >= 0.9, [row for row in its if row.mapping_right is False]
    assert all(row.only_if_kept for row in its)
    for api, each in by_api(its).items():
        assert each.operations_right >= 0.85, api
        assert each.false_undos == 0, api
    apart = held_out(examples())
    assert apart.operations_right >= 0.95
    assert apart.false_undos == 0


def test_a_large_document_takes_less_than_a_second(held_still: HeldStill) -> None:
    document = read_document(
        DATA / "adyen" / "CheckoutService-v71.json", limits=SOURCES, with_lines=False
    )
    start = time.process_time()
    found = discover([document])
    seconds = time.process_time() - start
    assert len(found) == 25
    held_still(seconds < 1.0, f"{seconds} s of CPU")
