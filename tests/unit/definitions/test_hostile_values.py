"""Values from inputs and answers that would make another request: encoded, or refused by place."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest
from orchestrator.core.plan import Call, Effects, Plan, PlanStep
from orchestrator.core.states import Direction
from orchestrator.definitions.problems import RequestRefused
from orchestrator.definitions.program import Program
from orchestrator.definitions.requests import request_maker
from orchestrator.definitions.scope import Scope

NASTY = {
    "CR LF": "a\r\nX-Admin: 1",
    "LF": "a\nb",
    "CR": "a\rb",
    "NUL": "a\0b",
    "a vertical tab": "a\x0bb",
    "delete": "a\x7fb",
    "a line separator": "a\u2028b",
    "beyond Latin-1": "€",
    "an emoji": "😀",
}


def make(value: Any, **template: Any) -> FrozenRequest:
    given = {"kind": "http", "method": "POST", "path": "/t", **template}
    call = Call(label="w.s", api="a", effects=Effects.UNKEYED, template=given)
    return request_maker(call).make(Scope(Facts(run_id="r", inputs={"value": value})), "KEY")


def placed(place: str, value: Any, **template: Any) -> FrozenRequest:
    parameter = {"name": "p", "in": place, "value": "$inputs.value"}
    return make(value, parameters=[parameter], **template)


def refused(place: str, value: Any, **template: Any) -> str:
    with pytest.raises(RequestRefused) as caught:
        placed(place, value, **template)
    (problem,) = caught.value.problems
    assert problem.place
    assert problem.wanted
    assert str(problem).isprintable()
    return str(problem)


@pytest.mark.parametrize("name", NASTY)
def test_in_a_header_it_is_refused(name: str) -> None:
    assert "header parameter p" in refused("header", NASTY[name])


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("place", ["path", "query", "cookie"])
def test_elsewhere_it_is_encoded(place: str, name: str) -> None:
    request = placed(place, NASTY[name], path="/t/{p}" if place == "path" else "/t")
    text = request.target + "".join(f"{name}: {value}" for name, value in request.headers)
    assert text.isascii()
    assert text.isprintable()
    assert "%" in text


@pytest.mark.parametrize(
    ("value", "cookie"), [("a; admin=1", "p=a%3B%20admin%3D1"), ('",\\', "p=%22%2C%5C")]
)
def test_a_cookie_is_one_cookie(value: str, cookie: str) -> None:
    assert placed("cookie", value).headers == (("Cookie", cookie),)


@pytest.mark.parametrize(
    ("value", "query"),
    [
        ("a&admin=1", "p=a%26admin%3D1"), ("a#b", "p=a%23b"), ("a;b", "p=a%3Bb"),
        ("a%26b", "p=a%2526b"), ("a+b", "p=a%2Bb"), ("a?b", "p=a%3Fb"),
    ],
)  # fmt: skip
def test_a_query_parameter_is_one_parameter(value: str, query: str) -> None:
    assert placed("query", value).target == f"/t?{query}"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a/b", "/t/a%2Fb"), ("a?b=c", "/t/a%3Fb%3Dc"), ("a#b", "/t/a%23b"), ("a;b", "/t/a%3Bb"),
        ("%2e%2e", "/t/%252e%252e"), ("..%2f", "/t/..%252f"), ("...", "/t/..."), ("..a", "/t/..a"),
        ("http://evil.example", "/t/http%3A%2F%2Fevil.example"), ("@evil", "/t/%40evil"),
    ],
)  # fmt: skip
def test_a_path_parameter_is_one_segment(value: str, path: str) -> None:
    assert placed("path", value, path="/t/{p}").target == path


@pytest.mark.parametrize(
    "value",
    [
        "", ".", "..", "../x", "x/..", "a/../b", "..\\x", "x\\..", "a/./b", "../../etc/passwd",
        ["..", "../x"], ["."],
    ],
)  # fmt: skip
def test_a_path_parameter_leads_nowhere_else(value: Any) -> None:
    """Also behind an encoded slash: there are servers that decode before they look."""
    assert "path parameter p" in refused("path", value, path="/t/{p}")


@pytest.mark.parametrize("path", ["/t/.{p}/x", "/t/{p}./x", "/t/{p}{p}", "/t/.{p}"])
def test_nor_do_parts_of_a_segment_together(path: str) -> None:
    with pytest.raises(RequestRefused):
        placed("path", ".", path=path)


def test_a_templates_own_text_is_encoded_and_keeps_what_it_means() -> None:
    path = "/a b/ü/c%20d/{p}:verb/~x/(y)"
    assert placed("path", "1", path=path).target == "/a%20b/%C3%BC/c%20d/1:verb/~x/(y)"


def form(payload: Any) -> bytes:
    body = {"contentType": "application/x-www-form-urlencoded", "payload": "$inputs.value"}
    return make(payload, requestBody=body).body


def test_a_field_of_a_form_is_one_field() -> None:
    assert form({"a": "1&admin=1", "b&c=d": "2"}) == b"a=1%26admin%3D1&b%26c%3Dd=2"


@pytest.mark.parametrize("key", ["a][admin", "a]", "[a", "[]"])
def test_a_key_from_elsewhere_cannot_leave_its_object(key: str) -> None:
    with pytest.raises(RequestRefused, match=r"keys without \[ and \] in a form"):
        form({"metadata": {key: "1"}})
    query = {"name": "p", "in": "query", "value": "$inputs.value", "style": "deepObject"}
    with pytest.raises(RequestRefused, match=r"keys without \[ and \] in a form"):
        make({key: 1}, parameters=[query])


@pytest.mark.parametrize("place", ["path", "query", "header", "cookie"])
def test_half_a_surrogate_pair_is_refused_by_its_place(place: str) -> None:
    parameter = {"name": "p", "in": place, "value": "$inputs.value"}
    template = {
        "kind": "http", "method": "POST", "path": "/t/{p}" if place == "path" else "/t",
        "parameters": [parameter],
    }  # fmt: skip
    call = Call(label="w.s", api="a", effects=Effects.UNKEYED, template=template)
    assert f"{place} parameter p" in _refused_by_a_program(call)


def test_half_a_surrogate_pair_in_a_body_is_refused() -> None:
    template = {
        "kind": "http", "method": "POST", "path": "/t",
        "requestBody": {"contentType": "application/json", "payload": ["$inputs.value"]},
    }  # fmt: skip
    call = Call(label="w.s", api="a", effects=Effects.UNKEYED, template=template)
    assert "a lone surrogate" in _refused_by_a_program(call)


def _refused_by_a_program(call: Call) -> str:
    plan = Plan(workflow="w", steps=(PlanStep(id="s", call=call),))
    facts = Facts(run_id="r", inputs={"value": "\ud800"})
    with pytest.raises(RequestRefused) as caught:
        Program(plan).prepare(0, Direction.FORWARD, facts)
    text = str(caught.value.problems[0])
    assert text.isprintable()
    return text
