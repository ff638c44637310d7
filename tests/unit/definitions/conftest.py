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
Write = Callable[..., list[Loaded]]
SOURCES = """\
arazzo: 1.0.1
info: {title: t, version: '1'}
sourceDescriptions: [{name: things, url: ./things.yaml, type: openapi}]
workflows:
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Load the workflows of a document over the small API."""

    def load(workflows: str, more_sources: str = "[") -> list[Loaded]:
        (tmp_path / "things.yaml").write_text(API)
        path = tmp_path / "w.arazzo.yaml"
        path.write_text(SOURCES.replace("[", more_sources) + workflows)
        return load_document(path)

    return load


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
