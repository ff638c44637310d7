"""The step, cut at every point: 144 cells, each on both sides and for three kinds of API.

Each place with one of the kinds in turn, unless there is time for all (`make long`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.crashpoints import PLACES, POINTS
from orchestrator.engine.standing import Standing
from tests.faults.simulation.cells import Cell, How, cells, play, summed, the_144
from tests.faults.workload import Kind
from tests.sweeps import in_turn

KINDS = [Kind.KEYED, Kind.VERIFIED, Kind.UNKEYED]


def test_there_are_144_cells_and_864_cuts() -> None:
    assert len(set(the_144())) == 144
    assert len(set(cells())) == 864
    assert {cell.point for cell in cells()} == set(POINTS)


@pytest.mark.parametrize(("place", "kind"), in_turn(PLACES, KINDS))
def test_every_promise_is_kept_at(place: str, kind: Kind) -> None:
    outcomes = [play(cell) for cell in cells([kind]) if cell.place == place]
    failed = [outcome for outcome in outcomes if not outcome.passed]
    assert not failed, "\n".join(play(each.cell, with_story=True).report() for each in failed[:3])
    assert all(outcome.hit for outcome in outcomes)
    assert len(outcomes) == 36
    if kind is not Kind.UNKEYED:  # what can be found out needs nobody
        assert not any(outcome.needed_a_person for outcome in outcomes)


def test_a_cell_repeats_to_the_last_word() -> None:
    cell = next(cell for cell in cells() if cell.how is How.HANG and cell.place == "effect")
    assert play(cell, with_story=True) == play(cell, with_story=True)


@contextmanager
def _without_commit_of_outcomes() -> Iterator[None]:
    """What a driver has learnt stays in its memory until it gives the run away."""
    flush = Standing.flush

    async def lazy(self: Standing, **more: object) -> None:
        if more:
            await flush(self, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Standing, "flush", lazy)
        yield


def test_cells_find_out_an_engine_that_records_too_late() -> None:
    chosen = [cell for cell in cells([Kind.UNKEYED]) if cell.how is How.KILL]
    with _without_commit_of_outcomes():
        outcomes = [play(cell) for cell in chosen if cell.place == "commit"]
    told = summed(outcomes, seconds=0.0)
    assert told["passed"] < told["cells"]


def test_a_point_that_is_not_reached_is_no_pass() -> None:
    cell = next(iter(cells()))
    never = Cell(place="nowhere", direction=cell.direction, link=cell.link, how=cell.how)
    outcome = play(never)
    assert not outcome.hit
    assert not outcome.passed
    assert "never came to before_nowhere" in outcome.report()
