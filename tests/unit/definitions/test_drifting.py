"""Answers that were seen, held against a document; and what is kept of their fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.core.insights import Difference
from orchestrator.core.shapes import MOST_PLACES, Shape, add_shape, merge_shapes
from orchestrator.core.states import Direction
from orchestrator.core.windows import Window
from orchestrator.definitions.document import parse_document
from orchestrator.definitions.drifting import documented_of
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.tasks import TaskRegistry

ORDER = {
    "type": "object",
    "required": ["id", "lines"],
    "properties": {
        "id": {"type": "string"},
        "total": {"type": "number"},
        "lines": {"type": "array", "items": {"$ref": "#/components/schemas/Line"}},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        "open": {},
    },
}
LINE = {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}
GOOD: dict[str, Any] = {
    "id": "a", "total": 3, "lines": [{"sku": "x"}], "tags": {"1234": "t"}, "open": {"any": 1},
}  # fmt: skip
WORKFLOW = {
    "arazzo": "1.0.1", "info": {"title": "T", "version": "1"},
    "sourceDescriptions": [{"name": "shop", "url": "shop.yaml", "type": "openapi"}],
    "workflows": [{"workflowId": "w", "steps": [{"stepId": "look", "operationId": "look"}]}],
}  # fmt: skip


def differences(folder: Path, bodies: list[Any], schema: Any = ORDER) -> list[Difference]:
    answer = {"description": "one", "content": {"application/json": {"schema": schema}}}
    api = {
        "openapi": "3.1.0", "info": {"title": "T", "version": "1"},
        "paths": {"/look": {"get": {"operationId": "look", "responses": {"200": answer}}}},
        "components": {"schemas": {"Line": LINE}},
    }  # fmt: skip
    (folder / "shop.yaml").write_text(yaml.safe_dump(api))
    (folder / "w.arazzo.yaml").write_text(yaml.safe_dump(WORKFLOW))
    window = Window()
    shape = window.shapes.setdefault(200, {})
    for body in bodies:
        add_shape(shape, body)
    [loaded] = load_document(folder / "w.arazzo.yaml")
    document = parse_document(loaded.document, name="w.arazzo.yaml")
    found = documented_of(
        document, folder=folder, tasks=TaskRegistry(), plan=loaded.plan,
        seen={("shop", "GET /look"): window},
    )  # fmt: skip
    said = found[0, Direction.FORWARD]
    assert (said.operation, said.statuses, said.file) == (
        "GET /look", {"200"}, str(folder / "shop.yaml"),
    )  # fmt: skip
    return list(said.differences)


def test_nothing_is_said_of_answers_as_documented(tmp_path: Path) -> None:
    assert differences(tmp_path, [GOOD] * 5) == []
    assert differences(tmp_path, [GOOD] * 5, schema={}) == []


@pytest.mark.parametrize(
    ("body", "place", "found", "wanted"),
    [
        (GOOD | {"id": 7}, "/id", "integer", "string"),
        (GOOD | {"total": "3"}, "/total", "string", "integer or number"),
        (GOOD | {"shelf": {"row": 1}}, "/shelf", "the field", "none documented"),
        (GOOD | {"lines": [{}]}, "/lines/*/sku", "nothing", "a required field"),
        (GOOD | {"lines": [{"sku": None}]}, "/lines/*/sku", "null", "string"),
        (GOOD | {"tags": {"k": 1}}, "/tags/k", "integer", "string"),
        ([GOOD], "/", "array", "object"),
    ],
)
def test_each_difference(tmp_path: Path, body: Any, place: str, found: str, wanted: str) -> None:
    [told] = [each for each in differences(tmp_path, [body] * 3) if each.place == place]
    assert told == Difference(place=place, found=found, wanted=wanted, cases=3)
    assert differences(tmp_path, [body] * 2 + [GOOD] * 9) == []  # too few


def test_what_may_be_data_is_no_name() -> None:
    shape: Shape = {}
    add_shape(shape, {"ada@example.org": 1, "1234": {"name": "x"}, "id": "secret"})
    add_shape(shape, {f"key{number}": 1 for number in range(100)})
    assert shape == {
        "": {"object": 2}, "/*": {"integer": 101, "object": 1}, "/*/name": {"string": 1},
        "/id": {"string": 1},
    }  # fmt: skip


def test_shapes_stay_small_and_add_up() -> None:
    wide = {f"f{first}": {f"g{second}": 1 for second in range(30)} for first in range(30)}
    shape: Shape = {}
    add_shape(shape, wide)
    assert len(shape) == MOST_PLACES
    one: Shape = {"": {"object": 2}, "/a": {"string": 1}}
    merge_shapes(one, {"": {"object": 1, "array": 1}, "/b": {"null": 1}})
    assert one == {"": {"object": 3, "array": 1}, "/a": {"string": 1}, "/b": {"null": 1}}
    merge_shapes(shape, {"/new": {"null": 1}})
    assert len(shape) == MOST_PLACES
