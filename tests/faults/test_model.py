"""Every interleaving of two workers, the sweeps, an operator and the faults, over the real core.

`make model` explores more: docs/model.md. Of the plans and of the planted defects each second or
third, unless there is time for all (`make long`).
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.faults.model import exploring
from tests.faults.model.coupling import Coupled, look
from tests.faults.model.defects import COUPLING, DEFECTS
from tests.faults.model.exploring import FALLS, Broken, Explored, Explorer, Runs, Slot, TooMany
from tests.faults.model.plans import PLANS, SHORT
from tests.faults.model.together import Alone, NotAlone, Together, volume
from tests.faults.model.values import Budget, State, first
from tests.faults.mutants.patching import replaced
from tests.sweeps import every

QUIET = Budget(misfortunes=0, cancels=0, acts=0)
UNLUCKY = Budget(misfortunes=1, cancels=0, acts=0)
PAGE = Path(__file__).parents[2] / "docs" / "model.md"
NEEDS_A_CANCEL = {"undoing_goes_on_after_a_failure"}
LOSES_THE_WAY = {"nobody_recovers", "lost_hints_stay_lost", "waits_never_end"}


@pytest.mark.parametrize("plan", every(2, sorted(PLANS)))
def test_all_that_can_happen_to_one_run_is_promised(plan: str) -> None:
    found = Explorer(PLANS[plan], [UNLUCKY]).explore()
    assert found.stuck == 0, found.way_to_stuck
    assert found.states > 10_000, "less was explored than there is"


def test_two_runs_at_once_come_to_what_each_comes_to_alone() -> None:
    """The product has exactly as many states as there are when all are gone through one by one."""
    runs = Runs(SHORT)
    one = Explorer(SHORT, [QUIET], runs=runs)
    assert one.explore().stuck == 0
    start = runs.number(first(SHORT, QUIET))
    both = Explorer(SHORT, [QUIET, QUIET]).explore()
    assert both.stuck == 0, both.way_to_stuck
    met = Together(Alone(runs, [one]), [start, start]).follow()
    assert met.plain_states == both.states > 5_000, "less was explored than there is"


def test_runs_that_know_of_each_other_are_no_product() -> None:
    """Were a run alone explored without a worker's death, it would come to more beside another."""
    runs = Runs(SHORT)
    lucky = Explorer(SHORT, [QUIET], runs=runs)
    with replaced(exploring, "FALLS", [each for each in FALLS if each[2] != "is held up"]):
        lucky.explore()
    start = runs.number(first(SHORT, QUIET))
    with pytest.raises(NotAlone, match="where they were not with a run alone"):
        Together(Alone(runs, [lucky]), [start]).follow()


def test_three_runs_are_counted_as_they_are() -> None:
    """A box for each way; what is in two of them counts once."""
    sets = [np.array(bits, dtype=np.bool_) for bits in ([1, 1, 0], [0, 1, 1], [1, 0, 0])]
    boxes = [[sets[0], sets[1], sets[0]], [sets[1], sets[1], sets[2]], [sets[0], sets[2], sets[1]]]
    met = {
        each for box in boxes
        for each in product(*(np.flatnonzero(one).tolist() for one in box))
    }  # fmt: skip
    assert volume(boxes) == len(met)


def test_runs_in_one_database_do_not_meet_in_the_store() -> None:
    assert look(SHORT, explored_states(QUIET)[::2]) > 500


@pytest.mark.parametrize("name", sorted(COUPLING))
def test_a_store_in_which_runs_meet_is_found(name: str) -> None:
    found = explored_states(QUIET)[::3]
    with COUPLING[name](), pytest.raises(Coupled):
        look(SHORT, found)


def explored_states(budget: Budget) -> list[State]:
    explorer = Explorer(SHORT, [budget])
    explorer.explore()
    return explorer.runs.states


def test_what_is_too_much_is_not_gone_through() -> None:
    with pytest.raises(TooMany, match="stopped at 100 states, none of which is wrong"):
        Explorer(SHORT, [QUIET], most=100).explore()


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


@pytest.mark.parametrize("name", every(2, sorted(DEFECTS.keys() - LOSES_THE_WAY)))
def test_a_broken_protocol_is_found(name: str) -> None:
    cancels = int(name in NEEDS_A_CANCEL)
    with DEFECTS[name](), pytest.raises(Broken) as broken:
        Explorer(PLANS["mixed"], [Budget(misfortunes=1, cancels=cancels, acts=0)]).explore()
    assert broken.value.what.startswith("P")
    assert broken.value.way, "it does not say how it came to that"


@pytest.mark.parametrize("name", every(3, sorted(LOSES_THE_WAY, reverse=True)))
def test_a_run_that_nobody_goes_on_with_is_found(name: str) -> None:
    with DEFECTS[name]():
        found = _explored(QUIET)
    assert found.stuck > 0
    assert found.way_to_stuck


def _explored(budget: Budget) -> Explored:
    return Explorer(PLANS["mixed"], [budget]).explore()
