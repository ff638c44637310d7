"""Arazzo documents that are refused: where, what was found, what is wanted."""
# ruff: noqa: E501, ISC004 - each case of the tables is read as one line

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.definitions.loading import load_document
from orchestrator.errors import InvalidDefinition, NotFound, Problem
from tests.unit.definitions.small_api import GET, HEAD, MAKE, NONE, registry

DATA = Path(__file__).parents[2] / "data"
Problems = Callable[..., list[Problem]]


def one(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


# --- what is refused ------------------------------------------------------------------------------

BAD_STEPS: dict[str, tuple[str, str, str, str]] = {
    "effect without undo": (MAKE + "}", "/steps/0", "without a compensation", "x-compensation"),
    "blank reason": (MAKE + ", x-compensation: {none: ' '}}", "/none", "' '", "a text"),
    "unknown operation": (
        "      - {stepId: a, operationId: getThings}", "/operationId", "getThings",
        "did you mean getThing?",
    ),
    "unknown source": (
        "      - {stepId: a, operationId: $sourceDescriptions.x.y}", "/operationId", "x.y", "things",
    ),
    "no operation": ("      - {stepId: a}", "/steps/0", "neither", "operationId"),
    "two operations": (
        GET + ", operationPath: '{$sourceDescriptions.things.url}#/paths/~1things/get'}",
        "/operationPath", "paths", "not both",
    ),
    "unknown workflow": (
        "      - {stepId: a, workflowId: b}", "/workflowId", "b", "a workflow of this document: w",
    ),
    "recursion": (
        "      - {stepId: a, workflowId: w}", "/workflowId", "w → w", "does not lead back to itself",
    ),
    "goto nowhere": (
        GET + ", onFailure: [{name: g, type: goto, stepId: z}]}", "/stepId", "z", "step of this workflow",
    ),
    "goto without a target": (
        GET + ", onSuccess: [{name: g, type: goto}]}", "/onSuccess/0", "neither", "stepId or workflowId",
    ),
    "goto with two targets": (
        GET + ", onSuccess: [{name: g, type: goto, stepId: a, workflowId: w}]}", "/onSuccess/0", "", "not both",
    ),
    "endless goto": (
        GET + ", onSuccess: [{name: g, type: goto, stepId: a}]}", "/onSuccess", "lead from a to no end",
        "type end",
    ),
    "action with a strange name": (
        GET + ", onFailure: [{name: [g], type: end}]}", "/name", "['g']", "a text",
    ),
    "unknown action": (
        GET + ", onFailure: [{name: g, type: jump}]}", "/type", "jump", "one of: retry, goto, end",
    ),
    "retry after success": (
        GET + ", onSuccess: [{name: r, type: retry}]}", "/type", "retry", "one of: goto, end",
    ),
    "retry through nothing": (
        GET + ", onFailure: [{name: r, type: retry, stepId: b}]}", "/stepId", "b", "step of this workflow",
    ),
    "goto of an undo": (
        MAKE + ", x-compensation: {operationId: dropThing, parameters: [{name: id, in: path, value: $inputs.id}],"
        " onFailure: [{name: g, type: goto, stepId: a}]}}", "/type", "goto", "retry",
    ),
    "depends on a later step": (GET + ", dependsOn: [b]}", "/dependsOn/0", "b", "there is none"),
    "undoes nothing": (MAKE + ", x-undoes: [a]}", "/x-undoes/0", "a", "stands before"),
    "regex": (
        GET + ", successCriteria: [{condition: '(?=2)', context: $statusCode, type: regex}]}",
        "/condition", "(?=2)", "without look-around",
    ),
    "broken condition": (
        GET + ", successCriteria: [{condition: $statusCode = 200}]}", "/condition", "'= 200'", "$",
    ),
    "broken expression": (
        GET + ", outputs: {x: $response.bodi}}", "/outputs/x", "$response.bodi", "$response.body",
    ),
    "unknown input": (
        GET.replace("$inputs.id", "$inputs.idd") + "}", "/parameters/0/value", "$inputs.idd",
        "id, note, tags",
    ),
    "answer before asking": (
        GET.replace("$inputs.id", "$response.body#/id") + "}", "/parameters/0/value",
        "before there is an answer", "$inputs.NAME",
    ),
    "own output": (
        GET.replace("$inputs.id", "$steps.a.outputs.x") + ", outputs: {x: $statusCode}}",
        "/parameters/0/value", "not known yet", "there is none",
    ),
    "unknown step": (
        GET.replace("$inputs.id", "$steps.zz.outputs.x") + "}", "/value", "$steps.zz", "this workflow",
    ),
    "unknown output": (
        MAKE + NONE + "}\n" + GET.replace("$inputs.id", "$steps.m.outputs.idd") + "}",
        "/steps/1/parameters/0/value", "idd", "an output of step m: id",
    ),
    "late output in an undo": (
        MAKE + ", x-compensation: {operationId: dropThing, parameters: "
        "[{name: id, in: path, value: $steps.a.outputs.x}]}}\n" + GET + ", outputs: {x: $statusCode}}",
        "/x-compensation/parameters/0/value", "not known yet", "an earlier step: m",
    ),
    "missing path parameter": ("      - {stepId: a, operationId: getThing}", "/steps/0", "no id", "id"),
    "wrong path parameter": (
        "      - {stepId: a, operationId: listThings, parameters: [{name: id, in: path, value: 1}]}",
        "/parameters/0", "path parameter id", "/things",
    ),
    "missing header": (
        "      - {stepId: a, operationId: putThing, x-effects: none, "
        "parameters: [{name: id, in: path, value: 1}]}", "/steps/0", "no X-Who", "header",
    ),
    "missing body": (
        "      - {stepId: a, operationId: makeThing, x-effects: none}", "/steps/0", "no requestBody",
        "requires",
    ),
    "multipart": (
        "      - {stepId: a, operationId: makeThing, x-effects: none, requestBody: "
        "{contentType: multipart/mixed, payload: {}}}", "/contentType", "multipart", "form-data",
    ),
    "parameter without place": (
        GET.replace("in: path, ", "") + "}", "/parameters/0", "no in", "path",
    ),
    "the same parameter twice": (
        GET.replace("}]", "}, {name: id, in: path, value: 2}]") + "}", "/parameters/1", "id", "once",
    ),
    "unknown field": (GET + ", paramters: []}", "/paramters", "paramters", "parameters"),
    "criteria that contradict alreadyDone": (
        MAKE + NONE + ", x-idempotency: {by: client-id, alreadyDone: [412]}, "
        "successCriteria: [{condition: $statusCode == 201}]}",
        "/successCriteria", "never hold for the status 412", "|| $statusCode == 412",
    ),
    "unknown output of alreadyDone": (
        MAKE + NONE + ", x-idempotency: {by: client-id, alreadyDone: "
        "[{status: 412, outputs: {idd: $statusCode}}]}}",
        "/x-idempotency/alreadyDone/0/outputs/idd", "idd", "an output of this step",
    ),
    "a broken status": (
        MAKE + NONE + ", x-idempotency: {by: client-id, alreadyDone: [true]}}",
        "/alreadyDone/0", "True", "a status",
    ),
    "key in the query": (
        MAKE + NONE + ", x-idempotency: {in: query, name: k}}", "/x-idempotency/in", "query", "header",
    ),
    "key twice": (
        MAKE + NONE + ", parameters: [{name: Key, in: header, value: 1}], "
        "x-idempotency: {in: header, name: key}}", "/x-idempotency", "parameters as well", "alone",
    ),
    "a verification with an effect": (
        MAKE + NONE + ", x-verify: {operationId: makeThing, requestBody: {payload: {}}}}",
        "/x-verify", "makeThing", "changes nothing",
    ),
    "a verification without the outputs": (
        MAKE + NONE + ", x-verify: {operationId: listThings, outputs: {x: $statusCode}}}",
        "/x-verify", "not all", "id",
    ),
    "undo after the pivot": (
        GET + ", x-pivot: true}\n" + MAKE + ", x-compensation: {operationId: listThings}}",
        "/steps/1/x-compensation", "after the pivot", "only goes forward",
    ),
    "two pivots": (
        GET + ", x-pivot: true}\n" + GET.replace("stepId: a", "stepId: b") + ", x-pivot: true}",
        "/steps/1/x-pivot", "second pivot", "it is a",
    ),
    "the same step twice": (
        GET + "}\n" + GET + "}", "/steps/1/stepId", "'a'", "not used at",
    ),
    "a wrong kind": (
        MAKE + ", x-compensation: {operationId: listThings, kind: undo}}", "/kind", "undo", "reverse",
    ),
    "a bad limit": (
        GET + ", onFailure: [{name: r, type: retry, retryLimit: 1.5}]}", "/retryLimit", "1.5", "whole",
    ),
    "a bad step id": (GET.replace("stepId: a", "stepId: a b") + "}", "/stepId", "a b", "letters"),
    "an unknown component": (
        GET.replace("parameters: [", "parameters: [{reference: $components.parameters.x}, ") + "}",
        "/parameters/0", "$components.parameters.x", "a component",
    ),
    "no steps": ("      []", "/steps", "0 steps", "1 to 500"),
    "steps of another type": ("      {a: 1}", "/steps", "{'a': 1}", "an array"),
    "a misspelt input in an attribute": (
        GET + "}\n    x-attributes: {thing: $inputs.idd}", "/x-attributes/thing", "$inputs.idd", "one of the inputs: id, note, tags",
    ),
    "a list as an attribute": (
        GET + "}\n    x-attributes: {thing: $inputs.tags}", "/x-attributes/thing", "of type array", "a text or a number",
    ),
    "an unknown lane": (GET + "}\n    x-lane: A B", "/x-lane", "A B", "small letters"),
    "a workflow output of nothing": (
        GET + "}\n    outputs: {x: $steps.a.outputs.x}", "/outputs/x", "$steps.a.outputs.x", "none",
    ),
    "an answer as a workflow output": (
        GET + "}\n    outputs: {x: $statusCode}", "/outputs/x", "$statusCode", "$inputs.NAME",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_STEPS.values(), ids=list(BAD_STEPS))
def test_refused_with_place_found_and_wanted(
    case: tuple[str, str, str, str], problems: Problems
) -> None:
    steps, place, found, wanted = case
    matching = [p for p in problems(steps) if p.place.endswith(f"{place})")]
    assert any(found in p.found and wanted in p.wanted for p in matching), problems(steps)
    assert all(p.place.startswith("w.arazzo.yaml:") for p in matching)


def test_every_problem_is_reported_at_once(problems: Problems) -> None:
    found = problems(
        MAKE + "}\n" + GET.replace("$inputs.id", "$inputs.nope") + "}\n"
        + "      - {stepId: c, operationId: nope}\n"
    )  # fmt: skip
    assert len(found) == 3


def test_arguments_are_checked_against_the_function(problems: Problems) -> None:
    step = "      - {stepId: p, operationId: price, requestBody: {payload: {amout: 5}}}"
    found = problems(step, tasks=registry())
    assert {p.found for p in found} == {"the argument amout", "no amount"}


def test_an_unknown_function_names_those_there_are(problems: Problems) -> None:
    step = "      - {stepId: p, operationId: $sourceDescriptions.tasks.prize}"
    assert "did you mean price?" in one(problems(step, tasks=registry())).wanted


@pytest.mark.parametrize(
    ("change", "place", "wanted"),
    [
        (("arazzo: 1.0.1", "arazzo: 2.0.0"), "(/arazzo)", "1.0.x or 1.1.x"),
        (("./things.yaml", "./nothing.yaml"), "(/sourceDescriptions/0/url)", "can be read"),
        (("./things.yaml", "https://example.org/a.yaml"), "(/sourceDescriptions/0/url)", "beside"),
        (("type: openapi}\n  - ", "type: asyncapi}\n  - "), "(/sourceDescriptions/0/type)", "openapi"),
        (("name: tasks", "name: things"), "(/sourceDescriptions/1/name)", "no other source"),
        (("{type: string}, note", "{type: text}, note"), "(/workflows/0/inputs/properties/id/type)", ""),
        (("type: array", "$ref: 'http://a/b'"), "(/workflows/0/inputs/properties/tags/$ref)", "inside"),
        (("type: object", "type: array"), "(/workflows/0/inputs/type)", "object"),
        (("    inputs", "    dependsOn: [x]\n    inputs"), "(/workflows/0/dependsOn/0)", "of this document: w"),
    ],
)  # fmt: skip
def test_a_bad_head(change: tuple[str, str], place: str, wanted: str, problems: Problems) -> None:
    assert change[0] in HEAD
    found = [p for p in problems(GET + "}", head=HEAD.replace(*change)) if p.place.endswith(place)]
    assert found
    assert wanted in found[0].wanted


def test_a_broken_file_has_a_line(tmp_path: Path) -> None:
    path = tmp_path / "w.arazzo.yaml"
    path.write_text("arazzo: 1.0.1\nworkflows: [\n")
    with pytest.raises(InvalidDefinition) as caught:
        load_document(path)
    assert one(list(caught.value.problems)).place == "w.arazzo.yaml:3:1"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidDefinition):
        load_document(path)
    with pytest.raises(NotFound):
        load_document(tmp_path / "none.yaml")


# --- documents from the wild ----------------------------------------------------------------------

UNDO_ONLY = [
    "wso2-petstore/04-expressions-outputs.arazzo.yaml",
    "wso2-petstore/09-request-body-replacements.arazzo.yaml",
    "wso2-petstore/10-parameter-types.arazzo.yaml",
    "museum/arazzo/museum-tickets.arazzo.yaml",
]


@pytest.mark.parametrize("name", UNDO_ONLY)
def test_with_a_reason_they_are_accepted(name: str, tmp_path: Path) -> None:
    source = DATA / name
    text = source.read_text().replace(
        "  - stepId:", "  - x-compensation: {none: a trial}\n        stepId:"
    )
    document = tmp_path / "arazzo" / source.name
    document.parent.mkdir()
    document.write_text(text)
    for api in (source.parent / "petstore-openapi.yaml", DATA / "museum/openapi.yaml"):
        if api.exists():
            (document.parent / api.name).write_bytes(api.read_bytes())
            (tmp_path / api.name).write_bytes(api.read_bytes())
    assert load_document(document)
