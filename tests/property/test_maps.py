"""Random maps over data with failures, faults, kills and cancels: each item at most once, counted
exactly, undone in reverse.

Played on the real engine in virtual time; what holds is read off what the API has done, and what
the rows of the maps say.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from orchestrator.core.events import CancelMode
from orchestrator.core.maps import ItemOutcome
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.ports import RunFilter, RunRecord
from orchestrator.ports.maps import MapRecord
from orchestrator.testing.faults import Failing, Fault, Link, Way
from orchestrator.testing.lab import Lab
from orchestrator.testing.properties import can_happen

EXAMPLES = int(os.environ.get("MAP_EXAMPLES", "10"))
LONG_EXAMPLES = 400
KEY = "x-idempotency: {in: header, name: Idempotency-Key}"
API = """openapi: 3.1.0
info: {title: s, version: "1"}
servers: [{url: "http://localhost"}]
paths:
  /do: {post: {operationId: do, responses: {"200": {description: ok}}}}
  /undo: {post: {operationId: undo, responses: {"200": {description: ok}}}}
"""
STEP = "      - {{stepId: {0}, operationId: do, {1}, x-compensation: {{operationId: undo, {1}}}}}\n"
DOCUMENT = """arazzo: 1.0.1
info: {title: t, version: "1"}
sourceDescriptions: [{name: shop, url: shop.yaml, type: openapi}]
workflows:
  - workflowId: order
    steps:
BEFORE      - stepId: each
        workflowId: item
        x-each: {count: COUNT, as: n, parallel: PARALLEL, maxFailures: MOST, undo: {parallel: UNDO}}
BEHIND  - workflowId: item
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
        said = {
            "COUNT": self.count, "PARALLEL": self.parallel, "MOST": self.most, "UNDO": self.undo,
            "BEFORE": STEP.format("first", KEY), "BEHIND": STEP.format("last", KEY),
        }  # fmt: skip
        text = DOCUMENT
        for name, value in said.items():
            text = text.replace(name, str(value))
        return text + STEP.format("a", KEY) + STEP.format("b", KEY)


STEPS = ("first", "a", "b", "last")
FAULTS = st.lists(
    st.tuples(
        st.sampled_from(STEPS), st.sampled_from([Way.DO, Way.UNDO]), st.sampled_from(list(Fault)),
        st.integers(1, 2),
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> History:
    wanted = [
        Failing(link=Link(step, way), fault=fault, times=times)
        for step, way, fault, times in draw(FAULTS)
    ]
    return History(
        count=draw(st.integers(0, 7)), parallel=draw(st.integers(1, 4)),
        most=draw(st.integers(0, 3)), undo=draw(st.sampled_from([1, 1, 3])),
        failing=wanted if can_happen(wanted) else wanted[:1],
        cancelled=draw(st.none() | st.integers(1, 30).map(lambda tenth: tenth / 10)),
    )  # fmt: skip


def play(folder: Path, history: History) -> None:
    told = ", ".join(map(str, history.failing)) or "nothing goes wrong"
    note(f"{history.text()}\n{told}; cancelled after {history.cancelled}")
    (folder / "shop.yaml").write_text(API)
    document = folder / "w.arazzo.yaml"
    document.write_text(history.text())
    with Lab(document, tasks=()) as lab:
        for name in STEPS:
            lab.answer(name, 200, {}, seconds=0.3)
        lab.fail_as(*history.failing)
        run_id = lab.submit("order", {})
        if history.cancelled is not None:
            lab.advance(history.cancelled)
            if lab.look(run_id).status not in FINAL | {RunStatus.ESCALATED}:
                wish = lab._store.request_cancel(
                    run_id, mode=CancelMode.UNDO, reason="changed my mind", by="ada"
                )
                lab._play(wish)
        check(lab, history, run_id, {run.id: run for run in until_quiet(lab)})


def until_quiet(lab: Lab) -> list[RunRecord]:
    """All runs, once none is under way but such as wait for one that a person has to decide on."""
    for _ in range(600):
        lab.advance(1.0)
        runs = lab._play(lab._store.runs(RunFilter(limit=None)))
        going = [run for run in runs if run.status not in FINAL | {RunStatus.ESCALATED}]
        if not going and not lab._play(lab._store.open_maps()):
            return runs
        stuck = any(run.status is RunStatus.ESCALATED for run in runs)
        if stuck and all(run.status is RunStatus.WAITING for run in going):
            return runs
    raise AssertionError([(run.workflow, run.item, run.status, run.cause) for run in runs])


def check(lab: Lab, history: History, run_id: str, runs: dict[str, RunRecord]) -> None:
    root, effects = runs[run_id], [each for each in lab.world.sent if each.had_effect]
    twice = [key for key, times in Counter(each.key for each in effects).items() if times > 1]
    assert not twice, "done twice with one key"
    maps = lab._play(lab._store.maps_of(run_id))
    for found in maps:
        check_counts(lab, found, runs)
    done = Counter(each.link.step for each in effects if each.link.way is Way.DO)
    undone = Counter(each.link.step for each in effects if each.link.way is Way.UNDO)
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


_PHASES = [Phase.generate, Phase.shrink]
_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=_QUIET,
    phases=_PHASES,
)
@given(history=histories())
def test_any_map(tmp_path: Path, history: Any) -> None:
    play(tmp_path, history)


@pytest.mark.long
@settings(max_examples=LONG_EXAMPLES, deadline=None, suppress_health_check=_QUIET, phases=_PHASES)
@given(history=histories())
def test_any_map_long(tmp_path: Path, history: Any) -> None:
    play(tmp_path, history)
