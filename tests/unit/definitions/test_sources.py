"""Where sources lie, how steps name their operations, and references between files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core.plan import Plan
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.openapi import OpenApiDocument
from orchestrator.errors import InvalidDefinition, NotFound, Problem
from tests.unit.definitions.small_api import API, GET, HEAD

ID = ", parameters: [{name: id, in: path, value: $inputs.id}]}\n"
REMOTE = "https://api.example.org/v1/openapi.json"


@pytest.mark.parametrize(
    "operation",
    [
        "operationId: getThing",
        "operationId: $sourceDescriptions.things.getThing",
        "operationId: things.getThing",
        "operationPath: '{$sourceDescriptions.things.url}#/paths/~1things~1{id}/get'",
        "operationPath: '$sourceDescriptions.things.url#/paths/~1things~1{id}/GET'",
        "operationPath: '$sourceDescriptions.things#/paths/~1things~1%7Bid%7D/get'",
        "operationPath: '{$sourceDescriptions.things}#/paths//things/{id}/get'",
        "operationPath: 'things#/paths/things/{id}/get'",
        "operationPath: 'GET {things}./things/{id}'",
        "operationPath: 'get {things}/things/{id}'",
    ],
)
def test_an_operation_by_each_of_its_names(plan: Callable[..., Plan], operation: str) -> None:
    template = plan(f"      - {{stepId: a, {operation}{ID}").steps[0].call.template
    assert (template["method"], template["path"]) == ("GET", "/things/{id}")


@pytest.mark.parametrize(
    "path",
    [
        "things#/paths/~1things~1{id}",  # which of its three operations?
        "things#/paths/~1things~1{id}/patch",
        "things#/paths/~1nothing/get",
        "tasks#/paths/~1things/get",
        "others#/paths/~1things/get",
        "GET {things}./nothing",
        "GET {others}./things",
        "GET things",
    ],
)
def test_paths_that_lead_to_no_operation(problems: Callable[..., list[Problem]], path: str) -> None:
    found = problems(f"      - {{stepId: a, operationPath: '{path}'{ID}")
    assert [problem.place.endswith("/operationPath)") for problem in found] == [True]


def remote(folder: Path, mapping: str | None) -> Path:
    """A workflow over an API whose url is none of this machine."""
    (folder / "apis").mkdir()
    (folder / "apis" / "things.yaml").write_text(API)
    if mapping is not None:
        (folder / "sources.yaml").write_text(mapping)
    path = folder / "w.arazzo.yaml"
    path.write_text(HEAD.replace("./things.yaml", f"'{REMOTE}'") + GET + "}\n")
    return path


def test_a_url_is_read_from_the_file_that_stands_for_it(tmp_path: Path) -> None:
    (loaded,) = load_document(remote(tmp_path, f"'{REMOTE}': ./apis/things.yaml\n"))
    assert loaded.plan.steps[0].call.template["path"] == "/things/{id}"


@pytest.mark.parametrize(
    ("mapping", "place", "wanted"),
    [
        (None, "(/sourceDescriptions/0/url)", "sources.yaml"),
        ("other: ./apis/things.yaml", "(/sourceDescriptions/0/url)", "sources.yaml"),
        (f"'{REMOTE}': ./apis/none.yaml", "(/sourceDescriptions/0/url)", "can be read"),
        (f"'{REMOTE}': [1]", f"sources.yaml {REMOTE}", "paths of their files"),
        ("- 1", f"sources.yaml {REMOTE}", "paths of their files"),
        ("a: [", "sources.yaml:2:1", "YAML"),
    ],
)
def test_a_url_without_a_file_is_refused(
    tmp_path: Path, mapping: str | None, place: str, wanted: str
) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        load_document(remote(tmp_path, mapping))
    found = [problem for problem in caught.value.problems if problem.place.endswith(place)]
    assert found, str(caught.value)
    assert wanted in found[0].wanted


PARTS = """\
item:
  parameters: [{$ref: '#/id'}, {$ref: '../main.yaml#/components/parameters/page'}]
  get: {operationId: getIt, responses: {}}
id: {name: id, in: path, required: true}
circle: {$ref: '#/circle'}
"""
MAIN = """\
openapi: 3.1.0
info: {{title: t, version: '1'}}
components: {{parameters: {{page: {{name: page, in: query, style: pipeDelimited}}}}}}
paths: {{'/it/{{id}}': {{$ref: '{reference}'}}}}
"""


def referring(folder: Path, reference: str) -> OpenApiDocument:
    inside = folder / "inside"
    (inside / "parts").mkdir(parents=True)
    (inside / "parts" / "a b.yaml").write_text(PARTS)
    (folder / "secret.yaml").write_text(PARTS)
    (inside / "link.yaml").symlink_to(folder / "secret.yaml")
    (inside / "main.yaml").write_text(MAIN.format(reference=reference))
    return OpenApiDocument.read(inside / "main.yaml")


def test_a_reference_leads_into_another_file_and_back(tmp_path: Path) -> None:
    operation = referring(tmp_path, "parts/a%20b.yaml#/item").operation("getIt")
    assert operation is not None
    assert {item.name: item.place for item in operation.parameters} == {
        "id": "path", "page": "query",
    }  # fmt: skip


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    assert referring(tmp_path, "parts/a%20b.yaml#/item").operation_ids() == ["getIt"]
    part = tmp_path / "inside" / "parts" / "a b.yaml"
    part.write_text(PARTS.replace("getIt", "getItAnew"))
    again = OpenApiDocument.read(tmp_path / "inside" / "main.yaml")
    assert again.operation_ids() == ["getItAnew"]
    part.unlink()
    with pytest.raises(NotFound):
        OpenApiDocument.read(tmp_path / "inside" / "main.yaml").operation_ids()


@pytest.mark.parametrize(
    "reference",
    [
        "../secret.yaml#/item",
        "link.yaml#/item",
        "https://127.0.0.1:1/a.yaml#/item",
        "file:parts/a%20b.yaml#/item",
        "parts/a%20b.yaml#/nothing",
        "parts/a%20b.yaml#item",
        "parts/a%20b.yaml#/circle",
    ],
)
def test_references_that_lead_out_nowhere_or_in_a_circle(tmp_path: Path, reference: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        referring(tmp_path, reference).operation("getIt")
    assert [problem.place for problem in caught.value.problems] == ["main.yaml paths /it/{id}"]
