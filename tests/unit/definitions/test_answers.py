"""What answers mean: landed, not landed, unknown."""

from typing import Any

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest, Judgement, Outcome, Response
from orchestrator.core.plan import Call, Effects
from orchestrator.definitions.answers import AnswerRules
from orchestrator.definitions.scope import Exchange, Scope

LANDED, NOT_LANDED, UNKNOWN = Outcome.LANDED, Outcome.NOT_LANDED, Outcome.UNKNOWN


def judge(
    status: int,
    body: bytes = b"{}",
    *,
    effects: Effects = Effects.KEYED,
    headers: dict[str, str] | None = None,
    verify: bool = False,
    **template: Any,
) -> Judgement:
    call = Call(label="w.s", api="a", effects=effects, template={"kind": "http", **template})
    rules = AnswerRules(call)
    exchange = Exchange(
        FrozenRequest(method="POST", target="/"),
        Response(status=status, headers=headers or {}, body=body),
    )
    scope = Scope(Facts(run_id="r", inputs={}), exchange)
    return rules.judge_verification(scope, exchange) if verify else rules.judge(scope, exchange)


def criteria(*conditions: str) -> list[dict[str, str]]:
    return [{"condition": condition} for condition in conditions]


@pytest.mark.parametrize(
    ("status", "effects", "outcome", "retryable", "settles"),
    [
        (200, Effects.KEYED, LANDED, False, False),
        (204, Effects.NONE, LANDED, False, False),
        (300, Effects.KEYED, NOT_LANDED, False, False),
        (301, Effects.KEYED, NOT_LANDED, False, False),
        (302, Effects.KEYED, UNKNOWN, False, False),
        (302, Effects.NONE, NOT_LANDED, False, False),
        (303, Effects.UNKEYED, UNKNOWN, False, False),
        (303, Effects.NONE, NOT_LANDED, False, False),
        (307, Effects.UNKEYED, NOT_LANDED, False, False),
        (308, Effects.KEYED, NOT_LANDED, False, False),
        (400, Effects.KEYED, NOT_LANDED, False, True),
        (401, Effects.KEYED, NOT_LANDED, False, False),
        (403, Effects.KEYED, NOT_LANDED, False, False),
        (404, Effects.KEYED, NOT_LANDED, False, True),
        (407, Effects.KEYED, NOT_LANDED, False, False),
        (408, Effects.UNKEYED, NOT_LANDED, True, False),
        (409, Effects.KEYED, NOT_LANDED, False, False),
        (422, Effects.KEYED, NOT_LANDED, False, True),
        (425, Effects.KEYED, NOT_LANDED, True, False),
        (429, Effects.KEYED, NOT_LANDED, True, False),
        (500, Effects.KEYED, UNKNOWN, False, False),
        (500, Effects.UNKEYED, UNKNOWN, False, False),
        (500, Effects.NONE, NOT_LANDED, True, False),
        (503, Effects.UNKEYED, NOT_LANDED, True, False),
        (504, Effects.UNKEYED, UNKNOWN, False, False),
        (599, Effects.NONE, NOT_LANDED, True, False),
        (999, Effects.NONE, NOT_LANDED, True, False),
        (999, Effects.KEYED, UNKNOWN, False, False),
    ],
)
def test_without_criteria_the_status_decides(
    status: int, effects: Effects, outcome: Outcome, *, retryable: bool, settles: bool
) -> None:
    found = judge(status, effects=effects)
    assert (found.outcome, found.retryable, found.settles_doubt) == (outcome, retryable, settles)


def test_criteria_have_the_last_word_on_every_status() -> None:
    refunded = criteria('$statusCode == 200 || $response.body#/code == "refunded"')
    assert judge(400, b'{"code": "refunded"}', successCriteria=refunded).outcome is LANDED
    assert judge(400, b'{"code": "other"}', successCriteria=refunded).outcome is NOT_LANDED


def test_an_effect_that_is_not_as_wanted_has_landed() -> None:
    found = judge(
        200, b'{"id": "c", "status": "failed"}', outputs={"id": "$response.body#/id"},
        successCriteria=criteria("$statusCode == 200", "$response.body#/status != 'failed'"),
    )  # fmt: skip
    assert (found.outcome, found.accepted, found.outputs) == (LANDED, False, {"id": "c"})
    assert "$response.body#/status != 'failed'" in found.reason


def test_a_question_whose_answer_is_not_as_wanted_has_no_effect() -> None:
    wanted = criteria("$response.body#/state == 'ready'")
    again = [{"retryLimit": 5, "retryAfter": 2.5}]
    asked = {"effects": Effects.NONE, "successCriteria": wanted}
    assert judge(200, b'{"state": "no"}', **asked).retryable is False
    polled = judge(200, b'{"state": "no"}', onFailure=again, **asked)
    assert (polled.outcome, polled.retryable) == (NOT_LANDED, True)
    assert polled.retry_after_seconds == 2.5


def test_already_done() -> None:
    done = [{"status": 412, "outputs": {"etag": '"{$response.body#/details/existing/v}"'}}]
    outputs = {"etag": "$response.header.ETag", "who": "$response.body#/who"}
    found = judge(
        412, b'{"details": {"existing": {"v": 7}}, "who": "us"}', alreadyDone=done, outputs=outputs
    )
    assert (found.outcome, found.outputs) == (LANDED, {"etag": '"7"', "who": "us"})
    assert judge(201, headers={"etag": '"6"'}, alreadyDone=done, outputs=outputs).outputs == {
        "etag": '"6"'
    }


def test_already_done_by_somebody_else_does_not_settle_a_doubt() -> None:
    ours = criteria('$statusCode == 201 || $response.body#/by == "us"')
    done = [{"status": 412}]
    assert judge(412, b'{"by": "us"}', alreadyDone=done, successCriteria=ours).outcome is LANDED
    other = judge(412, b'{"by": "them"}', alreadyDone=done, successCriteria=ours)
    assert (other.outcome, other.settles_doubt) == (NOT_LANDED, False)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id": ', b"\xff\xfe", b"NaN"])
def test_a_success_that_cannot_be_read_is_unknown(body: bytes) -> None:
    assert judge(200, body, outputs={"id": "$response.body#/id"}).outcome is UNKNOWN
    assert judge(200, body, successCriteria=criteria("$response.body#/a == 1")).outcome is UNKNOWN
    assert judge(200, body).outcome is LANDED  # nothing of it is needed


def test_outputs_that_lead_nowhere_are_left_out() -> None:
    outputs = {"id": "$response.body#/id", "all": "$response.body", "tag": "$response.header.ETag"}
    found = judge(200, b'{"a": 1}', outputs=outputs)
    assert (found.outcome, found.outputs) == (LANDED, {"all": {"a": 1}})


def test_text_answers_are_text() -> None:
    found = judge(
        200, b"hello", headers={"content-type": "text/plain"}, outputs={"all": "$response.body"}
    )
    assert found.outputs == {"all": "hello"}


def test_retry_actions_decide_what_is_tried_again() -> None:
    actions = [
        {"retryLimit": 2, "retryAfter": 0.5, "criteria": criteria("$statusCode >= 500")},
        {"retryLimit": 3, "retryAfter": 9.0, "criteria": criteria("$statusCode == 404")},
    ]
    assert judge(429, onFailure=actions).retryable is False
    found = judge(404, onFailure=actions)
    assert (found.retryable, found.retry_after_seconds) == (True, 9.0)
    assert judge(503, onFailure=actions, headers={"retry-after": "4"}).retry_after_seconds == 4
    assert judge(500, onFailure=actions).outcome is UNKNOWN
    assert judge(500, onFailure=actions, effects=Effects.NONE).retryable is True


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, 1e9),
        ({}, None),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:59:29 GMT"},
         30),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:29 GMT", "date": "Fri, 31 Dec 1999 23:59:59 GMT"},
         0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:29 GMT"}, None),
        ({"retry-after": "Fri, 99 Dec 1999", "date": "x"}, None),
    ],
)  # fmt: skip
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert judge(429, headers=headers).retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b'{"id": "c"}', LANDED),
        (404, b"{}", NOT_LANDED),
        (410, b"", NOT_LANDED),
        (200, b"{}", NOT_LANDED),
        (400, b"{}", UNKNOWN),
        (401, b"{}", UNKNOWN),
        (429, b"{}", UNKNOWN),
        (500, b"{}", UNKNOWN),
        (200, b"<", UNKNOWN),
    ],
)
def test_verification(status: int, body: bytes, outcome: Outcome) -> None:
    found = judge(
        status, body, verify=True, effects=Effects.NONE, outputs={"id": "$response.body#/id"},
        successCriteria=criteria("$statusCode == 200", "$response.body#/id == 'c'"),
    )  # fmt: skip
    assert found.outcome is outcome
    if outcome is NOT_LANDED:
        assert found.retryable
        assert found.settles_doubt


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error": {"code": "card_declined", "message": "no"}}',
         "402 Payment Required: card_declined: no"),
        (b'{"error": "Bad", "message": "missing x"}', "402 Payment Required: missing x: Bad"),
        (b'{"title": "Nope", "detail": "Because"}', "402 Payment Required: Because: Nope"),
        (b'{"error": [1]}', "402 Payment Required"),
        (b"<html>", "402 Payment Required"),
        (b'["x"]', "402 Payment Required"),
    ],
)  # fmt: skip
def test_reasons_are_for_people(body: bytes, reason: str) -> None:
    assert judge(402, body).reason == reason


def test_a_function_returns_its_outputs() -> None:
    assert judge(200, b'{"total": 5}', resultIsOutputs=True).outputs == {"total": 5}
    assert judge(200, b"null", resultIsOutputs=True).outputs == {}
    for nothing in (b"null", b"{}"):
        assert judge(200, nothing, resultIsOutputs=True, verify=True).outcome is NOT_LANDED
