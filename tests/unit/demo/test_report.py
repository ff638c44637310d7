"""Totals add up, percentiles are by nearest rank, and the table says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from rich.console import Console

from orchestrator.core.states import RunStatus
from orchestrator.demo.reconcile import Finding, RunView, Verdict
from orchestrator.demo.report import Surroundings, Totals, draw, percentiles, totals

ENDINGS = {
    RunStatus.SUCCEEDED: 5,
    RunStatus.COMPENSATED: 3,
    RunStatus.ESCALATED: 2,
    RunStatus.ABANDONED: 1,
    RunStatus.RUNNING: 1,
}


def views() -> Mapping[str, RunView]:
    statuses = [status for status, number in ENDINGS.items() for _ in range(number)]
    return {f"o{n}": RunView(run_id=f"r{n}", status=s) for n, s in enumerate(statuses)}


def result(verdict: Verdict) -> Totals:
    return totals(views(), verdict, peak=7, seconds=4.0)


def test_runs_is_the_sum_of_the_endings_and_the_lost() -> None:
    # One still runs, and one more is unknown to the orchestrator: both count as lost.
    found = result(Verdict(lost=2))
    assert found.runs == 13
    parts = (found.succeeded, found.compensated, found.escalated, found.abandoned, found.lost)
    assert sum(parts) == found.runs
    assert found.runs_per_second == 3.2


def test_the_json_object_has_exactly_the_promised_fields() -> None:
    assert list(result(Verdict()).to_json()) == [
        "runs",
        "succeeded",
        "compensated",
        "escalated",
        "abandoned",
        "lost",
        "orphaned_effects",
        "duplicate_effects",
        "out_of_order_compensations",
        "unexpected_endings",
        "peak_concurrent_runs",
        "seconds",
        "runs_per_second",
    ]


@pytest.mark.parametrize(
    "zero",
    [
        "lost",
        "orphaned_effects",
        "duplicate_effects",
        "out_of_order_compensations",
        "unexpected_endings",
    ],
)
def test_any_zero_that_is_not_zero_is_not_clean(zero: str) -> None:
    assert result(Verdict()).clean
    assert not result(Verdict(**{zero: 1})).clean


def test_percentiles_by_nearest_rank() -> None:
    assert percentiles([]) == {}
    assert percentiles([3.0]) == {"p50": 3.0, "p95": 3.0, "p99": 3.0}
    assert percentiles(map(float, range(1, 201))) == {"p50": 100.0, "p95": 190.0, "p99": 198.0}


def drawn(verdict: Verdict, around: Surroundings) -> str:
    console = Console(width=120, record=True)
    with console.capture() as captured:
        console.print(draw(result(verdict), verdict, around))
    return captured.get()


def test_the_table_names_what_is_wrong() -> None:
    finding = Finding(kind="orphaned_effects", order_id="o3", detail="payments/o3 is there")
    text = drawn(Verdict(orphaned_effects=12, findings=(finding,) * 12), Surroundings())
    assert "does not add up" in text
    assert "payments/o3 is there" in text
    assert "2 more" in text


def test_the_table_says_where_to_look_next() -> None:
    around = Surroundings(
        flower_url="http://127.0.0.1:1",
        percentiles={"p50": 0.5},
        worker_memory={"w1": 100 * 2**20, "w2": None},
        samples={RunStatus.COMPENSATED: "run-42"},
        kept=True,
    )
    text = drawn(Verdict(), around)
    for expected in ("nothing is amiss", "runs show run-42", "http://127.0.0.1:1", "w1 100 MiB"):
        assert expected in text
