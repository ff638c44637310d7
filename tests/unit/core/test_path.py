"""Where a run goes on after a step: jumps, ends, retries through other steps, and their bounds."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core import events as e
from orchestrator.core import journal
from orchestrator.core.deciding import decide
from orchestrator.core.path import Path, straight
from orchestrator.core.plan import Effects, Plan
from orchestrator.core.saga import Escalate, Finish, Perform, Saga, Wait
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from tests.unit.core.plans import plan, step
from tests.unit.core.test_saga import NOW, REFUSED, Run

HELP = replace(step("help"), last=True)
"""Reached by a jump alone."""


def started(whole: Plan) -> Run:
    return Run(whole).on(e.Resumed())


def with_help(*names: str, **changes: object) -> Plan:
    steps = [step(name) for name in names]
    return replace(plan(*steps[:-1], replace(steps[-1], last=True), HELP), **changes)


def refused(*moves: e.Move) -> e.NotLanded:
    return replace(REFUSED, moves=moves)


def names(run: Run) -> list[str]:
    return [name + ("'" if way == "backward" else "") for name, way in run.performed]


def test_steps_behind_the_last_one_are_not_on_the_straight_way() -> None:
    run = started(with_help("a", "b")).lands().lands()
    assert names(run) == ["a", "b"]
    assert run.saga.status is RunStatus.SUCCEEDED


def test_a_loop_is_undone_visit_by_visit() -> None:
    run = started(plan(step("a"), step("b"), step("c"))).lands()
    run.attempt(e.Landed(moves=(e.Move(to=0),)))
    assert run.saga.path == Path((0, 1, 0, 1, 2))
    assert [run.saga.iteration(p) for p in range(5)] == [0, 0, 1, 1, 0]
    run.lands().lands().attempt(REFUSED)
    run.lands().lands().lands().lands()
    assert names(run) == ["a", "b", "a", "b", "c", "b'", "a'", "b'", "a'"]
    assert run.saga.status is RunStatus.COMPENSATED


def test_an_end_leaves_the_rest_out() -> None:
    run = started(plan(step("a"), step("b"))).attempt(e.Landed(moves=(e.Move(),)))
    assert run.command == Finish(status=RunStatus.SUCCEEDED)
    assert len(run.saga.steps) == 1


def test_a_failure_with_a_way_out_is_handled_and_the_way_out_is_undone_too() -> None:
    run = started(with_help("a", "b")).lands().attempt(refused(e.Move(to=2)))
    assert run.saga.steps[1].forward.status is LinkStatus.HANDLED
    assert run.saga.status is RunStatus.RUNNING
    run.on(e.CancelRequested()).lands()
    assert names(run) == ["a", "b", "a'"]
    again = started(with_help("a", "b")).lands().attempt(refused(e.Move(to=2))).lands()
    assert again.saga.status is RunStatus.SUCCEEDED


def test_a_failure_after_a_way_out_undoes_both() -> None:
    more = replace(plan(step("a"), replace(step("b"), last=True), step("c"), step("d")))
    run = started(more).lands().attempt(refused(e.Move(to=2))).lands().attempt(REFUSED)
    run.lands().lands()
    assert names(run) == ["a", "b", "c", "d", "c'", "a'"]
    assert run.saga.status is RunStatus.COMPENSATED


def test_what_is_in_doubt_is_never_handled() -> None:
    whole = plan(step("a", Effects.UNKEYED), step("b"))
    run = started(whole).attempt(e.InDoubt(reason="timeout", moves=(e.Move(to=1),)))
    assert isinstance(run.command, Escalate)
    harmless = started(plan(step("a", Effects.NONE, attempts=1), step("b")))
    harmless.attempt(e.InDoubt(reason="timeout", moves=(e.Move(to=1),)))
    assert harmless.command == Perform(step=1, direction=Direction.FORWARD)


def test_a_retry_goes_through_other_steps_and_has_a_limit() -> None:
    again = e.Move(to=1, via=(3, 3), limit=2, after_seconds=5)
    run = started(with_help("a", "b", "c")).lands()
    for _ in range(2):
        run.attempt(refused(again, e.Move(to=2)))
        assert isinstance(run.command, Wait)
        run.on(e.Resumed()).lands()
    run.attempt(refused(again, e.Move(to=2)))
    assert names(run)[1:] == ["b", "help", "b", "help", "b"]
    assert run.command == Perform(step=6, direction=Direction.FORWARD)
    assert run.saga.plan_step(6).id == "c"
    assert run.saga.path.retried == (3, 5)


def test_retries_count_anew_after_another_way_to_the_step() -> None:
    again = e.Move(to=0, via=(1, 1), limit=1)
    run = started(plan(replace(step("a"), last=True), HELP))
    run.attempt(refused(again)).lands().attempt(e.Landed(moves=(e.Move(to=0),)))
    assert run.attempt(refused(again)).saga.status is RunStatus.RUNNING


def test_too_many_visits_turn_the_run_back() -> None:
    run = started(replace(plan(step("a")), max_visits=3))
    for _ in range(3):
        run.attempt(e.Landed(moves=(e.Move(to=0),)))
    assert run.saga.status is RunStatus.COMPENSATING
    assert run.saga.cause == "3 steps were visited, and more should follow; wanted at most 3"
    run.lands().lands().lands()
    assert run.saga.status is RunStatus.COMPENSATED


def test_too_many_visits_past_the_pivot_need_a_person() -> None:
    run = started(replace(plan(step("a", pivot=True, undo=None)), max_visits=2))
    for _ in range(2):
        run.attempt(e.Landed(moves=(e.Move(to=0),)))
    assert isinstance(run.command, Escalate)


def test_what_is_undone_by_hand_is_not_undone_again_and_the_run_is_compensated() -> None:
    by_hand = replace(step("cancel", undo=None), undoes=("b",), last=True)
    whole = plan(step("a"), step("b"), replace(step("c"), last=True), by_hand)
    run = started(whole).lands().lands().attempt(refused(e.Move(to=3))).lands()
    assert run.saga.steps[1].undo.status is LinkStatus.NOT_NEEDED
    run.lands()
    assert names(run) == ["a", "b", "c", "cancel", "a'"]
    assert run.saga.status is RunStatus.COMPENSATED


def test_an_undo_by_hand_that_did_not_go_as_wanted_undoes_nothing() -> None:
    by_hand = replace(step("cancel", undo=None), undoes=("a",))
    run = started(plan(step("a"), by_hand)).lands().attempt(e.Landed(accepted=False)).lands()
    assert names(run) == ["a", "cancel", "a'"]


def test_a_jump_is_replayed() -> None:
    whole, saga, entries = with_help("a", "b"), Saga.new(with_help("a", "b")), []
    story = [
        e.Resumed(), e.Began(), e.Landed(moves=(e.Move(to=0, limit=1),)), e.Began(), e.Landed(),
        e.Began(), refused(e.Move(to=2, after_seconds=2.5)), e.Resumed(), e.Began(), e.Landed(),
    ]  # fmt: skip
    for event in story:
        decision = decide(saga, event, NOW)
        entries.append(journal.entry(event, NOW, decision.command))
        saga = decision.saga
    assert saga.status is RunStatus.SUCCEEDED
    assert journal.replay(whole, entries) == saga


def test_an_undo_makes_no_moves() -> None:
    run = started(plan(step("a"), step("b"))).lands().attempt(REFUSED)
    assert run.attempt(e.Landed(moves=(e.Move(to=1),))).saga.status is RunStatus.COMPENSATED


def test_runs_of_a_straight_plan_share_their_way() -> None:
    whole = plan(step("a"), step("b"))
    assert straight(whole) is straight(replace(whole, title="x"))
    assert straight(whole).is_straight
