"""The official schemas as the first pass: held against the cases that their makers test them with."""
# ruff: noqa: E501 - each row of the table is read as one line

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.definitions.document import WORKFLOWS, Document, parse_document, read_document
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.official.faults import faults_of
from orchestrator.definitions.official.first_pass import FirstPass, add_faults
from orchestrator.definitions.official.patches import FILES, patched, published
from orchestrator.definitions.problems import Findings
from orchestrator.errors import InvalidDefinition, Problem
from tests.unit.definitions.small_api import GET

CASES = Path(__file__).parents[2] / "data" / "oai-schema-tests"
_OF_A_CALL = "one of: dependsOn, description, onFailure, onSuccess, operationId, operationPath, outputs, parameters, requestBody, stepId, successCriteria, timeout"
_OF_A_WORKFLOW = "one of: dependsOn, description, onFailure, onSuccess, outputs, parameters, requestBody, stepId, successCriteria, timeout, workflowId"
FAIL: dict[str, list[tuple[str, str, str]]] = {
    "async-both-operationId-and-channelPath": [
        (
            "12 (/workflows/0/steps/0)",
            "operationId and channelPath",
            "one of: operationId, channelPath",
        )
    ],
    "async-channelPath-without-action": [
        ("12 (/workflows/0/steps/0)", "no action", "the field action")
    ],
    "async-depends-on-duplicate-values": [
        ("18 (/workflows/0/steps/1/dependsOn)", "the same item twice", "each once")
    ],
    "async-depends-on-empty": [("18 (/workflows/0/steps/1/dependsOn)", "[]", "at least one item")],
    "async-depends-on-invalid-reference": [
        ("22 (/workflows/0/steps/1/dependsOn/0)", "'$steps.sendEvent'", "a text like ^(?!\\$).+$")
    ],
    "channel-path-is-invalid-for-openapi": [
        ("12 (/workflows/0/steps/0)", "no action", "the field action")
    ],
    "invalid-async-correlation-id-non-receive-action": [
        ("14 (/workflows/0/steps/0/action)", "'send'", "receive")
    ],
    "invalid-async-parameter-without-in": [
        ("16 (/workflows/0/steps/0/parameters/0)", "no in", "the field in")
    ],
    "invalid-async": [("14 (/workflows/0/steps/0/action)", "the field action", _OF_A_CALL)],
    "invalid-expression-type-object": [
        (
            "20 (/workflows/0/steps/0/outputs/brokenSelector/type/version)",
            "'rfc9535'",
            "one of: xpath-10, xpath-20, xpath-30, xpath-31",
        ),
        ("15 (/workflows/0/steps/0/outputs/brokenSelector)", "no context", "the field context"),
        (
            "16 (/workflows/0/steps/0/outputs/brokenSelector/expression)",
            "the field expression",
            "one of: context, selector, type",
        ),
    ],
    "invalid-openapi-parameter-without-in": [
        ("15 (/workflows/0/steps/0/parameters/0)", "no in", "the field in")
    ],
    "invalid-openapi-success-criteria": [
        ("14 (/workflows/0/steps/0/successCriteria)", "[]", "at least one item")
    ],
    "invalid-querystring-without-value": [
        ("15 (/workflows/0/steps/0/parameters/0)", "no value", "the field value")
    ],
    "invalid-selector-object": [
        ("15 (/workflows/0/steps/0/outputs/brokenOutput)", "no context", "the field context"),
        ("15 (/workflows/0/steps/0/outputs/brokenOutput)", "no type", "the field type"),
        (
            "16 (/workflows/0/steps/0/outputs/brokenOutput/expression)",
            "the field expression",
            "one of: context, selector, type",
        ),
    ],
    "invalid-self-fragment": [
        (
            "2 (/$self)",
            "'https://example.com/workflows/minimal-with-self.arazzo.yaml#/workflows/basic...",
            "a text like ^[^#]*$",
        )
    ],
    "invalid-targetSelectorType": [
        (
            "18 (/workflows/0/steps/0/requestBody/replacements/0/targetSelectorType)",
            "'jmespath'",
            "one of: jsonpointer, jsonpath, xpath",
        )
    ],
    "invalid-workflow-step-with-operationId": [
        ("14 (/workflows/0/steps/0/workflowId)", "the field workflowId", _OF_A_CALL)
    ],
    "invalid-workflow-success-criteria": [
        ("14 (/workflows/0/steps/0/successCriteria)", "[]", "at least one item")
    ],
    "openapi-both-operationId-and-operationPath": [
        (
            "12 (/workflows/0/steps/0)",
            "operationId and operationPath",
            "one of: operationId, operationPath",
        )
    ],
    "openapi-duplicate-parameters": [
        ("14 (/workflows/0/steps/0/parameters)", "the same item twice", "each once")
    ],
    "openapi-missing-operation-target": [
        (
            "12 (/workflows/0/steps/0)",
            "none of them",
            "one of the fields: operationId, operationPath",
        )
    ],
    "workflow-duplicate-parameters": [
        ("14 (/workflows/0/steps/0/parameters)", "the same item twice", "each once")
    ],
    "workflow-missing-workflowId": [
        (
            "12 (/workflows/0/steps/0)",
            "none of them",
            "one of the fields: operationId, operationPath",
        )
    ],
    "workflow-step-with-action": [
        ("14 (/workflows/0/steps/0/action)", "the field action", _OF_A_WORKFLOW)
    ],
    "workflow-step-with-channelPath": [
        ("14 (/workflows/0/steps/0/channelPath)", "the field channelPath", _OF_A_WORKFLOW)
    ],
}
NOT_BY_THE_SCHEMA = {
    "invalid-arazzo-version": ("/arazzo)", "2", "a text"),
    "not-an-object": (".yaml:1", "['root', 'must', 'be', 'an', 'object']", "an object"),
}
"""There is no schema for their version; our own reading refuses them."""


def read(name: str) -> Document:
    (path,) = [p for p in CASES.glob("*/*.yaml") if p.name.partition(".")[0] == name]
    return read_document(path, limits=WORKFLOWS)


@pytest.mark.parametrize("name", [p.name.partition(".")[0] for p in CASES.glob("pass/*")])
def test_what_passes_passes(name: str) -> None:
    assert FirstPass().faults(read(name)) == []


@pytest.mark.parametrize("name", FAIL)
def test_what_fails_is_said_with_its_place(name: str) -> None:
    document = read(name)
    faults = FirstPass().faults(document)
    found = [(document.place(f.path).partition(":")[2], f.found, f.wanted) for f in faults]
    assert found == FAIL[name]


def test_nothing_that_fails_is_left_out() -> None:
    names = {p.name.partition(".")[0] for p in CASES.glob("fail/*")}
    assert names == {*FAIL, *NOT_BY_THE_SCHEMA}
    for name, (place, found, wanted) in NOT_BY_THE_SCHEMA.items():
        (path,) = CASES.glob(f"fail/{name}.yaml")
        with pytest.raises(InvalidDefinition) as caught:
            load_document(path)
        first = caught.value.problems[0]
        assert (first.place.endswith(place), first.found, first.wanted) == (True, found, wanted)


# --- what the text allows and the files refuse ----------------------------------------------------


def of(version: str, **step: Any) -> dict[str, Any]:
    return {
        "arazzo": f"{version}.0", "info": {"title": "t", "version": "1"},
        "sourceDescriptions": [{"name": "a", "url": "./a.yaml"}],
        "workflows": [{"workflowId": "w", "steps": [{"stepId": "s", "operationId": "o", **step}]}],
    }  # fmt: skip


def criterion(kind: Any, **more: Any) -> dict[str, Any]:
    return {"successCriteria": [{"condition": "$.a", "context": "$url", "type": kind, **more}]}


GOESSNER = {"type": "jsonpath", "version": "draft-goessner-dispatch-jsonpath-00"}
ALLOWED: list[tuple[str, dict[str, Any]]] = [
    ("1.0", of("1.0", **criterion(GOESSNER))),
    ("1.0", of("1.0", requestBody={"replacements": [{"target": "/a", "value": 10}]})),
    ("1.1", of("1.1", requestBody={"replacements": [{"target": "/a", "value": {"b": [1]}}]})),
    ("1.1", of("1.1", parameters=[{"name": "a", "in": "query", "value": {"b": 1}}])),
    ("1.1", of("1.1", parameters=[{"name": "a", "in": "query", "value": {"selector": ".css"}}])),
    ("1.0", {"$schema": "./arazzo.json", **of("1.0")}),
    ("1.1", {"$schema": "./arazzo.json", **of("1.1")}),
]


@pytest.mark.parametrize(("version", "value"), ALLOWED)
def test_a_patch_is_needed_and_enough(version: str, value: dict[str, Any]) -> None:
    """Once the official schemas allow it themselves, the patch can go."""
    assert list(Draft202012Validator(published(version)).iter_errors(value))
    assert list(faults_of(Draft202012Validator(patched(version)), value)) == []


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("1.0", criterion({"type": "xpath", "version": "rfc9535"}), "'rfc9535'", "one of: xpath-10, xpath-20, xpath-30, xpath-31"),
    ("1.0", criterion("xslt"), "'xslt'", "one of: simple, regex, jsonpath, xpath"),
    ("1.0", criterion("regex", version="1"), "the field version", "one of: condition, context, type"),
    ("1.0", {"successCriteria": [{"condition": "a", "type": "simple"}]}, "no context", "the field context"),
    ("1.1", {"parameters": [{"name": "a", "in": "body", "value": 1}]}, "'body'", "one of: path, query, querystring, header, cookie, channel"),
    ("1.1", {"parameters": [{"name": "a", "in": "query", "value": {"context": "$url", "selector": "$"}}]}, "no type", "the field type"),
    ("1.0", {"onFailure": [{"name": "a", "type": "retry", "retryAfter": -1}]}, "-1", "a number of at least 0"),
    ("1.0", {"onFailure": [{"type": "end"}]}, "no name", "the field name"),
    ("1.0", {"onSuccess": [{"name": "a", "type": "goto"}]}, "none of them", "one of the fields: workflowId, stepId"),
    ("1.0", {"parameters": "all"}, "'all'", "an array"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "step", "found", "wanted"), REFUSED)
def test_what_stays_refused(version: str, step: dict[str, Any], found: str, wanted: str) -> None:
    (fault,) = faults_of(Draft202012Validator(patched(version)), of(version, **step))
    assert (fault.found, fault.wanted) == (found, wanted)


@pytest.mark.parametrize("version", FILES)
def test_the_published_schema_stays_as_it_is(version: str) -> None:
    before = copy.deepcopy(published(version))
    patched(version)
    assert published(version) == before != patched(version)


# --- beside our own reading -----------------------------------------------------------------------


def test_what_our_own_reading_passes_over(problems: Callable[..., list[Problem]]) -> None:
    (found,) = problems(GET + ", onFailure: [{type: end}]}\n")
    assert found.place.endswith("(/workflows/0/steps/0/onFailure/0)")
    assert (found.found, found.wanted) == ("no name", "the field name")


def test_nothing_is_said_twice(problems: Callable[..., list[Problem]]) -> None:
    for steps, found in (
        ("      - {stepId: a}\n", "neither"),
        (GET + ", stepID: b}\n", "the field stepID"),
        (GET + ", onSuccess: [{name: g, type: goto}]}\n", "neither"),
        (GET + ", successCriteria: [{condition: a, type: regex}]}\n", "no context"),
        (GET + ", outputs: {a: 1}}\n", "1"),
    ):
        assert [problem.found for problem in problems(steps)] == [found], steps


def test_of_another_document_at_the_same_place() -> None:
    document = parse_document("{arazzo: 1.0.0, workflows: []}", name="one.yaml")
    findings = Findings()
    findings.add("two.yaml:1 (/workflows)", "[]", "something")
    add_faults(document, findings)
    assert ("one.yaml:1 (/workflows)", "[]") in {(p.place, p.found) for p in findings.problems}


# --- validated once -------------------------------------------------------------------------------


def test_a_valid_document_is_validated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    validated: list[Any] = []

    def count(_: object, value: Any) -> list[Any]:
        validated.append(value)
        return []

    monkeypatch.setattr("orchestrator.definitions.official.first_pass.faults_of", count)
    first_pass, one, two = FirstPass(remembered=1), read("minimal"), read("oauth-example")
    for document in (one, one, two, two, one):  # the third forgets the first
        first_pass.faults(document)
    assert validated == [one.value, two.value, one.value]


def test_a_document_with_faults_is_told_of_them_again() -> None:
    first_pass, document = FirstPass(), read("invalid-selector-object")
    assert first_pass.faults(document) == first_pass.faults(document) != []
