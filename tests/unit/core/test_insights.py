"""What a history gives rise to: planted defects, each found, and nothing in a clean one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.core.exchange import Outcome
from orchestrator.core.insights import (
    ApiLimits,
    InsightKind,
    Tried,
    insights_of,
    quantile,
    signature,
)
from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.states import Direction

RUNS = 400
APIS = {"shop": ApiLimits(total_seconds=10.0, rate="100/second")}
F, B = Direction.FORWARD, Direction.BACKWARD
History = list[Tried]


def call(label: str, effects: Effects = Effects.KEYED) -> Call:
    return Call(label=label, api="shop", effects=effects, template={})


PLAN = Plan(
    workflow="checkout",
    steps=(
        PlanStep(id="reserve", call=call("reserve"), compensation=Compensation(call=call("free"))),
        PlanStep(
            id="charge",
            call=call("charge", Effects.UNKEYED),
            compensation=Compensation(call=call("refund")),
        ),
    ),
)
NEEDS = {0: frozenset[int](), 1: frozenset[int]()}  # fmt: skip


def tried(run: int, step: int = 0, direction: Direction = F, **changes: object) -> Tried:
    made = Tried(
        run=f"r{run}", step=step, direction=direction, outcome=Outcome.LANDED, reason="200 OK",
        status=200, seconds=0.1, minute=run // 20,
    )  # fmt: skip
    return replace(made, **changes)


def failed(run: int, reason: str, status: int | None = None, **changes: object) -> Tried:
    return tried(run, outcome=Outcome.NOT_LANDED, reason=reason, status=status, **changes)


def clean(rng: random.Random) -> History:
    """Calls of a few hundred milliseconds; one in fifty fails once and then lands; one in fifty is
    undone; a few never land, each for a reason of its own or another."""
    found: History = []
    for run in range(RUNS):
        for step in (0, 1):
            if rng.random() < 0.02:
                found.append(failed(run, "503 Service Unavailable", 503, step=step))
            found.append(tried(run, step, seconds=rng.lognormvariate(-2, 0.5)))
        if rng.random() < 0.02:
            found[-1] = failed(run, "422 Unprocessable Entity: no stock", 422, step=1)
            found.append(tried(run, 0, B, seconds=0.2))
    return found


def with_(history: History, bad: Callable[[int], History], every: int = 8) -> History:
    """Some runs are other ones."""
    return [
        *(each for each in history if int(each.run[1:]) % every),
        *(each for run in range(0, RUNS, every) for each in bad(run)),
    ]


PLANTED: dict[InsightKind, Callable[[int], History]] = {
    InsightKind.STEP_FAILS: lambda run: [
        failed(run, f"422 Unprocessable Entity: item {run} is not for sale", 422)
    ],
    InsightKind.RETRIES_IN_VAIN: lambda run: [failed(run, "409 Conflict", 409) for _ in range(4)],
    InsightKind.TIMEOUT_TIGHT: lambda run: [
        tried(run, seconds=9.5),
        failed(run, "shop: no answer within 10.0 s", None, seconds=10.0, step=1),
        tried(run, step=1, seconds=9.0),
    ],
    InsightKind.TIMEOUT_LOOSE: lambda run: [
        failed(run, "shop: no answer within 10.0 s", None, seconds=10.0), tried(run)
    ],
    InsightKind.LIMIT_HIGH: lambda run: [
        failed(run, "429 Too Many Requests", 429), tried(run)
    ],
    InsightKind.UNDO_FAILS: lambda run: [
        tried(run), failed(run, "404 Not Found: ch_17", 404, direction=B)
    ],
    InsightKind.UNDO_SLOW: lambda run: [tried(run), tried(run, direction=B, seconds=12.0)],
    InsightKind.DOUBT_STAYS: lambda run: [
        tried(run, step=1, outcome=Outcome.UNKNOWN, reason="the connection was lost", status=None)
    ],
    InsightKind.COULD_RUN_BESIDE: lambda run: [
        tried(run, seconds=1.0), tried(run, step=1, seconds=0.8)
    ],
}  # fmt: skip


def found_in(history: History) -> set[InsightKind]:
    return {each.kind for each in insights_of(PLAN, history, APIS, NEEDS)}


@pytest.mark.parametrize("kind", PLANTED)
def test_each_planted_defect_is_found_and_has_runs_to_look_at(kind: InsightKind) -> None:
    every = 1 if kind is InsightKind.COULD_RUN_BESIDE else 8
    history = with_(clean(random.Random(7)), PLANTED[kind], every)
    found = next(each for each in insights_of(PLAN, history, APIS, NEEDS) if each.kind is kind)
    assert 1 <= len(found.runs) <= 5
    assert {*found.runs} <= {each.run for each in history}
    assert found.id.startswith(f"{kind}/")
    assert found.evidence


def test_steps_that_need_each_other_stay_one_after_the_other() -> None:
    history = with_(clean(random.Random(7)), PLANTED[InsightKind.COULD_RUN_BESIDE], 1)
    chained = {0: frozenset[int](), 1: frozenset({0})}
    assert insights_of(PLAN, history, APIS, chained) == []
    pivot = replace(PLAN, steps=(PLAN.steps[0], replace(PLAN.steps[1], pivot=True)))
    assert insights_of(pivot, history, APIS, NEEDS) == []
    assert insights_of(PLAN, history, APIS) == []


def test_two_of_a_kind_have_ids_of_their_own() -> None:
    def bad(run: int) -> History:
        status = 409 if run % 16 else 410
        return [failed(run, f"{'gone' if status == 410 else 'taken'}", status) for _ in range(4)]

    found = insights_of(PLAN, with_(clean(random.Random(7)), bad), APIS)
    vain = [each for each in found if each.kind is InsightKind.RETRIES_IN_VAIN]
    assert [each.id for each in vain] == ["retries_in_vain/reserve", "retries_in_vain/reserve/2"]
    assert [each.change and each.change.value for each in vain] == [410, 409]


BESIDE = {InsightKind.LIMIT_LOW, InsightKind.UNDOCUMENTED_STATUS, InsightKind.ANSWER_DIFFERS}
"""What attempts alone do not tell: see test_learning."""


def test_all_defects_are_known() -> None:
    assert PLANTED.keys() | BESIDE == set(InsightKind)


def test_what_is_proposed() -> None:
    history = clean(random.Random(7))

    def change(kind: InsightKind) -> tuple[str, str, str, str] | None:
        found = insights_of(PLAN, with_(history, PLANTED[kind]), APIS)
        proposed = next(each for each in found if each.kind is kind).change
        return proposed and (proposed.place, proposed.field, proposed.before, proposed.after)

    step = "workflow checkout, step reserve"
    assert change(InsightKind.RETRIES_IN_VAIN) == (step, "attempts after 409", "8", "1")
    tight = change(InsightKind.TIMEOUT_TIGHT)
    assert tight == ("config/apis/shop.yaml", "timeouts.total", "10", "20")
    loose = change(InsightKind.TIMEOUT_LOOSE)
    assert loose is not None
    assert 0.5 <= float(loose[3]) < 3
    limit = change(InsightKind.LIMIT_HIGH)
    assert limit is not None
    assert limit[:3] == ("config/apis/shop.yaml", "rate", "100/second")
    assert 20 <= int(limit[3].removesuffix("/minute")) <= 60


def test_a_retry_that_helps_now_and_then_is_not_in_vain() -> None:
    def bad(run: int) -> History:
        return [failed(run, "503 busy", 503), tried(run) if run == 0 else failed(run, "503", 503)]

    assert InsightKind.RETRIES_IN_VAIN not in found_in(with_(clean(random.Random(7)), bad))


def test_a_key_or_a_question_settles_doubts() -> None:
    asked = replace(PLAN.steps[1].call, verify=call("look", Effects.NONE))
    steps = (PLAN.steps[0], replace(PLAN.steps[1], call=asked))
    history = with_(clean(random.Random(7)), PLANTED[InsightKind.DOUBT_STAYS])
    kinds = {each.kind for each in insights_of(replace(PLAN, steps=steps), history, APIS)}
    assert InsightKind.DOUBT_STAYS not in kinds


def test_signatures_leave_out_what_differs() -> None:
    one = "422: item 17 of 01939c5e-7f2a-7c11-9f4e-0c2f5a1b9d10 is 'gone'"
    two = "422: item 4 of 01939c5e-7f2a-7c11-9f4e-0c2f5a1b9d99 is 'sold'"
    assert signature(one) == signature(two) == "#: item # of # is #"


def test_quantiles_are_values_that_were_seen() -> None:
    assert [quantile([1, 2, 3, 4], share) for share in (0.0, 0.5, 0.75, 0.99)] == [1, 2, 3, 4]
