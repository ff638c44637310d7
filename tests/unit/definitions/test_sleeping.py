"""Steps that wait for a time alone: in documents, in Python, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest
from orchestrator.core.plan import Effects, Plan
from orchestrator.core.retry import NO_RETRY
from orchestrator.core.states import Direction
from orchestrator.definitions.authoring import Workflow
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.program import Program
from orchestrator.definitions.waiting import instant_of
from orchestrator.errors import InvalidDefinition, InvalidInput, Problem
from tests.unit.definitions.small_api import GET, HEAD

HEAD_OF_WAITS = HEAD.replace(
    "workflows:\n", "  - {name: time, url: 'waits:', type: openapi}\nworkflows:\n"
)


def sleeps(payload: str, more: str = "") -> str:
    return (
        "      - {stepId: rest, operationId: $sourceDescriptions.time.sleep,"
        f" requestBody: {{payload: {payload}}}{more}}}\n"
    )


def request_of(plan: Plan, **inputs: Any) -> FrozenRequest:
    facts = Facts(run_id="r", inputs=inputs)
    request = Program(plan).prepare(0, Direction.FORWARD, facts)
    assert isinstance(request, FrozenRequest)
    return request


def test_a_document_sleeps(plan: Callable[..., Plan]) -> None:
    found = plan(sleeps("{for: 3600}"), head=HEAD_OF_WAITS)
    (step,) = found.steps
    assert (found.waits, step.call.is_wait, step.call.effects, step.call.retry) == (
        True, True, Effects.NONE, NO_RETRY,
    )  # fmt: skip
    request = request_of(found)
    assert (request.method, request.target, request.body) == ("WAIT", "sleep", b'{"for":3600}')


@pytest.mark.parametrize("time", ["2027-01-01T09:00:00Z", '"2027-01-01T09:00:00Z"'])
def test_a_time_may_stand_without_quotes(plan: Callable[..., Plan], time: str) -> None:
    found = plan(sleeps(f"{{until: {time}}}"), head=HEAD_OF_WAITS)
    assert request_of(found).body == b'{"until":"2027-01-01T09:00:00Z"}'


def test_a_later_step_may_use_when_it_was_over(
    plan: Callable[..., Plan], problems: Callable[..., list[Problem]]
) -> None:
    later = GET.replace("$inputs.id", "$steps.rest.outputs.until") + "}"
    plan(sleeps("{for: 1}") + later, head=HEAD_OF_WAITS)
    (problem,) = problems(sleeps("{for: 1}") + later.replace(".until", ".at"), head=HEAD_OF_WAITS)
    assert "until" in problem.wanted


@pytest.mark.parametrize(
    ("payload", "found", "wanted"),
    [
        ("{}", "neither for nor until", "one of the two"),
        ("{for: 1, until: '2027-01-01T09:00:00Z'}", "both for and until", "one of the two"),
        ("{for: $inputs.id, until: $inputs.id}", "both for and until", "one of the two"),
        ("{for: -1}", "-1", "minimum 0"),
        ("{for: an hour}", "'an hour'", "number"),
        ("{for: 999999999}", "999999999", "maximum"),
        ("{until: 60}", "60", "string"),
        ("{until: tomorrow}", "'tomorrow'", "with its zone"),
        ("{until: '2027-01-01T09:00:00'}", "'2027-01-01T09:00:00'", "with its zone"),
        ("{until: '2027-01-01'}", "'2027-01-01'", "with its zone"),
        ("{for: 1, timeout: 3}", "timeout", ""),
    ],
)
def test_what_is_no_time_is_refused_when_it_is_published(
    problems: Callable[..., list[Problem]], payload: str, found: str, wanted: str
) -> None:
    noted = problems(sleeps(payload), head=HEAD_OF_WAITS)
    assert any(found in each.found and wanted in each.wanted for each in noted), noted
    assert all("w.arazzo.yaml:" in each.place for each in noted)


@pytest.mark.parametrize(
    ("argument", "value", "wanted"),
    [
        ("for", -3, "minimum 0"),
        ("for", "3", "type number"),
        ("until", "2027-01-01T09:00:00", "a time in ISO 8601 with its zone"),
        ("until", "soon", "a time in ISO 8601 with its zone"),
        ("until", 1, "type string"),
    ],
)
def test_what_only_a_run_tells_names_step_and_expression(
    argument: str, value: Any, wanted: str
) -> None:
    flow = Workflow("w", inputs={"type": "object", "properties": {"given": {}}})
    expression = "$inputs.given"
    made = flow.sleep(expression) if argument == "for" else flow.until(expression, id="sleep")
    with pytest.raises(InvalidInput, match=r"step w\.sleep") as caught:
        request_of(plan_of(made), given=value)
    (problem,) = caught.value.problems
    assert (problem.place, problem.found) == (f"/{argument} ($inputs.given)", repr(value))
    assert wanted in problem.wanted


def test_python_sleeps_in_the_same_way() -> None:
    at = datetime(2027, 1, 1, 10, tzinfo=UTC)
    flow = Workflow("w").sleep(timedelta(hours=1)).until(at).sleep(2.5, id="again")
    found = plan_of(flow)
    assert [(step.id, step.call.template["arguments"]) for step in found.steps] == [
        ("sleep", {"for": 3600.0}), ("until", {"until": "2027-01-01T10:00:00+00:00"}),
        ("again", {"for": 2.5}),
    ]  # fmt: skip


def test_python_names_the_step_of_a_time_without_a_zone() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        plan_of(Workflow("w").until(datetime(2027, 1, 1)).sleep(-1))  # noqa: DTZ001 - the fault
    assert [(each.place, each.found) for each in caught.value.problems] == [
        ("workflow w, step until /until", "'2027-01-01T00:00:00'"),
        ("workflow w, step sleep /for", "-1"),
    ]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2027-01-01T09:00:00Z", datetime(2027, 1, 1, 9, tzinfo=UTC)),
        ("2027-01-01T09:00:00.5+02:00", datetime(2027, 1, 1, 7, 0, 0, 500_000, tzinfo=UTC)),
        ("9999-12-31T23:59:59-12:00", None),
        ("0001-01-01T00:00:00+12:00", None),
        ("2027-02-30T00:00:00Z", None),
        ("", None),
    ],
)
def test_times_are_read_as_what_they_are(text: str, instant: datetime | None) -> None:
    assert instant_of(text) == instant
