"""When those who were turned away come back, and who is called earlier."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.gate_parked import (
    EARLY,
    LONGEST_SECONDS,
    MISSING_SECONDS,
    ON_THE_WAY_SECONDS,
    SOONEST_SECONDS,
    Parked,
)
from orchestrator.ports import Visit

NOW = 1000.0


def parked(**weights: float) -> Parked:
    return Parked(lambda tenant: weights.get(tenant, 1.0))


def visit(run_id: str, tenant: str = "acme", *, again: bool = False, undo: bool = False) -> Visit:
    return Visit(api="api", run_id=run_id, tenant=tenant, parked=again, undo=undo)


def told(those: Parked, runs: int, tenant: str = "acme") -> list[float]:
    return [
        those.tell(visit(f"{tenant}{n}", tenant), now=NOW, wait=10.0, apart=1.0)
        for n in range(runs)
    ]


def test_they_come_one_after_the_other_and_a_little_early() -> None:
    assert told(parked(), 3) == [10.0 * EARLY, 11.0 * EARLY, 12.0 * EARLY]


def test_the_backlog_of_one_tenant_does_not_delay_another() -> None:
    those = parked()
    told(those, 20, "large")
    assert told(those, 1, "small") == [10.0 * EARLY]


def test_who_has_come_back_goes_before_those_told_since() -> None:
    those = parked()
    told(those, 20)
    assert those.tell(visit("again", again=True), now=NOW, wait=5.0, apart=1.0) == 5.0 * EARLY
    assert those.tell(visit("next", again=True), now=NOW, wait=5.0, apart=1.0) == 6.0 * EARLY


def test_compensations_wait_for_nobody_who_was_told() -> None:
    those = parked()
    told(those, 20)
    assert those.tell(visit("undo", undo=True), now=NOW, wait=2.0, apart=1.0) == 2.0 * EARLY
    assert those.last_of("acme") == NOW + 29.0


@given(wait=st.floats(0, 1e6), apart=st.floats(0, 1e3), runs=st.integers(1, 50))
def test_nobody_is_told_to_come_too_soon_or_too_late(wait: float, apart: float, runs: int) -> None:
    those = parked()
    for n in range(runs):
        seconds = those.tell(visit(str(n)), now=NOW, wait=wait, apart=apart)
        assert SOONEST_SECONDS <= seconds <= LONGEST_SECONDS


def test_as_many_are_recalled_as_are_wanted_in_order_of_their_time() -> None:
    those = parked()
    told(those, 10)
    assert those.recalled(3, now=NOW) == ["acme0", "acme1", "acme2"]
    assert those.recalled(3, now=NOW) == [], "three are on their way"
    assert those.recalled(4, now=NOW) == ["acme3"]


def test_tenants_are_recalled_in_turn_by_weight() -> None:
    those = parked(gold=3.0)
    told(those, 20, "gold")
    told(those, 20, "acme")
    chosen = those.recalled(8, now=NOW)
    assert sum(run_id.startswith("gold") for run_id in chosen) == 6


def test_who_comes_soon_anyway_is_not_recalled() -> None:
    those = parked()
    told(those, 2)
    assert those.recalled(1, now=NOW + 10.0 - ON_THE_WAY_SECONDS) == []


def test_who_has_come_and_who_never_comes_is_forgotten() -> None:
    those = parked()
    told(those, 2)
    those.came(visit("acme0", again=True))
    those.came(visit("somebody else", again=True))
    assert those
    assert those.recalled(5, now=NOW + 11.0 + MISSING_SECONDS + 1.0) == []
    assert not those


def test_a_tenant_that_is_short_is_called_though_the_line_is_long_enough() -> None:
    those = parked()
    told(those, 20, "large")
    told(those, 5, "small")
    short = {"small": 3}
    assert those.recalled(0, now=NOW, short=lambda tenant: short.get(tenant, 0)) == [
        "small0", "small1", "small2",
    ]  # fmt: skip
    assert those.recalled(0, now=NOW, short=lambda tenant: short.get(tenant, 0)) == []
