"""A PUT that may make or replace: both of its undos are derived, accepted and run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.states import RunStatus
from orchestrator.definitions.discovery.steps import read_steps
from orchestrator.definitions.discovery.writing import accept, pending, write
from orchestrator.definitions.document import parse_document
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.tasks import TaskRegistry
from tests.unit.definitions.playing import play
from tests.unit.discovery.apis import fields, operation

BOX = fields("id", "name")
API = {
    "openapi": "3.0.3", "servers": [{"url": "http://127.0.0.1:1"}],
    "paths": {
        "/boxes/{id}": {
            "get": operation("getBox", answers={200: BOX, 404: None}),
            "put": operation("putBox", body=BOX, answers={200: BOX, 201: BOX}),
            "delete": operation("deleteBox"),
        },
        "/mails": {"post": operation("sendMail", "Send a mail", body=fields("to"))},
    },
}  # fmt: skip
TEXT = """\
arazzo: 1.0.1
info: {title: boxes, version: '1'}
sourceDescriptions: [{name: api, url: ./api.json, type: openapi}]
workflows:
- workflowId: boxes
  steps:
  - stepId: put
    operationId: putBox
    parameters: [{name: id, in: path, value: b}]
    requestBody:
      payload: {id: b, name: new}
  - stepId: mail
    operationId: sendMail
    requestBody: {payload: {to: you}}
    x-compensation: {none: it is gone}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The document with what was derived accepted."""
    (tmp_path / "api.json").write_text(json.dumps(API))
    path = tmp_path / "boxes.arazzo.yaml"
    document = parse_document(TEXT, name=path.name)
    steps = read_steps(document, folder=tmp_path, tasks=TaskRegistry())
    written = parse_document(write(document, steps).text, name=path.name)
    waiting = pending(written)
    assert [each.name for each in waiting] == ["boxes.put"] * 2
    path.write_text(accept(written, waiting, by="ada", at="2026-01-02T03:04:05+00:00"))
    return path


@pytest.mark.parametrize("before", [None, "old"])
def test_what_was_there_before_is_there_again(path: Path, before: str | None) -> None:
    boxes = {} if before is None else {"b": {"id": "b", "name": before}}
    wanted = dict(boxes)

    def api(request: FrozenRequest) -> Response:
        match request.method:
            case "PUT":
                status = 200 if "b" in boxes else 201
                boxes["b"] = json.loads(request.body)
                return Response(status=status, body=request.body)
            case "DELETE":
                return Response(status=204 if boxes.pop("b", None) else 404)
            case "POST":
                return Response(status=422)
            case _:
                found = boxes.get("b")
                return Response(status=200 if found else 404, body=json.dumps(found).encode())

    (loaded,) = load_document(path)
    run = play(loaded.plan, api)
    assert run.status is RunStatus.COMPENSATED
    assert boxes == wanted
