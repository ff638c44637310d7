"""Which values of a workflow are secret, by its schemas and those of its APIs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.redaction import HIDDEN, Rules
from orchestrator.definitions.inputs import InputsSchema
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.secret_fields import secret_names, secret_paths
from orchestrator.definitions.secrets import Secrets
from orchestrator.errors import InvalidInput

API = """\
openapi: 3.1.0
info: {title: door, version: '1'}
paths:
  /sessions:
    post:
      operationId: open
      parameters: [{name: knock, in: query, schema: {type: string, format: password}}]
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Wish'}}}}
      responses:
        '201': {description: opened, content: {application/json: {schema: {
          properties: {handle: {type: string, format: password}, id: {type: string}}}}}}
  /sessions/{id}:
    delete:
      operationId: close
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {'204': {description: closed}}
components:
  schemas:
    Wish:
      properties:
        code: {type: string, writeOnly: true}
        next: {$ref: '#/components/schemas/Wish'}
        nowhere: {$ref: '#/components/schemas/Missing'}
"""
WORKFLOW = """\
arazzo: 1.0.1
info: {title: Door, version: 1.0.0}
sourceDescriptions: [{name: door, url: ./door.openapi.yaml, type: openapi}]
workflows:
  - workflowId: door
    inputs:
      properties:
        login: {type: object, properties: {word: {type: string, format: password}}}
        number: {type: string}
        rhythm: {type: string}
        name: {type: string}
    steps:
      - stepId: open
        operationId: open
        x-idempotency: {in: header, name: Idempotency-Key}
        parameters: [{name: knock, in: query, value: $inputs.rhythm}]
        requestBody: {payload: {code: $inputs.number, name: $inputs.name}}
        outputs: {id: $response.body#/id, way: $response.body#/handle}
        x-compensation:
          operationId: close
          x-idempotency: {in: header, name: Idempotency-Key}
          parameters: [{name: id, in: path, value: $steps.open.outputs.id}]
    outputs: {id: $steps.open.outputs.id, entry: $steps.open.outputs.way, who: $inputs.number}
"""
INPUTS = {"login": {"word": "sesame-77"}, "number": "907143", "rhythm": "long-short", "name": "Ali"}


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    (tmp_path / "door.openapi.yaml").write_text(API)
    path = tmp_path / "door.arazzo.yaml"
    path.write_text(WORKFLOW)
    (loaded,) = load_document(path)
    return Secrets(loaded.plan)


def test_what_goes_into_or_comes_from_a_secret_field_is_secret(secrets: Secrets) -> None:
    assert secrets.rules.names == {"code", "handle", "knock"}
    assert secrets.input_paths == (("login", "word"), ("number",), ("rhythm",))
    assert secrets.names_of_outputs("open", {"id": "s-1", "way": "w"}) == ["way"]
    assert secrets.output_names == {"entry", "who"}


def test_texts_of_a_run_are_found_wherever_they_turn_up(secrets: Secrets) -> None:
    rules = secrets.of_run(INPUTS, {"open": {"id": "s-1", "way": "left-then-right"}})
    said = "907143 and sesame-77 for Ali: left-then-right, long-short; 1907143 s-1"
    assert rules.text(said) == (f"{HIDDEN} and {HIDDEN} for Ali: {HIDDEN}, {HIDDEN}; 1907143 s-1")
    assert secrets.of_run({"name": "Ali"}, {}) is secrets.rules


def test_names_of_the_settings_are_secret_at_every_depth(secrets: Secrets) -> None:
    besides = Rules(names=frozenset({"honour"}), paths=(("account", "iban"),))
    inputs = {"account": {"iban": "DE8937", "x": [{"honour": "of-the-house"}]}}
    assert secrets.of_run(inputs, {}, besides).text("of-the-house DE8937") == f"{HIDDEN} {HIDDEN}"


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ({"properties": {"a": {"writeOnly": True}, "b": {"writeOnly": False}}}, {("a",)}),
        ({"properties": {"api_key": {"type": "string"}}}, {("api_key",)}),
        (
            {"properties": {"all": {"items": {"$ref": "#/$defs/one"}}},
             "$defs": {"one": {"allOf": [{"properties": {"p": {"format": "password"}}}]}}},
            {("all", "*", "p")},
        ),
        ({"additionalProperties": {"format": "password"}}, {("*",)}),
        ({"allOf": [{"$ref": "#"}, {"$ref": "#/nowhere"}, True]}, set()),
        (True, set()),
    ],
)  # fmt: skip
def test_secret_places_of_a_schema(schema: Any, paths: set[tuple[str, ...]]) -> None:
    assert set(secret_paths(schema)) == paths


def test_schemas_that_never_end_come_to_an_end() -> None:
    tree: dict[str, Any] = {"properties": {}}
    tree["properties"] = {f"p{n}": {"$ref": "#"} for n in range(50)}
    assert list(secret_paths(tree)) == []
    wide = {"responses": [{"properties": {"x": {"items": [{"n": n}]}}} for n in range(5_000)]}
    assert secret_names(wide, lambda part: part) == ()


def test_a_refusal_of_inputs_does_not_repeat_what_is_secret() -> None:
    schema = InputsSchema({
        "additionalProperties": False,
        "properties": {"word": {"type": "string", "format": "password", "maxLength": 3},
                       "note": {"type": "integer"}},
    })  # fmt: skip
    with pytest.raises(InvalidInput) as refused:
        schema.check("w", {"word": "sesame", "note": "sk_live_0123456789abcdef0", "token": "open"})
    said = str(refused.value)
    assert "/word: found '[hidden]'; wanted maxLength 3" in said
    assert "/note: found '[hidden]'; wanted type integer" in said
    assert "sesame" not in said
    assert "'open'" not in said
