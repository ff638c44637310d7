"""Documents to load, and short ways to judge what they became."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core.plan import Plan
from orchestrator.definitions.loading import Loaded, load_document
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import InvalidDefinition, Problem
from tests.unit.definitions.small_api import API, HEAD

Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a workflow of the steps given, over a small API."""

    def load_steps(steps: str, *, tasks: TaskRegistry | None = None, head: str = HEAD) -> Loaded:
        (tmp_path / "things.yaml").write_text(API)
        path = tmp_path / "w.arazzo.yaml"
        path.write_text(head + steps)
        return load_document(path, tasks=tasks)[0]

    return load_steps


@pytest.fixture
def plan(load: Load) -> Callable[..., Plan]:
    """The plan of a workflow of the steps given."""
    return lambda steps, **more: load(steps, **more).plan


@pytest.fixture
def problems(load: Load) -> Callable[..., list[Problem]]:
    """Everything that is wrong with the steps given."""

    def refused(steps: str, **more: object) -> list[Problem]:
        with pytest.raises(InvalidDefinition) as caught:
            load(steps, **more)
        return list(caught.value.problems)

    return refused
