"""Derived compensations in documents: nothing else changes, and nothing runs unaccepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.definitions.acceptance import digest_of
from orchestrator.definitions.discovery.steps import read_steps
from orchestrator.definitions.discovery.writing import accept, pending, write
from orchestrator.definitions.document import parse_document
from orchestrator.definitions.editing import Editor
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import InvalidDefinition
from orchestrator.service.deriving import discover_steps
from tests.unit.discovery.apis import fields, operation

THING = fields("id", "name", "size:integer")
API = {
    "openapi": "3.0.3", "servers": [{"url": "http://127.0.0.1:1"}],
    "paths": {
        "/things": {"post": operation("createThing", "Create", body=THING, answers={201: THING})},
        "/things/{thingId}": {
            "get": operation("getThing", answers={200: THING}),
            "patch": operation("updateThing", "Update", body=THING, answers={200: THING}),
            "delete": operation("deleteThing"),
        },
        "/mails": {"post": operation("sendMail", "Send a mail", body=fields("to"))},
        "/search": {"post": operation("searchThings", "Search", answers={200: THING})},
    },
}  # fmt: skip

TEXT = """\
# An odd layout, on purpose.
arazzo: 1.0.1
info: {title: things, version: '1'}   # one line
sourceDescriptions:
- {name: api, url: ./api.json, type: openapi}
workflows:
- workflowId: things
  inputs:
     type: object
     properties:
       name:   {type: string}
  steps:
    # first make one
    - stepId: make
      operationId: createThing
      requestBody:
        payload: {name: $inputs.name}

    # then change it
    - stepId: change
      operationId: updateThing
      parameters:
        - {name: thingId, in: path, value: $steps.make.outputs.id}
      requestBody: {payload: {name: "new"}}
      outputs:
        name: $response.body#/name
    - {stepId: look, operationId: searchThings, outputs: {}}   # what is there?
    - stepId: mail
      operationId: sendMail
      requestBody: {payload: {to: me}}
      x-compensation: {none: it is gone}
    # the end
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "api.json").write_text(json.dumps(API))
    path = tmp_path / "things.arazzo.yaml"
    path.write_text(TEXT)
    return path


def written(path: Path) -> str:
    document = parse_document(path.read_text(), name=path.name)
    steps = read_steps(document, folder=path.parent, tasks=TaskRegistry())
    return write(document, steps).text


def test_every_line_that_was_there_is_still_there_in_its_order(path: Path) -> None:
    new = written(path).splitlines()
    at = 0
    for line in TEXT.splitlines():
        if "stepId: look" not in line:  # a step in braces is changed within its line
            at = new.index(line, at) + 1
    assert "# what is there?" in "\n".join(new)


def test_what_is_written_says_what_was_proposed(path: Path) -> None:
    value = parse_document(written(path), name="new").value
    steps = {each["stepId"]: each for each in value["workflows"][0]["steps"]}
    assert list(steps) == ["make", "read-before-change", "change", "look", "mail"]
    made = steps["make"]["x-compensation"]
    assert steps["make"]["outputs"] == {"id": "$response.body#/id"}
    assert made["operationId"] == "deleteThing"
    assert made["parameters"] == [
        {"name": "thingId", "in": "path", "value": "$steps.make.outputs.id"}
    ]
    assert made["x-derived"]["rule"] == "deleted-item"
    assert made["x-derived"]["evidence"]
    assert steps["read-before-change"]["operationId"] == "getThing"
    changed = steps["change"]["x-compensation"]["requestBody"]["payload"]
    assert changed == "$steps.read-before-change.outputs.body"
    assert "none" in steps["look"]["x-compensation"]
    assert steps["mail"]["x-compensation"] == {"none": "it is gone"}


def test_json_stays_json(path: Path) -> None:
    text = json.dumps(parse_document(TEXT, name="x").value, indent=1)
    path.write_text(text)
    new = written(path)
    assert json.loads(new) == parse_document(written_yaml(path), name="x").value
    assert new.startswith(text[: text.index('"stepId": "make"') - 6])


def written_yaml(path: Path) -> str:
    path.write_text(TEXT)
    return written(path)


def test_it_runs_only_after_it_was_accepted_and_only_as_it_was(path: Path) -> None:
    path.write_text(written(path))
    with pytest.raises(InvalidDefinition, match="derived by deleted-item, accepted by nobody"):
        load_document(path)
    document = parse_document(path.read_text(), name=path.name)
    waiting = pending(document)
    assert [each.name for each in waiting] == ["things.make", "things.change", "things.look"]
    path.write_text(accept(document, waiting, by="ada", at="2026-01-02T03:04:05+00:00"))
    (loaded,) = load_document(path)
    undo = loaded.plan.steps[0].compensation
    assert undo is not None
    assert undo.call.template["path"] == "/things/{thingId}"

    path.write_text(path.read_text().replace("operationId: deleteThing", "operationId: getThing"))
    with pytest.raises(InvalidDefinition, match="changed since ada has accepted it"):
        load_document(path)
    again = parse_document(path.read_text(), name=path.name)
    (one,) = pending(again)
    path.write_text(accept(again, [one], by="bob", at="2026-01-02T03:04:06+00:00"))
    assert pending(parse_document(path.read_text(), name=path.name)) == []


def test_writing_again_changes_nothing(path: Path) -> None:
    found = discover_steps(path, tasks=TaskRegistry(), change=True)
    assert found.written == ("things.make", "things.change", "things.look")
    assert path.read_text() == written(path)
    again = discover_steps(path, tasks=TaskRegistry(), change=True)
    assert (again.diff, again.written) == ("", ())


def test_what_the_step_does_not_say_cannot_be_undone(path: Path) -> None:
    path.write_text(
        TEXT.replace(
            "        - {name: thingId, in: path, value: $steps.make.outputs.id}\n", "        []\n"
        )
    )
    found = discover_steps(path, tasks=TaskRegistry())
    assert "does not say $request.path.thingId" in found.left["things.change"]


KEYS = st.text(st.sampled_from("abcxyz"), min_size=1, max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["no", "1.0", "a: b", "#x", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are not alike
@given(st.dictionaries(KEYS, VALUES, min_size=1), VALUES, st.sampled_from([None, False, True]))
def test_an_addition_says_the_same_in_every_style(
    value: dict[str, object], new: object, style: bool | None
) -> None:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=style, sort_keys=False, allow_unicode=True)
    if style and new is not None:
        text = json.dumps(value)
    editor = Editor(text)
    editor.put((), "added", new)
    assert parse_document(editor.text, name="x").value == {**value, "added": new}


def test_the_digest_knows_what_runs_and_nothing_else() -> None:
    one = {"operationId": "undo", "x-derived": {"confidence": 1}}
    assert digest_of(one) == digest_of({"x-derived": {}, "operationId": "undo"})
    assert digest_of(one) != digest_of({**one, "operationId": "other"})


def test_an_undo_that_may_be_sent_again_says_so(path: Path) -> None:
    value = parse_document(written(path), name="new").value
    steps = {each["stepId"]: each for each in value["workflows"][0]["steps"]}
    how = {
        name: each.get("x-compensation", {}).get("x-idempotency") for name, each in steps.items()
    }
    assert how["make"] == {"by": "client-id", "alreadyDone": [404]}
    assert how["change"] is None  # a PATCH: the API decides what the same one again does


def test_what_an_alias_shares_is_left_to_a_person(path: Path) -> None:
    make = "operationId: createThing\n"
    text = TEXT.replace(make, f"{make}      outputs: &named {{name: $response.body#/name}}\n")
    path.write_text(text.replace("outputs:\n        name: $response.body#/name", "outputs: *named"))
    found = discover_steps(path, tasks=TaskRegistry())
    assert found.left["things.make"].endswith("outputs stands elsewhere as well, by an alias")
    assert found.written == ("things.change", "things.look")


def test_a_shared_compensation_cannot_be_accepted_in_one_place(path: Path) -> None:
    shared = "{operationId: deleteThing, x-derived: {rule: r, confidence: 1, evidence: []}}"
    make = "operationId: createThing\n"
    text = TEXT.replace(make, f"{make}      x-compensation: &undo {shared}\n")
    text = text.replace("x-compensation: {none: it is gone}", "x-compensation: *undo")
    document = parse_document(text, name=path.name)
    with pytest.raises(InvalidDefinition, match="by an alias"):
        accept(document, pending(document), by="ada", at="")


def test_letters_of_any_width_move_nothing() -> None:
    editor = Editor("{a: é😀, b: {c: '日本'}, d: [1]}\n")
    editor.put(("b",), "e", 1)
    editor.insert(("d",), 0, 0)
    value = parse_document(editor.text, name="x").value
    assert value == {"a": "é😀", "b": {"e": 1, "c": "日本"}, "d": [0, 1]}
