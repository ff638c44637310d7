"""What an API means for runs whose steps begin others: branches, a child, items of a map."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core.impact import Touch, going_forward, touch_of
from orchestrator.core.plan import Call, Compensation, Effects, OnCancel, Plan, PlanStep
from orchestrator.core.states import RunStatus
from orchestrator.definitions.blocks import Fail, block_step, head_step
from orchestrator.definitions.children import child_call, undo_of_child
from orchestrator.definitions.maps import Each, map_call, undo_of_map
from orchestrator.definitions.reaching import whole_reach


def step(name: str, api: str) -> PlanStep:
    """It calls one API, and its undo another one."""

    def call(label: str, api: str) -> Call:
        return Call(label=label, api=api, effects=Effects.KEYED, template={})

    undo = Compensation(call=call(f"{name}.undo", f"un{api}"))
    return PlanStep(id=name, call=call(name, api), compensation=undo)


INNER = Plan(workflow="transfer", steps=(step("t", "bank"),), digest="t")
CHILD = Plan(
    workflow="payment", digest="p", children=True,
    steps=(
        step("p", "cards"),
        PlanStep(
            id="q", compensation=undo_of_child("q.undo"),
            call=child_call("q", INNER, {}, on_cancel=OnCancel.CANCEL),
        ),
    ),
)  # fmt: skip
HOW = Each(over={"count": 3}, item="n")
EACH = PlanStep(
    id="each", call=map_call("each", CHILD, HOW, {}), compensation=undo_of_map("each.undo", HOW)
)
ORDER = Plan(
    workflow="order", digest="o", children=True, blocks=True, maps=True,
    steps=(
        step("s", "shop"), block_step("fan", "fan", ["a", "b"], Fail.FAST), EACH,
        replace(step("end", "desk"), last=True),
        head_step("fan", "a", "fan/a"), replace(step("a1", "mail"), last=True),
        head_step("fan", "b", "fan/b"), replace(step("b1", "store"), last=True),
    ),
)  # fmt: skip
REACH = whole_reach(ORDER, {("payment", "p"): CHILD, ("transfer", "t"): INNER})
BEFORE, FAN, MAP, LAST = range(4)


def touch(api: str, at: int, status: RunStatus = RunStatus.RUNNING) -> Touch:
    return touch_of(going_forward(ORDER, at, status), api, REACH)


def test_what_has_not_begun_is_ahead() -> None:
    for api in ("mail", "store", "cards", "bank", "desk"):
        assert touch(api, BEFORE) == Touch(ahead=True), api
    assert touch("shop", BEFORE) == Touch(blocked=True)
    assert touch("mail", FAN) == Touch(ahead=True), "it stands there, and has begun nothing"


def test_branches_stand_for_themselves_once_they_have_begun() -> None:
    assert touch("mail", FAN, RunStatus.WAITING) == Touch()
    assert touch("bank", FAN, RunStatus.WAITING) == Touch(ahead=True), "that is behind them"


def test_items_begin_in_turn_so_that_there_may_be_more() -> None:
    assert touch("bank", MAP, RunStatus.WAITING) == Touch(ahead=True)
    assert touch("bank", LAST) == Touch(past=True)


def test_what_landed_is_undone_where_its_runs_would_be() -> None:
    for api in ("unmail", "unstore", "uncards", "unbank", "unshop"):
        assert touch(api, LAST) == Touch(undo=True), api
    assert touch("unbank", MAP) == Touch()


def test_who_does_not_know_a_workflow_takes_it_to_call_nothing() -> None:
    reach = whole_reach(ORDER, {("payment", "p"): CHILD})
    assert "cards" in reach.apis
    assert "bank" not in reach.apis
