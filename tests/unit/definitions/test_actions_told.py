"""Which action a run followed, and which criterion did not hold, as its audit tells it."""

from __future__ import annotations

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest, Response
from orchestrator.core.states import Direction
from orchestrator.definitions.program import Program
from tests.unit.definitions.conftest import Write
from tests.unit.definitions.playing import play
from tests.unit.definitions.test_control_flow import answering, get, make, one, workflow

RETRY = "{name: again, type: retry, retryLimit: 1}"


def test_each_action_that_was_followed_is_told(write: Write) -> None:
    plan = one(write(workflow(
        "w",
        get("a", "no", f"onFailure: [{RETRY}, {{name: out, type: goto, stepId: c}}]"),
        get("b"),
        get("c", "c", "onSuccess: [{name: done, type: end}]"),
    )))  # fmt: skip
    assert play(plan, answering(no=404)).actions == [
        "a: failure retry again", "a: failure goto out c", "c: success end done",
    ]  # fmt: skip
    assert play(plan, answering(no=[404])).actions == [
        "a: failure retry again",
        "c: success end done",
    ]


def test_an_end_in_failure_is_told_and_what_nobody_asked_for_is_not(write: Write) -> None:
    ends = get("b", "no", "onFailure: [{name: enough, type: end}]")
    assert play(one(write(workflow("w", make("a"), ends))), answering(no=404)).actions == [
        "b: failure end enough"
    ]
    silent = play(one(write(workflow("w", make("a"), get("b", "no")))), answering(no=404))
    assert (silent.visits, silent.actions) == (["a", "b", "a'"], [])


def test_a_retry_of_the_engine_itself_is_nobodys_action(write: Write) -> None:
    out = "onFailure: [{name: out, type: goto, stepId: c}]"
    plan = one(write(workflow("w", get("a", "busy", out), get("b"), get("c"))))
    played = play(plan, answering(busy=503))
    assert (set(played.visits), played.actions) == ({"a", "c"}, ["a: failure goto out c"])


def test_a_retry_that_leads_through_a_step_is_told_with_it(write: Write) -> None:
    retry = "onFailure: [{name: login, type: retry, retryLimit: 1, stepId: a}]"
    plan = one(write(workflow("w", get("a"), get("b", "who", retry))))
    assert play(plan, answering(who=[401])).actions == ["b: failure retry login a"]


def test_a_way_that_is_used_up_is_not_told(write: Write) -> None:
    retry = "{name: login, type: retry, retryLimit: 1, stepId: a}"
    ways = f"onFailure: [{retry}, {{name: other, type: goto, stepId: c}}]"
    plan = one(write(workflow("w", get("a"), get("b", "who", ways), get("c"))))
    assert play(plan, answering(who=401)).actions == [
        "b: failure retry login a",
        "b: failure goto other c",
    ]


@pytest.mark.parametrize(
    ("criterion", "told"),
    [
        ("condition: $response.body#/name == 'x'", "not $response.body#/name == 'x'"),
        ("type: regex, context: $response.body#/name, condition: ^x$",
         "not regex ^x$ of $response.body#/name"),
        ("type: jsonpath, context: $response.body, condition: '$[?@.name == ''x'']'",
         "not jsonpath $[?@.name == 'x'] of $response.body"),
        ("type: xpath, context: $response.body, condition: //x",
         "not xpath //x of $response.body"),
    ],
)  # fmt: skip
def test_the_criterion_that_did_not_hold_is_told_with_its_kind(
    write: Write, criterion: str, told: str
) -> None:
    plan = one(write(workflow("w", get("a", "1", f"successCriteria: [{{{criterion}}}]"))))
    program, facts = Program(plan), Facts(run_id="r", inputs={})
    request = program.prepare(0, Direction.FORWARD, facts)
    assert isinstance(request, FrozenRequest)
    body = b"<y/>" if "xpath" in criterion else b'{"name": "y"}'
    media = "application/xml" if "xpath" in criterion else "application/json"
    judgement = program.judge(
        0, Direction.FORWARD, facts, request,
        Response(status=200, headers={"content-type": media}, body=body),
    )  # fmt: skip
    assert judgement.reason.endswith(told)
