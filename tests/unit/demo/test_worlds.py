"""The operator leaves enough open and shows every way out."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import Direction
from orchestrator.demo.views import record_in, standing_records, stuck_record
from orchestrator.demo.worlds import LEFT_OPEN, WayOut, choose
from orchestrator.ports import EscalationRecord

T0 = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = "/buckets/shop/collections/{}/records/o1"
CONTEXT = {
    "stuck": {
        "step": "charge",
        "request": {"method": "DELETE", "target": RECORD.format("payments")},
    },
    "standing": [
        {"step": "reserve", "request": "PUT " + RECORD.format("stock-reservations")},
        {"step": "price", "request": "TASK price"},
        {"step": "clearance", "request": "GET " + RECORD.format("reviews")},
        {"step": "charge", "request": "PUT " + RECORD.format("payments")},
        {"step": "nothing", "request": None},
    ],
    "unknown": [],
}


def escalation(number: int) -> EscalationRecord:
    return EscalationRecord(
        id=f"e{number}",
        run_id=f"r{number}",
        workflow="checkout",
        tenant="t",
        reason=EscalationReason.COMPENSATION_FAILED,
        detail="412",
        step=3,
        step_id="charge",
        direction=Direction.BACKWARD,
        context=CONTEXT,
        opened_at=T0,
        claimed_by=None,
        claimed_at=None,
        closed_at=None,
        resolution=None,
        closed_by=None,
        closing_reason=None,
    )


@pytest.mark.parametrize(
    ("open_ones", "acted_on"), [(0, 0), (LEFT_OPEN, 0), (LEFT_OPEN + 1, 1), (30, 8), (300, 8)]
)
def test_enough_stay_open(open_ones: int, acted_on: int) -> None:
    assert len(choose([escalation(n) for n in range(open_ones)], tuple(WayOut))) == acted_on


def test_every_way_out_is_shown_and_nobody_is_treated_twice() -> None:
    chosen = choose([escalation(n) for n in range(30)], tuple(WayOut))
    assert Counter(way for _, way in chosen) == dict.fromkeys(WayOut, 2)
    assert len({one.id for one, _ in chosen}) == len(chosen)


def test_what_stands_is_what_was_written() -> None:
    assert standing_records(escalation(1)) == {("stock-reservations", "o1"), ("payments", "o1")}


def test_an_effect_in_doubt_is_named_as_well() -> None:
    put = {"method": "PUT", "target": RECORD.format("orders")}
    context = {**CONTEXT, "stuck": {"step": "order", "request": put}, "unknown": ["order"]}
    assert ("orders", "o1") in standing_records(replace(escalation(1), context=context))


def test_the_stuck_record_is_that_of_the_undo() -> None:
    assert stuck_record(escalation(1)) == ("payments", "o1")


@pytest.mark.parametrize("request_line", [None, "", "TASK price", "POST /v1/charges"])
def test_other_requests_have_no_record(request_line: str | None) -> None:
    assert record_in(request_line) is None
