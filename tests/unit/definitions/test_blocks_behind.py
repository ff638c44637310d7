"""Blocks behind the pivot: their branches only go forward, as any step there."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.definitions.loading import load_document
from orchestrator.errors import InvalidDefinition
from orchestrator.testing.lab import Lab
from tests.unit.definitions.test_begun_elsewhere import DO, KEY
from tests.unit.definitions.test_children import API, HEAD

ONWARD = f"operationId: do, {KEY}"
DOCUMENT = f"""{HEAD}  - workflowId: order
    x-parallel: [{{block: fan, branches: {{a: [a1, a2], b: [b1]}}}}]
    steps:
      - {{stepId: reserve, {DO}}}
      - {{stepId: commit, {ONWARD}, x-pivot: true}}
      - {{stepId: a1, {ONWARD}}}
      - {{stepId: a2, {ONWARD}}}
      - {{stepId: b1, {ONWARD}}}
      - {{stepId: ship, {ONWARD}}}
"""
WHERE = "criteria: [{condition: $statusCode == 204}]"
SKIPS = f"onSuccess: [{{name: skip, type: goto, stepId: between, {WHERE}}}]"


def write(folder: Path, text: str = DOCUMENT) -> Path:
    (folder / "shop.yaml").write_text(API)
    (folder / "w.arazzo.yaml").write_text(text)
    return folder / "w.arazzo.yaml"


def test_heads_behind_the_pivot_are_passed_for_good(tmp_path: Path) -> None:
    (loaded,) = load_document(write(tmp_path))
    steps = {each.id: each for each in loaded.plan.steps}
    assert [name for name, each in steps.items() if each.pivot] == ["commit", "fan/a", "fan/b"]
    assert steps["fan"].compensation is None
    assert loaded.plan.pivot_index == 1


def test_a_block_is_behind_it_on_every_way_or_before_it(tmp_path: Path) -> None:
    text = DOCUMENT.replace("- {stepId: a1", f"- {{stepId: between, {DO}}}\n      - {{stepId: a1")
    skips = f"stepId: reserve, {DO}, {SKIPS}"
    with pytest.raises(InvalidDefinition) as refused:
        load_document(write(tmp_path, text.replace(f"stepId: reserve, {DO}", skips)))
    said = [(each.found, each.wanted) for each in refused.value.problems]
    assert (
        "the block fan, to which ways lead past the pivot commit and behind it",
        "a block before the pivot, or behind it on every way",
    ) in said, said


def test_a_failure_there_asks_a_person_and_nothing_is_undone(tmp_path: Path) -> None:
    with Lab(write(tmp_path), tasks=()) as lab:
        lab.answer("b1", 422, {})
        run = lab.run("order")
        (branch,) = [each for each in run.runs if each.status is RunStatus.ESCALATED]
        assert branch.record.branch == "fan/b"
        assert (run.status, run.undone) == (RunStatus.WAITING, [])
        assert {"a1", "a2"} < set(run.done), "the others go on"
        lab.answer("b1", 200, {})
        lab.retry(branch)
        run = lab.go_on(run)
    assert (run.status, run.undone) == (RunStatus.SUCCEEDED, [])
    assert run.done[-1] == "ship"


def test_a_branch_that_is_given_up_there_has_its_run_ask_a_person(tmp_path: Path) -> None:
    with Lab(write(tmp_path), tasks=()) as lab:
        lab.answer("a1", 422, {})
        run = lab.run("order")
        (branch,) = [each for each in run.runs if each.status is RunStatus.ESCALATED]
        lab.abandon(branch)
        run = lab.go_on(run)
        assert (run.status, run.undone) == (RunStatus.ESCALATED, [])
        assert "b1" in run.done, "it was not cancelled"
        run = lab.retry(run)
    assert (run.status, run.done[-1]) == (RunStatus.SUCCEEDED, "ship")
