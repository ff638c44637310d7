"""Simple conditions: what holds, what does not, what cannot be read."""

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest, Response
from orchestrator.definitions.conditions import parse_condition
from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.scope import Exchange, Scope, UnreadableBody

BODY = b"""{"error": {"code": "charge_already_refunded"}, "n": 1.5, "zero": 0,
"big": 9007199254740993, "ok": true, "no": false, "nothing": null,
"list": [1, {"a": "x"}], "text": "Ab", "digits": "12"}"""


def holds(condition: str, *, status: int = 200, body: bytes = BODY) -> bool:
    response = Response(status=status, headers={"x-count": "7"}, body=body)
    request = FrozenRequest(method="PUT", target="/a?q=1", headers=(("X-A", "b"),), body=b'{"k":2}')
    facts = Facts(run_id="r", inputs={"a": 1, "n": None}, outputs={"s": {"o": "v"}})
    return parse_condition(condition).holds(Scope(facts, Exchange(request, response)))


@pytest.mark.parametrize(
    "condition",
    [
        "$statusCode == 200",
        "$statusCode == 201 || $statusCode == 200",
        "$statusCode >= 200 && $statusCode < 300",
        "!($statusCode != 200)",
        "!!($statusCode == 200)",
        "$statusCode == 500 || $statusCode == 200 && $inputs.a == 1",
        "$response.body#/error/code == 'charge_already_refunded'",
        '$response.body#/error/code == "charge_already_refunded"',
        "$response.body#/n == 1.5",
        "$response.body#/n > 1",
        "$response.body#/zero == 0.0",
        "$response.body#/big == 9007199254740993",
        "$response.body#/big != 9007199254740992",
        "$response.body#/ok",
        "!$response.body#/no",
        "!$response.body#/nothing",
        "$response.body#/nothing == null",
        "$response.body#/missing == null",
        "!$response.body#/missing",
        '$response.body#/missing != "failed"',
        "$response.body#/text == 'aB'",
        "$response.body#/text == 'AB' && $response.body.text == 'ab'",
        "$response.body#/list/1/a == 'x'",
        "$response.body.list[1].a == 'x'",
        "$response.body#/digits == 12",
        "$response.header.X-Count > 5",
        "$request.body#/k == 2",
        "$request.header.x-a == 'b'",
        "$request.query.q == 1",
        "$method == 'PUT'",
        "$steps.s.outputs.o == 'v'",
        "$response.body#/text == 'it''s' || true",
        "  true  ",
    ],
)
def test_holds(condition: str) -> None:
    assert holds(condition)


@pytest.mark.parametrize(
    "condition",
    [
        "$statusCode == 201",
        "$response.body#/ok == 1",
        "$response.body#/no == 0",
        "$response.body#/text < 5",
        "$response.body#/missing > 0",
        "$response.body#/missing < 0",
        "$response.body#/list > 0",
        "$inputs.b",
        "$steps.other.outputs.o == 'v'",
        "true && false || false",
        "(true || true) && false",
    ],
)
def test_does_not_hold(condition: str) -> None:
    assert not holds(condition)


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("", "the end"),
        ("$statusCode ==", "the end"),
        ("$statusCode = 200", "'= 200'"),
        ("$statusCode == 200)", "')'"),
        ("($statusCode == 200", "the end"),
        ("$statusCode 200", "'200'"),
        ("== 200", "'=='"),
        ("$status == 200", "'$status'"),
        ("$response.body#name == 1", "'$response.body#name'"),
        ("$response.body#/a~2 == 1", "'$response.body#/a~2'"),
        ("name == 'x'", "\"name == 'x'\""),
        ("$statusCode == 1e999", "1e999"),
        ("'open", '"\'open"'),
        ("(" * 60 + "true" + ")" * 60, None),
        ("!" * 60 + "true", None),
        ("true || " * 1000 + "true", "a condition of"),
    ],
)
def test_says_what_it_found_and_wants(condition: str, found: str | None) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_condition(condition)
    assert caught.value.wanted
    assert found is None or found in caught.value.found


def test_an_unreadable_body_matters_only_where_it_is_needed() -> None:
    assert holds("$statusCode == 200 || $response.body#/a == 1", body=b"<html>")
    with pytest.raises(UnreadableBody):
        holds("$statusCode == 201 || $response.body#/a == 1", body=b"<html>")
    with pytest.raises(UnreadableBody):
        holds("$response.body#/a == 1", body=b"")
    assert not holds("$response.body#/a == 1", body=b"", status=204)
    assert not holds("$response.body#/a == 1", body=b"<html>", status=502)


@pytest.mark.parametrize(
    ("condition", "may"),
    [
        ("$statusCode == 201", False),
        ("$statusCode == 201 || $statusCode == 412", True),
        ("$statusCode == 201 || $response.body#/x == 1", True),
        ("$statusCode == 201 && $response.body#/x == 1", False),
        ("!($statusCode == 412)", False),
        ("$statusCode < 500", True),
        ("false", False),
    ],
)
def test_knows_whether_a_status_can_succeed(condition: str, *, may: bool) -> None:
    assert parse_condition(condition).may_hold_for(412) is may
