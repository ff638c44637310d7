"""What an API answers is data: it chooses no operation, no workflow, no step and no address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.exchange import Facts
from orchestrator.core.plan import Call, Effects
from orchestrator.definitions.problems import RequestRefused
from orchestrator.definitions.requests import request_maker
from orchestrator.definitions.scope import Scope
from orchestrator.errors import Problem
from tests.unit.definitions.small_api import GET

Problems = Callable[..., list[Problem]]
ANSWERED = GET + ", outputs: {next: $response.body}}\n"
SAID = "$steps.a.outputs.next"


@pytest.mark.parametrize(
    ("step", "place"),
    [
        (f"operationId: {SAID}", "/operationId"),
        (f"operationPath: '{SAID}#/paths/~1things/get'", "/operationPath"),
        (f"workflowId: {SAID}", "/workflowId"),
        (f"operationId: getThing, onSuccess: [{{name: g, type: goto, stepId: {SAID}}}]", "/stepId"),
        (
            f"operationId: getThing, onFailure: [{{name: g, type: goto, workflowId: {SAID}}}]",
            "/workflowId",
        ),
    ],
)
def test_no_answer_says_what_comes_next(problems: Problems, step: str, place: str) -> None:
    """Targets are names, not expressions: a document that would ask an answer is refused."""
    found = problems(ANSWERED + f"      - {{stepId: b, {step}}}")
    assert any(each.place.endswith(f"{place})") and SAID in each.found for each in found), found


PLACES: dict[str, dict[str, Any]] = {
    "path": {"path": "/t/{p}/end", "parameters": [{"name": "p", "in": "path", "value": SAID}]},
    "query": {"path": "/t", "parameters": [{"name": "p", "in": "query", "value": SAID}]},
    "header": {"path": "/t", "parameters": [{"name": "p", "in": "header", "value": SAID}]},
    "cookie": {"path": "/t", "parameters": [{"name": "p", "in": "cookie", "value": SAID}]},
    "body": {"path": "/t", "body": {"contentType": "application/json", "payload": {"p": SAID}}},
}
HOSTILE = ["https://evil.example/", "//evil.example", "../../admin", "DELETE", "?x=1#", "a/b", "@h"]


@pytest.mark.parametrize("place", PLACES)
@given(answer=st.one_of(st.sampled_from(HOSTILE), st.text()))
def test_no_answer_changes_where_a_request_goes(place: str, answer: str) -> None:
    template = {"kind": "http", "method": "POST", "baseUrl": "https://api.example"}
    call = Call(
        label="w.b", api="a", effects=Effects.UNKEYED, template={**template, **PLACES[place]}
    )
    facts = Facts(run_id="r", inputs={}, outputs={"a": {"next": answer}})
    try:
        request = request_maker(call).make(Scope(facts), "KEY")
    except RequestRefused:
        return  # nothing leaves
    path = request.target.partition("?")[0]
    assert request.method == "POST"
    assert path.startswith("/t")
    assert path.count("/") == PLACES[place]["path"].count("/")
    names = {name.lower() for name, _ in request.headers}
    assert not names & {"host", ":authority", "transfer-encoding", "content-length"}
