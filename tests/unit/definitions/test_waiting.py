"""Steps that ask and wait: in documents, in Python, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest, Outcome, Response
from orchestrator.core.plan import Effects, Plan
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.core.retry import NO_RETRY
from orchestrator.core.states import Direction
from orchestrator.definitions.authoring import Workflow
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.program import Program
from orchestrator.errors import InvalidDefinition, InvalidInput, Problem
from tests.unit.definitions.small_api import GET, HEAD

PEOPLE = HEAD.replace(
    "workflows:\n", "  - {name: people, url: 'waits:', type: openapi}\nworkflows:\n"
)
JSON = {"content-type": "application/json"}


def asks(operation: str, payload: str, more: str = "") -> str:
    return (
        f"      - {{stepId: ask, operationId: $sourceDescriptions.people.{operation},"
        f" requestBody: {{payload: {payload}}}{more}}}\n"
    )


def test_a_document_waits_for_a_signal(plan: Callable[..., Plan]) -> None:
    found = plan(asks("signal", "{signal: paid, timeout: 60}"), head=PEOPLE)
    (step,) = found.steps
    assert (found.waits, step.call.is_wait, step.call.effects, step.call.retry) == (
        True, True, Effects.NONE, NO_RETRY,
    )  # fmt: skip
    request = Program(found).prepare(0, Direction.FORWARD, Facts(run_id="r", inputs={}))
    assert isinstance(request, FrozenRequest)
    assert (request.method, request.target, request.body) == (
        "WAIT", "signal", b'{"signal":"paid","timeout":60}',
    )  # fmt: skip


def test_a_later_step_uses_what_was_answered(plan: Callable[..., Plan]) -> None:
    later = GET.replace("$inputs.id", "$steps.ask.outputs.id") + "}"
    plan(asks("signal", "{signal: paid}") + later, head=PEOPLE)
    named = ", outputs: {id: $response.body#/order/id}"
    plan(asks("signal", "{signal: paid}", named) + later, head=PEOPLE)


def test_an_approval_gives_what_was_decided(problems: Callable[..., list[Problem]]) -> None:
    later = GET.replace("$inputs.id", "$steps.ask.outputs.who") + "}"
    (problem,) = problems(asks("approval", "{message: go?}") + later, head=PEOPLE)
    assert "at, by, data, decision, reason, via" in problem.wanted


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (200, Outcome.LANDED, "200 OK"),
        (403, Outcome.NOT_LANDED, "403 Forbidden: rejected by ada: no"),
        (408, Outcome.NOT_LANDED, "408 Request Timeout: rejected by ada: no"),
    ],
)
def test_an_answer_is_judged_as_any_other(
    plan: Callable[..., Plan], status: int, outcome: Outcome, reason: str
) -> None:
    found = Program(plan(asks("approval", "{message: go?}"), head=PEOPLE))
    facts = Facts(run_id="r", inputs={})
    request = found.prepare(0, Direction.FORWARD, facts)
    assert isinstance(request, FrozenRequest)
    body = b'{"decision": "x", "message": "rejected by ada: no"}'
    response = Response(status=status, headers=JSON, body=body)
    judgement = found.judge(0, Direction.FORWARD, facts, request, response)
    assert (judgement.outcome, judgement.reason) == (outcome, reason)


def test_a_rejection_may_be_an_answer_like_another(plan: Callable[..., Plan]) -> None:
    either = ", successCriteria: [{condition: $statusCode == 200 || $statusCode == 403}]"
    found = Program(plan(asks("approval", "{message: go?}", either), head=PEOPLE))
    facts = Facts(run_id="r", inputs={})
    request = found.prepare(0, Direction.FORWARD, facts)
    assert isinstance(request, FrozenRequest)
    response = Response(status=403, headers=JSON, body=b'{"decision": "rejected"}')
    judgement = found.judge(0, Direction.FORWARD, facts, request, response)
    assert (judgement.outcome, judgement.outputs) == (Outcome.LANDED, {"decision": "rejected"})


def test_python_waits_in_the_same_way() -> None:
    flow = (
        Workflow("pay", inputs={"amount": int, "days": int})
        .wait_for("paid", timeout=60, default={"id": 1})
        .approval(
            "pay {$inputs.amount}?", id="approve", show={"a": "$inputs.amount"}, roles=["operator"],
            remind=3600, pivot=True,
        )
    )  # fmt: skip
    found = plan_of(flow)
    assert [step.id for step in found.steps] == ["paid", "approve"]
    assert (found.waits, found.pivot_index) == (True, 1)
    assert plan_from_json(plan_to_json(found)) == found
    request = Program(found).prepare(
        1, Direction.FORWARD, Facts(run_id="r", inputs={"amount": 3, "days": 1})
    )
    assert isinstance(request, FrozenRequest)
    assert request.body == (
        b'{"message":"pay 3?","show":{"a":3},"roles":["operator"],"remind":3600}'
    )


def test_plans_that_wait_for_nothing_are_as_they_were(plan: Callable[..., Plan]) -> None:
    assert '"waits"' not in plan_to_json(plan(GET + "}"))


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        ("{}", "'signal' is a required property"),
        ("{signal: a b}", "a b"),
        ("{signal: paid, timeout: 0}", "timeout: 0"),
        ("{signal: paid, timeout: $inputs.x, until: 3}", "until"),
        ("{signal: paid, default: 3}", "default: 3"),
        ("{signal: $inputs.x, unknown: $inputs.x}", "unknown"),
    ],
)
def test_arguments_are_checked_when_it_is_published(
    problems: Callable[..., list[Problem]], payload: str, found: str
) -> None:
    noted = problems(asks("signal", payload), head=PEOPLE)
    assert any(found in problem.found for problem in noted), noted
    assert all("w.arazzo.yaml:" in problem.place for problem in noted)


@pytest.mark.parametrize(
    "more",
    [
        "x-timeout: 5", "x-effects: none", "x-idempotency: {in: header, name: K}",
        "x-verify: {operationId: getThing}", "x-compensation: {none: because}",
        "parameters: [{name: id, in: path, value: 1}]",
    ],
)  # fmt: skip
def test_what_makes_no_sense_for_a_wait_is_refused(
    problems: Callable[..., list[Problem]], more: str
) -> None:
    noted = problems(asks("signal", "{signal: paid}", f", {more}"), head=PEOPLE)
    assert any(more.partition(":")[0] in problem.place for problem in noted), noted


def test_an_undo_does_not_wait(problems: Callable[..., list[Problem]]) -> None:
    ask = "{operationId: $sourceDescriptions.people.signal, requestBody: {payload: {signal: s}}}"
    noted = problems(GET + f", x-compensation: {ask}}}", head=PEOPLE)
    assert any("an undo cannot wait" in problem.wanted for problem in noted), noted


def test_an_unknown_operation_is_told_of_the_known_ones(
    problems: Callable[..., list[Problem]],
) -> None:
    (problem,) = problems(asks("aproval", "{message: go?}"), head=PEOPLE)
    assert "did you mean approval?" in problem.wanted


def test_what_only_a_run_tells_is_checked_then() -> None:
    found = Program(plan_of(Workflow("w", inputs={"t": int}).wait_for("s", timeout="$inputs.t")))
    with pytest.raises(InvalidInput, match="/timeout"):
        found.prepare(0, Direction.FORWARD, Facts(run_id="r", inputs={"t": -1}))


def test_python_names_the_step_and_the_argument() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        plan_of(Workflow("w").wait_for("no blanks").approval("", timeout=-1))
    places = [problem.place for problem in caught.value.problems]
    assert places == [
        "workflow w, step no blanks", "workflow w, step no blanks /signal",
        "workflow w, step approval /message", "workflow w, step approval /timeout",
    ]  # fmt: skip
