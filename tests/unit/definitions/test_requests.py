"""What is sent: encoded for its place, or refused."""

from typing import Any

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest
from orchestrator.core.plan import Call, Effects
from orchestrator.definitions.problems import RequestRefused
from orchestrator.definitions.requests import request_maker
from orchestrator.definitions.scope import Scope


def make(inputs: dict[str, Any] | None = None, **template: Any) -> FrozenRequest:
    given = {"kind": "http", "method": "POST", "path": "/t", **template}
    call = Call(label="w.s", api="a", effects=Effects.UNKEYED, template=given)
    return request_maker(call).make(Scope(Facts(run_id="r", inputs=inputs or {})), "KEY")


def parameter(name: str, place: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "value": value, **more}


def path(value: Any) -> str:
    return make(path="/a/{id}/b", parameters=[parameter("id", "path", value)]).target


def query(value: Any, **more: Any) -> str:
    return make(parameters=[parameter("q", "query", value, **more)]).target


def header(value: Any) -> str:
    return make(parameters=[parameter("X-A", "header", value)]).headers[0][1]


def form(payload: Any, **more: Any) -> str:
    body = {"contentType": "application/x-www-form-urlencoded", "payload": payload, **more}
    return make(requestBody=body).body.decode()


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("x", "/a/x/b"),
        (7, "/a/7/b"),
        (True, "/a/true/b"),
        ("a/b?c#d%e f", "/a/a%2Fb%3Fc%23d%25e%20f/b"),
        ("ü", "/a/%C3%BC/b"),
        ("..x", "/a/..x/b"),
        ("a\r\nb", "/a/a%0D%0Ab/b"),
        (["a", "b,c"], "/a/a,b%2Cc/b"),
    ],
)
def test_a_path_segment_cannot_leave_its_place(value: Any, target: str) -> None:
    assert path(value) == target


@pytest.mark.parametrize(
    "value", ["", ".", "..", None, {"a": [1]}, "$inputs.gone", [None], {}, {"a": ".."}]
)
def test_no_segment_leads_elsewhere(value: Any) -> None:
    with pytest.raises(RequestRefused) as caught:
        path(value)
    assert "path parameter id" in caught.value.problems[0].place


@pytest.mark.parametrize(
    ("value", "more", "target"),
    [
        ("a&b=c d+e", {}, "/t?q=a%26b%3Dc%20d%2Be"),
        (["a", "b"], {}, "/t?q=a&q=b"),
        (["a", "b,c"], {"explode": False}, "/t?q=a,b%2Cc"),
        ({"a": 1, "b": {"c": [True]}}, {"style": "deepObject"}, "/t?q[a]=1&q[b][c][0]=true"),
        ({"a": 1, "b": None, "c": "d e"}, {}, "/t?a=1&c=d%20e"),
        ({"a": 1, "c": "d,e"}, {"explode": False}, "/t?q=a,1,c,d%2Ce"),
        (["a", "b"], {"style": "pipeDelimited", "explode": False}, "/t?q=a%7Cb"),
        (["a", "b"], {"style": "tabDelimited", "explode": False}, "/t?q=a%09b"),
        (["a", "b"], {"style": "spaceDelimited"}, "/t?q=a&q=b"),
        ("a/b?c&d#e", {"allowReserved": True}, "/t?q=a/b?c%26d%23e"),
        ({"a": [1]}, {"content": "application/json"}, "/t?q=%7B%22a%22%3A%5B1%5D%7D"),
        ([], {"explode": False}, "/t"),
        (None, {}, "/t"),
        ("$inputs.gone", {}, "/t"),
        ([], {}, "/t"),
        (0, {}, "/t?q=0"),
    ],
)
def test_query(value: Any, more: dict[str, Any], target: str) -> None:
    assert query(value, **more) == target


def test_what_parts_values_cannot_stand_in_one() -> None:
    assert query(["a|b", "c"], style="spaceDelimited", explode=False) == "/t?q=a%7Cb%20c"
    with pytest.raises(RequestRefused):
        query(["a|b", "c"], style="pipeDelimited", explode=False)
    with pytest.raises(RequestRefused):
        query({"a": {"b": 1}})


def test_headers() -> None:
    assert header("*") == "*"
    assert header(' "12" ') == '"12"'
    assert header(["a", 1]) == "a, 1"
    assert header({"a": 1}) == "a, 1"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "€", {"a": {"b": 1}}])
def test_a_header_cannot_be_split(value: Any) -> None:
    with pytest.raises(RequestRefused) as caught:
        header(value)
    assert "header parameter X-A" in caught.value.problems[0].place


def test_cookies_and_the_key() -> None:
    request = make(
        parameters=[parameter("a", "cookie", "x;y"), parameter("b", "cookie", 1)],
        idempotencyHeader="Idempotency-Key",
    )
    assert request.headers == (("Cookie", "a=x%3By; b=1"), ("Idempotency-Key", "KEY"))
    assert request.key == "KEY"


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        ({"a": 1, "b": True, "c": "x y&z"}, "a=1&b=true&c=x%20y%26z"),
        ({"metadata": {"order": "o1", "n": 2}}, "metadata[order]=o1&metadata[n]=2"),
        ({"expand": ["a", "b"]}, "expand=a&expand=b"),
        ({"items": [{"price": "p", "q": 1}, {"price": "r"}]},
         "items[0][price]=p&items[0][q]=1&items[1][price]=r"),
        ({"gone": None, "empty": "", "id": "$inputs.gone"}, "empty="),
        ({"f": 1.50}, "f=1.5"),
    ],
)  # fmt: skip
def test_forms(payload: Any, body: str) -> None:
    assert form(payload) == body


def test_fields_that_the_document_declares_deep() -> None:
    assert form({"expand": ["a", "b"]}, deep=["expand"]) == "expand[0]=a&expand[1]=b"


def test_json_keeps_types_and_text() -> None:
    body = {"contentType": "application/json", "payload": {"id": "$inputs.id", "ü": [1, None]}}
    request = make({"id": 5}, requestBody=body)
    assert request.body == '{"id":5,"ü":[1,null]}'.encode()
    assert request.headers == (("Content-Type", "application/json"),)


def test_a_function_gets_its_arguments_as_json() -> None:
    call = Call(
        label="w.s", api="tasks", effects=Effects.NONE, task_name="tasks.a.price",
        template={"kind": "task", "arguments": {"n": "$inputs.n", "note": "$inputs.note"}},
    )  # fmt: skip
    request = request_maker(call).make(Scope(Facts(run_id="r", inputs={"n": 2})), "KEY")
    assert (request.method, request.target) == ("TASK", "tasks.a.price")
    assert (request.body, request.key) == (b'{"n":2}', "KEY")
