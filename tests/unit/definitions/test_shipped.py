"""The workflows that come with the product, as somebody sees them first."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.definitions.loading import load_path
from orchestrator.definitions.task_modules import load_tasks

FOLDER = Path(__file__).parents[3] / "config" / "workflows"


@pytest.mark.parametrize("name", sorted(file.name for file in FOLDER.glob("*.arazzo.yaml")))
def test_they_are_published_without_a_warning(name: str) -> None:
    (loaded,) = load_path(FOLDER / name, tasks=load_tasks(("tasks",)))
    assert list(loaded.warnings) == []
