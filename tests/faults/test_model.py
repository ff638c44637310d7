"""Every interleaving of two workers, the sweeps, an operator and the faults, over the real core.

`make model` explores more: docs/model.md.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.model.defects import DEFECTS
from tests.faults.model.exploring import FALLS, Broken, Explored, Explorer, Slot
from tests.faults.model.plans import PLANS, SHORT
from tests.faults.model.values import Budget

QUIET = Budget(misfortunes=0, cancels=0, acts=0)
UNLUCKY = Budget(misfortunes=1, cancels=0, acts=0)
PAGE = Path(__file__).parents[2] / "docs" / "model.md"
NEEDS_A_CANCEL = {"undoing_goes_on_after_a_failure"}
LOSES_THE_WAY = {"nobody_recovers", "lost_hints_stay_lost", "waits_never_end"}


@pytest.mark.parametrize("plan", sorted(PLANS))
def test_all_that_can_happen_to_one_run_is_promised(plan: str) -> None:
    found = Explorer(PLANS[plan], [UNLUCKY]).explore()
    assert found.stuck == 0, found.way_to_stuck
    assert found.states > 10_000, "less was explored than there is"


def test_all_that_can_happen_to_two_runs_at_once_is_promised() -> None:
    found = Explorer(SHORT, [UNLUCKY, QUIET]).explore()
    assert found.stuck == 0, found.way_to_stuck
    assert found.states > 5_000, "less was explored than there is"


def test_a_cancel_and_an_operator_at_any_moment_break_nothing() -> None:
    found = Explorer(SHORT, [Budget(misfortunes=1, cancels=1, acts=1)]).explore()
    assert found.stuck == 0, found.way_to_stuck
    assert found.states > 5_000, "less was explored than there is"


def test_the_page_shows_the_worker_as_the_model_has_it() -> None:
    """docs/model.md draws each way from one state of a worker process to another."""
    shown = re.findall(r"^    (\w+) --> (\w+): (.+)$", PAGE.read_text(), re.MULTILINE)
    wanted = {(before.name.lower(), after.name.lower(), what) for before, after, what, _ in FALLS}
    assert wanted <= set(shown)
    states = {slot.name.lower() for slot in Slot}
    assert {each for each in shown if each[0] in states} == wanted


@pytest.mark.parametrize("name", sorted(DEFECTS.keys() - LOSES_THE_WAY))
def test_a_broken_protocol_is_found(name: str) -> None:
    cancels = int(name in NEEDS_A_CANCEL)
    with DEFECTS[name](), pytest.raises(Broken) as broken:
        Explorer(PLANS["mixed"], [Budget(misfortunes=1, cancels=cancels, acts=0)]).explore()
    assert broken.value.what.startswith("P")
    assert broken.value.way, "it does not say how it came to that"


@pytest.mark.parametrize("name", sorted(LOSES_THE_WAY))
def test_a_run_that_nobody_goes_on_with_is_found(name: str) -> None:
    with DEFECTS[name]():
        found = _explored(QUIET)
    assert found.stuck > 0
    assert found.way_to_stuck


def _explored(budget: Budget) -> Explored:
    return Explorer(PLANS["mixed"], [budget]).explore()
