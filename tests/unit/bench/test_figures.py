"""Medians, ratios pair by pair, and scaling: what the bench's figures are made of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.engine.figures import (
    Round,
    beside,
    medians,
    percentile,
    ratios,
    report,
    scaled,
    sqlite_beside,
)


def made(runs_per_second: float, **more: float) -> Round:
    """A round of 100 runs of five steps."""
    return Round(runs=100, steps=5, seconds=100 / runs_per_second, more=more)


def rounds(*speeds: float) -> list[Round]:
    """One for each speed."""
    return [made(speed) for speed in speeds]


def test_a_round_says_all_of_it_with_units() -> None:
    one = Round(
        runs=10, steps=5, seconds=2.0, latencies_seconds=[0.1, 0.2, 0.3, 0.4],
        cpu_seconds={"workers": 0.4, "bench": 0.1}, peak_bytes=[1024 * 1024, 3 * 1024 * 1024],
        more={"stub_cpu_share": 0.5},
    )  # fmt: skip
    assert one.figures() == pytest.approx(
        {
            "runs_per_second": 5.0, "steps_per_second": 25.0, "cpu_seconds_per_1000_steps": 10.0,
            "peak_memory_mib": 3.0, "peak_memory_of_all_mib": 4.0, "p50_ms": 300.0,
            "p99_ms": 400.0, "cpu_seconds_per_1000_steps_workers": 8.0,
            "cpu_seconds_per_1000_steps_bench": 2.0, "stub_cpu_share": 0.5,
        }
    )  # fmt: skip


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 1), (0.5, 3), (0.99, 5), (1.0, 5)])
def test_percentiles(share: float, wanted: float) -> None:
    assert percentile([5, 3, 1, 4, 2], share) == wanted


def test_medians_are_of_each_figure() -> None:
    found = medians([made(10, x=3), made(30, x=1), made(20, x=2)])
    assert (found["runs_per_second"], found["x"]) == (20, 2)


def test_ratios_are_pair_by_pair() -> None:
    assert ratios(rounds(10, 20), rounds(5, 40)) == [2.0, 0.5]
    with pytest.raises(ValueError, match="longer"):
        ratios(rounds(10), rounds(5, 40))


def test_the_other_is_the_fastest_variant_and_ceilings_stand_apart() -> None:
    found = report(
        "noop",
        {
            "ours": rounds(100, 400, 100), "celery-chain prefork": rounds(10, 10, 10),
            "celery-chain gevent": rounds(20, 40, 50), "inline gevent": rounds(500, 500, 500),
        },
    )  # fmt: skip
    assert (found["other"]["system"], found["other"]["variant"]) == ("celery-chain", "gevent")
    assert found["ratios"] == [5.0, 10.0, 2.0]
    assert found["ratio"] == 5.0
    assert [one["variant"] for one in found["others"]] == ["prefork", "gevent"]
    assert [one["variant"] for one in found["ceiling"]] == ["gevent"]


def test_alone_there_is_no_ratio() -> None:
    found = report("noop", {"ours": rounds(100)})
    assert found["ratio"] is None
    assert "other" not in found


def test_ourselves_under_other_conditions() -> None:
    found = beside("noop", {"ours": rounds(90, 99, 80), "without": rounds(100, 100, 100)},
                   "without", "ours without Flower")  # fmt: skip
    assert (found["ratios"], found["ratio"]) == ([0.9, 0.99, 0.8], 0.9)
    assert found["ours"]["runs_per_second"] == 90
    assert found["other"]["system"] == "ours without Flower"
    assert found["cpu_ratio"] is None  # nobody counted


def test_cpu_of_a_step_over_that_of_the_other() -> None:
    def used(*seconds: float) -> list[Round]:
        return [replace(made(100), cpu_seconds={"workers": one, "bench": 1.0}) for one in seconds]

    found = beside("history", {"ours": used(4.0, 2.0, 1.0), "few": used(1.0, 1.0, 1.0)}, "few", "")
    assert found["cpu_ratio"] == 1.5


def test_sqlite_over_postgres() -> None:
    found = sqlite_beside({"ours": rounds(100, 200), "sqlite": rounds(60, 100)})
    assert found["sqlite_over_postgres"] == 0.55
    assert found["sqlite"]["runs_per_second"] == 80


def test_scaling_is_over_the_fewest_workers() -> None:
    found = scaled("io200", {4: rounds(38, 40), 1: rounds(10, 10), 2: rounds(19, 21)})
    assert found["scaling"] == {"4": 3.9, "2": 2.0}
    assert found["scaling_ratios"] == {"4": [3.8, 4.0], "2": [1.9, 2.1]}
    assert found["ours"]["runs_per_second"] == 10
    assert found["by_workers"]["4"]["runs_per_second"] == 39


def test_one_number_of_workers_scales_over_nothing() -> None:
    assert scaled("io200", {2: rounds(10)})["scaling"] == {}
