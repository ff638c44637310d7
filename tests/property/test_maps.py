"""Random maps over data with failures, faults, kills and cancels: each item at most once, counted
exactly, undone in reverse.

Played on the real engine in virtual time; what holds is read off what the API has done, and what
the rows of the maps say.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.maps import ItemOutcome
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.ports import RunRecord
from orchestrator.ports.maps import MapRecord
from orchestrator.testing.faults import Failing
from orchestrator.testing.lab import Lab
from tests.property.playing import (
    HEAD,
    cancels,
    effects,
    failing,
    faults,
    few,
    many,
    played,
    step_of,
)

STEPS = ("first", "a", "b", "last")
EACH = """      - stepId: each
        workflowId: item
        x-each: {{count: {count}, as: n, parallel: {parallel}, maxFailures: {most}, undo: {undo}}}
"""
ITEM = """  - workflowId: item
    inputs: {type: object, required: [n], properties: {n: {type: integer}}}
    steps:
"""


@dataclass(frozen=True)
class History:
    """What is played."""

    count: int
    parallel: int
    most: int
    undo: int
    failing: list[Failing]
    cancelled: float | None

    def text(self) -> str:
        each = EACH.format(
            count=self.count,
            parallel=self.parallel,
            most=self.most,
            undo=f"{{parallel: {self.undo}}}",
        )
        order = f"    steps:\n{step_of('first')}{each}{step_of('last')}"
        return HEAD + order + ITEM + step_of("a") + step_of("b")


@st.composite
def histories(draw: st.DrawFn) -> History:
    return History(
        count=draw(st.integers(0, 7)), parallel=draw(st.integers(1, 4)),
        most=draw(st.integers(0, 3)), undo=draw(st.sampled_from([1, 1, 3])),
        failing=failing(draw(faults(st.sampled_from(STEPS)))), cancelled=draw(cancels(30)),
    )  # fmt: skip


def play(folder: Path, history: History) -> None:
    seconds = dict.fromkeys(STEPS, 0.3)
    with played(folder, history.text(), seconds, history.failing, history.cancelled) as found:
        lab, run_id, runs = found
        check(lab, history, run_id, {run.id: run for run in runs})


def check(lab: Lab, history: History, run_id: str, runs: dict[str, RunRecord]) -> None:
    root, (did, undid) = runs[run_id], effects(lab)
    maps = lab._play(lab._store.maps_of(run_id))
    for found in maps:
        check_counts(lab, found, runs)
    done, undone = Counter(did), Counter(undid)
    if root.status is RunStatus.SUCCEEDED:
        counts = maps[0].counts
        assert (counts.next, counts.failed <= history.most) == (history.count, True)
        assert done["b"] - undone["b"] == done["a"] - undone["a"] == counts.succeeded
        assert not undone["first"] + undone["last"]
    if root.status is RunStatus.COMPENSATED:
        assert done == undone, "left, or undone without having been done"
    if history.undo == 1 and len(maps) == 2:
        check_reversed(lab, maps, runs)


def check_counts(lab: Lab, found: MapRecord, runs: dict[str, RunRecord]) -> None:
    """What the row says is what became of the runs, each of which is of one item."""
    counts = found.counts
    items = lab._play(lab._store.map_items(found.id, limit=1000))
    assert len({item.index for item in items}) == len(items) == counts.next
    assert len({item.run_id for item in items}) == len(items)
    outcomes = Counter(item.outcome for item in items)
    good = outcomes[ItemOutcome.SUCCEEDED] + outcomes[ItemOutcome.UNDONE]
    assert (counts.running, counts.succeeded, counts.failed) == (
        outcomes[ItemOutcome.RUNNING], good, outcomes[ItemOutcome.FAILED],
    )  # fmt: skip
    wanted = RunStatus.SUCCEEDED if found.undoes is None else RunStatus.COMPENSATED
    for item in items:
        run = runs[item.run_id]
        is_good = item.outcome in (ItemOutcome.SUCCEEDED, ItemOutcome.UNDONE)
        assert (run.map_id, run.item) == (found.id, item.index)
        assert is_good == (run.status is wanted)
        assert (item.outcome is ItemOutcome.RUNNING) == (run.status not in FINAL)


def check_reversed(lab: Lab, maps: list[MapRecord], runs: dict[str, RunRecord]) -> None:
    """One at a time: those undone are the latest to complete, and were undone in that order."""
    done = lab._play(lab._store.map_items(maps[0].id, limit=1000))
    places = {item.index: item.place or 0 for item in done}
    undone = [runs[each.run_id] for each in lab._play(lab._store.map_items(maps[1].id, limit=1000))]
    undone.sort(key=lambda run: run.id)  # ids sort by age
    order = [places[run.item] for run in undone if run.item is not None]
    assert order == sorted(order, reverse=True)
    assert (
        order == sorted((place for place in places.values() if place), reverse=True)[: len(order)]
    )


@few("MAP_EXAMPLES")
@given(history=histories())
def test_any_map(tmp_path: Path, history: Any) -> None:
    play(tmp_path, history)


@pytest.mark.long
@many()
@given(history=histories())
def test_any_map_long(tmp_path: Path, history: Any) -> None:
    play(tmp_path, history)
