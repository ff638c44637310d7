"""Random parallel blocks with faults, kills and cancels: undone in reverse across branches.

Played on the real engine in virtual time. What holds is read off what the API has done and when
completions were recorded, not off how the engine merges branches.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from orchestrator.core.events import CancelMode
from orchestrator.core.states import FINAL, HAPPENED, RunStatus
from orchestrator.ports import RunFilter, RunRecord, StepRecord
from orchestrator.testing.faults import Failing, Fault, Link, Way
from orchestrator.testing.lab import Lab
from orchestrator.testing.properties import can_happen

EXAMPLES = int(os.environ.get("BLOCK_EXAMPLES", "10"))
LONG_EXAMPLES = 400
KEY = "x-idempotency: {in: header, name: Idempotency-Key}"
API = """openapi: 3.1.0
info: {title: s, version: "1"}
servers: [{url: "http://localhost"}]
paths:
  /do: {post: {operationId: do, responses: {"200": {description: ok}}}}
  /undo: {post: {operationId: undo, responses: {"200": {description: ok}}}}
"""
HEAD = """arazzo: 1.0.1
info: {title: t, version: "1"}
sourceDescriptions: [{name: shop, url: shop.yaml, type: openapi}]
workflows:
  - workflowId: order
"""

Part = str | tuple[str, list[list[Any]]]
"""A step ("s"), or how its block fails and the branches of it."""
FAILS = st.sampled_from(["fast", "collect"])
STEP = st.just("s")


def chains(parts: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(parts, min_size=1, max_size=most)


def blocks(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(FAILS, st.lists(chains(parts, 2), min_size=2, max_size=3))


FAULTS = st.lists(
    st.tuples(
        st.integers(0, 30), st.sampled_from([Way.DO, Way.UNDO]), st.sampled_from(list(Fault)),
        st.integers(1, 2),
    ),
    max_size=3,
)  # fmt: skip
TENTHS = st.lists(st.integers(1, 40).map(lambda tenth: tenth / 10), max_size=20)
CANCELS = st.none() | st.integers(1, 60).map(lambda tenth: tenth / 10)
INNER = st.one_of(STEP, STEP, blocks(STEP))


@dataclass
class Written:
    """A document in the making."""

    steps: list[str] = field(default_factory=list)
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
        lines = [
            f"      - {{stepId: {name}, operationId: do, {KEY}, x-compensation:"
            f" {{operationId: undo, {KEY}}}}}"
            for name in self.steps
        ]
        parallel = f"    x-parallel: [{', '.join(self.given)}]\n" if self.given else ""
        return f"{HEAD}{parallel}    steps:\n" + "\n".join(lines) + "\n"


@st.composite
def histories(draw: st.DrawFn) -> tuple[Written, list[Failing], dict[str, float], float | None]:
    written = Written()
    before, block, behind = draw(st.booleans()), draw(blocks(INNER)), draw(st.booleans())
    written.chain([*["s"] * before, block, *["s"] * behind])
    wanted = [
        Failing(link=Link(written.steps[n % len(written.steps)], way), fault=fault, times=times)
        for n, way, fault, times in draw(FAULTS)
    ]
    failing = wanted if can_happen(wanted) else wanted[:1]
    took = dict(zip(written.steps, draw(TENTHS), strict=False))  # the rest at once
    return written, failing, took, draw(CANCELS)


def play(folder: Path, history: tuple[Written, list[Failing], dict[str, float], Any]) -> None:
    written, failing, took, cancelled = history
    told = ", ".join(map(str, failing)) or "nothing goes wrong"
    note(f"{written.text()}\n{told}; seconds {took}; cancelled after {cancelled}")
    (folder / "shop.yaml").write_text(API)
    document = folder / "w.arazzo.yaml"
    document.write_text(written.text())
    with Lab(document, tasks=()) as lab:
        for name, seconds in took.items():
            lab.answer(name, 200, {}, seconds=seconds)
        lab.fail_as(*failing)
        run_id = lab.submit("order", {})
        if cancelled is not None:
            lab.advance(cancelled)
            if lab.look(run_id).status not in FINAL | {RunStatus.ESCALATED}:
                wish = lab._store.request_cancel(
                    run_id, mode=CancelMode.UNDO, reason="changed my mind", by="ada"
                )
                lab._play(wish)
        runs = until_quiet(lab)
        steps = {run.id: lab._play(lab._store.steps(run.id)) for run in runs}
        check(lab, run_id, {run.id: run for run in runs}, steps)


def until_quiet(lab: Lab) -> list[RunRecord]:
    """All runs, once none is under way but such as wait for one that a person has to decide on."""
    for _ in range(600):
        lab.advance(1.0)
        runs = lab._play(lab._store.runs(RunFilter(limit=None)))
        going = [run for run in runs if run.status not in FINAL | {RunStatus.ESCALATED}]
        if not going:
            return runs
        stuck = any(run.status is RunStatus.ESCALATED for run in runs)
        if stuck and all(run.status is RunStatus.WAITING for run in going):
            return runs
    raise AssertionError([(run.branch, run.status, run.cause) for run in runs])


def check(
    lab: Lab, run_id: str, runs: dict[str, RunRecord], steps: dict[str, tuple[StepRecord, ...]]
) -> None:
    root, effects = runs[run_id], [each for each in lab.world.sent if each.had_effect]
    for run in runs.values():
        assert run.id == run_id or (run.parent_id in runs and run.whole_id == run_id), "an orphan"
        assert run.wait_id is None or run.status not in FINAL, "nobody was told of its end"
    twice = [key for key, times in Counter(each.key for each in effects).items() if times > 1]
    assert not twice, "done twice with one key"
    done = [each.link.step for each in effects if each.link.way is Way.DO]
    undone = [each.link.step for each in effects if each.link.way is Way.UNDO]
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
def test_any_block(tmp_path: Path, history: Any) -> None:
    play(tmp_path, history)


@pytest.mark.long
@settings(max_examples=LONG_EXAMPLES, deadline=None, suppress_health_check=_QUIET, phases=_PHASES)
@given(history=histories())
def test_any_block_long(tmp_path: Path, history: Any) -> None:
    play(tmp_path, history)
