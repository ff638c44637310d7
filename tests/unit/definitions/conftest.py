"""Documents to load, and short ways to judge what they became."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core.plan import Plan
from orchestrator.definitions.loading import Loaded, load_document
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import InvalidDefinition, Problem

API = """\
openapi: 3.0.3
info: {title: things, version: '1'}
servers: [{url: 'http://127.0.0.1:1/base/'}]
paths:
  /things:
    get:
      operationId: listThings
      parameters:
        - {name: tag, in: query, schema: {type: array}}
        - {name: plain, in: query, explode: false, schema: {type: array}}
        - {name: filter, in: query, style: deepObject, schema: {type: object}}
      responses: {'200': {description: ok}}
    post:
      operationId: makeThing
      requestBody: {required: true, content: {application/json: {schema: {type: object}}}}
      responses: {'201': {description: made}}
  /things/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    get: {operationId: getThing, responses: {'200': {description: ok}}}
    put:
      operationId: putThing
      parameters: [{name: X-Who, in: header, required: true, schema: {type: string}}]
      requestBody: {content: {application/json: {schema: {type: object}}}}
      responses: {'201': {description: made}}
    delete: {operationId: dropThing, responses: {'204': {description: gone}}}
"""

HEAD = """\
arazzo: 1.0.1
info: {title: t, version: '1'}
sourceDescriptions:
  - {name: things, url: ./things.yaml, type: openapi}
  - {name: tasks, url: 'tasks:', type: openapi}
workflows:
  - workflowId: w
    inputs:
      type: object
      required: [id]
      properties: {id: {type: string}, note: {type: string}, tags: {type: array}}
    steps:
"""

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
