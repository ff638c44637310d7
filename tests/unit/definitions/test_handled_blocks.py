"""A block or a map in a workflow of its own: its failure is undone, and handled by the step that
begins it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.testing.lab import Lab
from tests.unit.definitions.test_begun_elsewhere import DO
from tests.unit.definitions.test_children import API, HEAD

ORDER = f"""  - workflowId: order
    steps:
      - {{stepId: first, {DO}}}
      - stepId: fan
        workflowId: fanned
        x-child: {{}}
        onFailure: [{{name: other, type: goto, stepId: by-hand}}]
      - {{stepId: ship, {DO}, onSuccess: [{{name: done, type: end}}]}}
      - {{stepId: by-hand, {DO}}}
"""
BLOCK = f"""  - workflowId: fanned
    x-parallel: [{{block: both, fail: collect, branches: {{a: [a1], b: [b1]}}}}]
    steps: [{{stepId: a1, {DO}}}, {{stepId: b1, {DO}}}]
"""
MAP = f"""  - workflowId: fanned
    steps: [{{stepId: each, workflowId: item, x-each: {{count: 2, as: n, parallel: 1}}}}]
  - workflowId: item
    inputs: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
    steps: [{{stepId: a1, {DO}}}, {{stepId: b1, {DO}}}]
"""


@pytest.mark.parametrize("inner", [BLOCK, MAP])
def test_what_it_did_is_undone_before_another_way_is_taken(tmp_path: Path, inner: str) -> None:
    (tmp_path / "shop.yaml").write_text(API)
    (tmp_path / "w.arazzo.yaml").write_text(HEAD + ORDER + inner)
    with Lab(tmp_path / "w.arazzo.yaml", tasks=()) as lab:
        lab.answer("b1", 422, {})
        run = lab.run("order")
    assert run.status is RunStatus.SUCCEEDED
    name = "item" if "item" in inner else "fanned"
    assert run.effects == ["first", f"{name}.a1", f"undo {name}.a1", "by-hand"]
