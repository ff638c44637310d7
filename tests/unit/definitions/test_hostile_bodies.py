"""Bodies that are not what was wanted: each has an outcome, and a reason, and breaks nothing later.

A 2xx whose body is needed and cannot be read is unknown: the effect is there, most probably, and
what it has brought is not. Where nothing of the body is needed, it has landed.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest, Judgement, Outcome, Response
from orchestrator.core.plan import Call, Effects
from orchestrator.definitions import encoding
from orchestrator.definitions.answers import AnswerRules
from orchestrator.definitions.scope import MOST_LEVELS, Exchange, Scope
from orchestrator.store import codec

JSON = "application/json"


def judge(
    body: bytes,
    outputs: dict[str, Any] | None = None,
    *,
    status: int = 200,
    kind: str = JSON,
    location: str | None = None,
    effects: Effects = Effects.KEYED,
) -> Judgement:
    template = {"kind": "http", "outputs": {"id": "$response.body#/id"} | (outputs or {})}
    rules = AnswerRules(Call(label="w.s", api="a", effects=effects, template=template))
    headers = {"content-type": kind} | ({} if location is None else {"location": location})
    exchange = Exchange(
        FrozenRequest(method="POST", target="/"),
        Response(status=status, headers=headers, body=body),
    )
    return rules.judge(Scope(Facts(run_id="r", inputs={}), exchange), exchange)


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """`{"id": [[[…]]]}` with so many arrays and objects inside each other."""
    return b'{"id": ' + opening * (levels - 1) + closing * (levels - 1) + b"}"


UNREADABLE = {
    "nothing": (b"", JSON, "it is empty; wanted JSON"),
    "spaces": (b"  ", JSON, "2 bytes of application/json that are not JSON"),
    "HTML": (b"<html>Sign in</html>", "text/html; charset=utf-8", "20 bytes of text/html that are"),
    "HTML that says it is JSON": (b"<html>", JSON, "6 bytes of application/json that are not JSON"),
    "cut off": (b'{"id": 1', JSON, "8 bytes of application/json that are not JSON"),
    "two values": (b'{"id": 1}{"id": 2}', JSON, "that are not JSON"),
    "a trailing comma": (b'{"id": 1,}', JSON, "that are not JSON"),
    "single quotes": (b"{'id': 1}", JSON, "that are not JSON"),
    "a comment": (b'{"id": 1} // one', JSON, "that are not JSON"),
    "NaN": (b'{"id": NaN}', JSON, "that are not JSON"),
    "Infinity": (b'{"id": Infinity}', JSON, "that are not JSON"),
    "minus Infinity": (b'{"id": -Infinity}', JSON, "that are not JSON"),
    "a number beyond a double": (b'{"id": 1e400}', JSON, "that are not JSON"),
    "a number beyond all digits": (b'{"id": %s}' % (b"9" * 5000), JSON, "that are not JSON"),
    "invalid UTF-8": (b'{"id": "\xff\xfe"}', JSON, "that are not JSON"),
    "Latin-1": ('{"id": "ü"}'.encode("latin-1"), JSON, "that are not JSON"),
    "a control character": (b'{"id": "\x00"}', JSON, "that are not JSON"),
    "100,000 arrays": (nested(100_000), JSON, "that are not JSON"),
    "100,000 objects": (nested(100_000, b'{"a":', b"}"), JSON, "that are not JSON"),
    "open arrays": (b"[" * 100_000, JSON, "that are not JSON"),
    "one array too deep": (nested(MOST_LEVELS + 5), JSON, "that are not JSON"),
    "objects that are too deep": (nested(900, b'{"a":[', b"]}"), JSON, "that are not JSON"),
    "a type that is none": (b"<", "\x1b[2J" + "x" * 500, "1 bytes that are not JSON"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_body_that_cannot_be_read_is_unknown(name: str) -> None:
    body, kind, reason = UNREADABLE[name]
    found = judge(body, kind=kind)
    assert found.outcome is Outcome.UNKNOWN
    assert reason in found.reason
    assert found.reason.startswith("200 OK, but its body cannot be read: ")
    assert found.reason.isprintable()
    assert len(found.reason) < 200


READABLE: dict[str, tuple[bytes, Any]] = {
    "keys that are there twice: the last": (b'{"id": 1, "id": 2}', 2),
    "a number of thirty digits": (b'{"id": %s}' % (b"9" * 30), 10**30 - 1),
    "a number of a thousand decimals": (b'{"id": 0.%s}' % (b"3" * 1000), 1 / 3),
    "a number that is nearly nothing": (b'{"id": 1e-400}', 0.0),
    "minus nothing": (b'{"id": -0}', 0),
    "a lone surrogate": (b'{"id": "\\ud800"}', "\ud800"),
    "NUL": (b'{"id": "a\\u0000b"}', "a\0b"),
    "a byte order mark": (b'\xef\xbb\xbf{"id": 1}', 1),
    "UTF-16": ('{"id": 1}'.encode("utf-16"), 1),
    "a name that is a method": (b'{"id": {"__proto__": {"a": 1}}}', {"__proto__": {"a": 1}}),
    "many levels": (nested(MOST_LEVELS), None),
    "many arrays beside each other": (b'{"id": [%s[]]}' % (b"[]," * 5000), None),
    "many levels and a lone surrogate": (
        nested(200).replace(b"[]", b'["\\ud800"]'),
        None,
    ),
}


@pytest.mark.parametrize("name", READABLE)
def test_a_body_that_can_be_read_can_be_kept_and_sent_on(name: str) -> None:
    body, value = READABLE[name]
    found = judge(body)
    assert found.outcome is Outcome.LANDED
    if value is not None:
        assert found.outputs["id"] == value
    assert codec.load(codec.dump(dict(found.outputs))) == found.outputs
    if "surrogate" not in name:
        assert encoding.json_body(found.outputs["id"])


def test_no_number_becomes_one_that_json_lacks() -> None:
    for body in (b'{"id": 1e400}', b'{"id": -1e400}', b'{"id": [1e309, "\\ud800"]}'):
        found = judge(body).outputs.get("id", 0.0)
        assert isinstance(found, float)
        assert math.isfinite(found)


def test_text_where_text_is_wanted_stays_text_whatever_it_holds() -> None:
    found = judge(b"<p>\xff\0</p>", {"id": "$response.body"}, kind="text/html")
    assert (found.outcome, found.outputs) == (Outcome.LANDED, {"id": "<p>\ufffd\0</p>"})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"message": "a\\u001b[2J\\r\\nb"}', "400 Bad Request: a\ufffd[2J\ufffd\ufffdb"),
        (b'{"message": "a\\u0000b"}', "400 Bad Request: a\ufffdb"),
        (b'{"message": "\\ud800"}', "400 Bad Request: \ufffd"),
        (b'{"message": "a\\u202eb"}', "400 Bad Request: a\ufffdb"),
        (b'{"message": "' + b"a" * 9000 + b'"}', "400 Bad Request: " + "a" * 300),
    ],
)  # fmt: skip
def test_what_an_api_says_is_wrong_is_one_line_of_plain_text(body: bytes, reason: str) -> None:
    assert judge(body, status=400).reason == reason


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://other.example/x?token=s3cret", "to other.example"),
        ("https://me:s3cret@other.example/", "to other.example"),
        ("//other.example/x", "to other.example"),
        ("http://169.254.169.254/latest", "to 169.254.169.254"),
        ("/v2/x?token=s3cret", "elsewhere"),
        ("http://[", "elsewhere"),
        ("http://a\x1bB/", "to a\ufffdb"),
        ("", "elsewhere"),
    ],
)
@pytest.mark.parametrize("effects", [Effects.NONE, Effects.UNKEYED])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_where_it_points_and_no_secret(
    status: int, effects: Effects, location: str, where: str
) -> None:
    """302 and 303 are also how something that was done is answered."""
    found = judge(b"", status=status, location=location, effects=effects)
    perhaps_done = status in (302, 303) and effects is Effects.UNKEYED
    assert found.outcome is (Outcome.UNKNOWN if perhaps_done else Outcome.NOT_LANDED)
    assert not found.retryable
    assert not found.settles_doubt
    assert f"it points {where}, and redirects are not followed; wanted" in found.reason
    assert "s3cret" not in found.reason
