"""What attempts tell beside the APIs' documents and all that their calls were like."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.core.exchange import Outcome
from orchestrator.core.insights import (
    ApiLimits,
    Difference,
    Documented,
    Insight,
    InsightKind,
    Tried,
)
from orchestrator.core.learning import Known, Traffic, calls_a_second, learned
from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.states import Direction

F, B = Direction.FORWARD, Direction.BACKWARD


def call(label: str) -> Call:
    return Call(label=label, api="shop", effects=Effects.UNKEYED, template={})


PLAN = Plan(
    workflow="w",
    steps=(PlanStep(id="buy", call=call("buy"), compensation=Compensation(call=call("back"))),),
)
FELT = Traffic(calls=200, throttled=0, waited=150, usual_wait_seconds=3.0, usual_seconds=0.1)
LIMITS = ApiLimits(total_seconds=10.0, rate="10/second; 500 per 1 minute")
SAID = Documented(operation="POST /buy", statuses=frozenset({"201", "4XX"}), file="shop.yaml")


def tried(run: int, status: int | None = 201, direction: Direction = F) -> Tried:
    landed = status is not None and status < 300
    return Tried(
        run=f"r{run}", step=0, direction=direction, reason=str(status), status=status,
        outcome=Outcome.LANDED if landed else Outcome.UNKNOWN, seconds=0.1, minute=run,
    )  # fmt: skip


def found(history: list[Tried], **known: object) -> dict[InsightKind, Insight]:
    return {each.kind: each for each in learned(PLAN, history, replace(Known(), **known))}


CLEAN = [tried(run) for run in range(100)]


def low(traffic: Traffic, limits: ApiLimits = LIMITS) -> Insight | None:
    told = found(CLEAN, apis={"shop": limits}, traffic={"shop": traffic})
    return told.get(InsightKind.LIMIT_LOW)


def test_a_limit_that_is_felt_and_that_the_api_never_complained_of() -> None:
    insight = low(FELT)
    assert insight is not None
    assert insight.change is not None
    assert (insight.change.field, insight.change.value) == ("rate", "15/second; 750 per 1 minute")
    assert insight.evidence["waited"] == 150
    assert insight.runs == ["r95", "r96", "r97", "r98", "r99"]


@pytest.mark.parametrize(
    "traffic",
    [
        replace(FELT, throttled=1), replace(FELT, waited=90), replace(FELT, calls=40, waited=40),
        replace(FELT, usual_wait_seconds=0.5),
    ],
)  # fmt: skip
def test_a_limit_that_is_as_it_should_be(traffic: Traffic) -> None:
    assert low(traffic) is None


def test_the_limit_that_binds_is_the_one_to_change() -> None:
    slots = low(replace(FELT, usual_seconds=2.0), replace(LIMITS, concurrency=4))
    rate = low(replace(FELT, usual_seconds=0.01), replace(LIMITS, concurrency=4))
    assert slots is not None
    assert rate is not None
    assert [each.change and (each.change.field, each.change.value) for each in (slots, rate)] == [
        ("concurrency", 6), ("rate", "15/second; 750 per 1 minute"),
    ]  # fmt: skip
    assert low(FELT, replace(LIMITS, rate="")) is None


def test_rates_in_calls_a_second() -> None:
    assert calls_a_second("10/second; 300/minute") == 5
    assert calls_a_second("7200 per 2 hours") == 1
    assert calls_a_second("") == float("inf")


def test_a_status_that_the_document_does_not_know() -> None:
    history = [*CLEAN, *(tried(run, 302) for run in range(3)), *(tried(9, 502) for _ in range(9))]
    told = found([*history, tried(1, 404), tried(1, None)], documented={(0, F): SAID})
    insight = told[InsightKind.UNDOCUMENTED_STATUS]
    assert insight.evidence == {"answers with 302": 3}
    assert insight.runs == ["r0", "r1", "r2"]
    assert insight.change is not None
    assert (insight.change.value, insight.change.operation) == ("302", "POST /buy")
    few = [*CLEAN, tried(1, 302), tried(2, 302)]
    assert InsightKind.UNDOCUMENTED_STATUS not in found(few, documented={(0, F): SAID})
    silent = replace(SAID, statuses=frozenset[str]())
    assert InsightKind.UNDOCUMENTED_STATUS not in found(history, documented={(0, F): silent})
    assert InsightKind.UNDOCUMENTED_STATUS not in found(history, documented={(0, B): SAID})


def test_answers_that_are_not_as_documented() -> None:
    said = replace(
        SAID, differences=(Difference(place="/id", found="nothing", wanted="x", cases=4),)
    )
    insight = found(CLEAN, documented={(0, F): said})[InsightKind.ANSWER_DIFFERS]
    assert insight.evidence == {"/id": 4}
    assert insight.change is None
    assert found(CLEAN, documented={(0, F): SAID}) == {}


def test_a_doubt_that_a_key_of_the_api_would_settle() -> None:
    history = [*CLEAN, *(tried(run, None) for run in range(100, 104))]
    said = replace(SAID, key_header="Idempotency-Key")
    changes = [
        found(history, documented=documented)[InsightKind.DOUBT_STAYS].change
        for documented in ({}, {(0, F): SAID}, {(0, F): said})
    ]
    assert [each and each.value for each in changes] == [None, None, "Idempotency-Key"]
