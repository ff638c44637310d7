"""Random parallel blocks with faults, kills and cancels: undone in reverse across branches.

Played on the real engine in virtual time. What holds is read off what the API has done and when
completions were recorded, not off how the engine merges branches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.states import FINAL, HAPPENED, RunStatus
from orchestrator.ports import RunRecord, StepRecord
from orchestrator.testing.faults import Failing, Way
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

Part = str | tuple[str, list[list[Any]]]
"""A step ("s"), or how its block fails and the branches of it."""
FAILS = st.sampled_from(["fast", "collect"])
STEP = st.just("s")


def chains(parts: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(parts, min_size=1, max_size=most)


def blocks(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(FAILS, st.lists(chains(parts, 2), min_size=2, max_size=3))


FAULTS = faults(st.integers(0, 30))
TENTHS = st.lists(st.integers(1, 40).map(lambda tenth: tenth / 10), max_size=20)
INNER = st.one_of(STEP, STEP, blocks(STEP))


@dataclass
class Written:
    """A document in the making."""

    steps: list[str] = field(default_factory=list)
    pivot: str | None = None  # one of them, before the block; nothing from there on is undone
    given: list[str] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: count(1))

    def chain(self, parts: list[Part]) -> list[str]:
        return [self.part(part) for part in parts]

    def part(self, part: Part) -> str:
        if isinstance(part, str):
            name = f"s{len(self.steps) + 1}"
            self.steps.append(name)
            return name
        name = f"block{next(self.numbers)}"
        fails, branches = part
        told = ", ".join(
            f"b{n}: [{', '.join(self.chain(branch))}]" for n, branch in enumerate(branches)
        )
        self.given.append(f"{{block: {name}, fail: {fails}, branches: {{{told}}}}}")
        return name

    def text(self) -> str:
        parallel = f"    x-parallel: [{', '.join(self.given)}]\n" if self.given else ""
        return f"{HEAD}{parallel}    steps:\n" + "".join(map(self._step, self.steps))

    def _step(self, name: str) -> str:
        return step_of(name, pivot=name == self.pivot, is_behind=not self.is_undone(name))

    def is_undone(self, name: str) -> bool:
        """Whether it has an undo."""
        at = self.steps.index
        return self.pivot is None or at(name) < at(self.pivot)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Written, list[Failing], dict[str, float], float | None]:
    written = Written()
    before, block, behind = draw(st.booleans()), draw(blocks(INNER)), draw(st.booleans())
    written.chain([*["s"] * before, block, *["s"] * behind])
    if before and draw(st.booleans()):
        written.pivot = written.steps[0]
    names = written.steps
    drawn = [(names[n % len(names)], *rest) for n, *rest in draw(FAULTS)]
    wanted = [each for each in drawn if each[1] is Way.DO or written.is_undone(each[0])]
    took = dict(zip(written.steps, draw(TENTHS), strict=False))  # the rest at once
    return written, failing(wanted), took, draw(cancels(60))


def play(folder: Path, history: tuple[Written, list[Failing], dict[str, float], Any]) -> None:
    written, wanted, took, cancelled = history
    with played(folder, written.text(), took, wanted, cancelled) as (lab, run_id, runs):
        steps = {run.id: lab._play(lab._store.steps(run.id)) for run in runs}
        check(lab, run_id, {run.id: run for run in runs}, steps, written.pivot)


def check(
    lab: Lab, run_id: str, runs: dict[str, RunRecord], steps: dict[str, tuple[StepRecord, ...]],
    pivot: str | None,
) -> None:  # fmt: skip
    root = runs[run_id]
    going = {run.wait_id for run in runs.values() if run.status not in FINAL}
    for run in runs.values():
        assert run.id == run_id or (run.parent_id in runs and run.whole_id == run_id), "an orphan"
        told = run.wait_id is None or run.wait_id in going
        assert told or run.status not in FINAL, "nobody was told of its end"
    done, undone = effects(lab)
    if pivot in done:
        assert not undone, "there is no way back from the pivot"
        assert root.status is not RunStatus.COMPENSATED or done == [pivot]
    if root.status is RunStatus.SUCCEEDED:
        assert not undone
        assert {run.status for run in runs.values()} == {RunStatus.SUCCEEDED}
    if root.status is RunStatus.COMPENSATED:
        assert sorted(undone) == sorted(done), "left, or undone without having been done"
    assert len(set(undone)) == len(undone), f"undone twice: {undone}"
    recorded = completions(run_id, runs, steps)
    for earlier, later in pairwise(undone):
        mine, its = apart(recorded[earlier], recorded[later])
        assert mine[1] >= its[1], f"{earlier} was undone before {later}: {mine}, {its}"


Unit = tuple[str, datetime]
"""A step or block, and when its completion was recorded."""


def apart(left: tuple[Unit, ...], right: tuple[Unit, ...]) -> tuple[Unit, Unit]:
    """The outermost units in which one step is and the other is not."""
    return next((one, other) for one, other in zip(left, right, strict=False) if one != other)


def completions(
    run_id: str, runs: dict[str, RunRecord], steps: dict[str, tuple[StepRecord, ...]]
) -> dict[str, tuple[Unit, ...]]:
    """By step the blocks around it, the outermost first, and itself at the end."""
    found: dict[str, tuple[Unit, ...]] = {}
    children: dict[tuple[str, str], list[str]] = {}
    for run in runs.values():
        if run.parent_id is not None and run.branch is not None and "/" in run.branch:
            block = run.branch.partition("/")[0]
            children.setdefault((run.parent_id, block), []).append(run.id)

    def add(run: str, around: tuple[Unit, ...]) -> None:
        for step in steps[run]:
            at, status = step.forward.finished_at, step.forward.link.status
            if at is None or status not in HAPPENED:
                continue
            found[step.step_id] = (*around, (step.step_id, at))
            for child in children.get((run, step.step_id), ()):
                add(child, found[step.step_id])

    add(run_id, ())
    return found


@few("BLOCK_EXAMPLES")
@given(history=histories())
def test_any_block(tmp_path: Path, history: Any) -> None:
    play(tmp_path, history)


@pytest.mark.long
@many()
@given(history=histories())
def test_any_block_long(tmp_path: Path, history: Any) -> None:
    play(tmp_path, history)
