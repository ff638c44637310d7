"""A waiting run goes on by another version: what was done keeps its own undo."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core import events as e
from orchestrator.core import journal
from orchestrator.core.deciding import decide
from orchestrator.core.joining import JoinedPlan, joined, own_steps, plans_of
from orchestrator.core.plan import WAITING, Effects, Plan
from orchestrator.core.plan_json import with_digest
from orchestrator.core.saga import Hold, Perform, Saga
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.errors import IllegalTransition
from tests.unit.core.plans import call, plan, step
from tests.unit.core.test_saga import BUSY, NOW, REFUSED, TIMEOUT, Run, started

TOMORROW = NOW + timedelta(days=1)


def asks(name: str) -> Any:
    made = step(name, undo=None)
    return replace(made, call=replace(made.call, api=WAITING, effects=Effects.NONE))


def undone_by(name: str, undo: str) -> Any:
    return replace(step(name), compensation=replace(step(name).compensation, call=call(undo)))


OLD = with_digest(plan(undone_by("a", "a.old"), asks("wait"), undone_by("b", "b.old")))
NEW = with_digest(plan(undone_by("a", "a.new"), asks("wait"), undone_by("b", "b.new"), step("c")))
BOTH = joined(NEW, 4, OLD, 3)


def move(at: str, *, keeps: bool = False, to: JoinedPlan = BOTH) -> e.Migrated:
    place = [each.id for each in own_steps(to)].index(at)
    return e.Migrated(to="joined", step=place, keeps=keeps, plan=to)


def waiting() -> Run:
    """After `a`, at the question."""
    return started(*OLD.steps).lands().on(e.Awaited(until=TOMORROW))


def undos(run: Run) -> list[str]:
    """The calls by which a run is undone to its end, in this order."""
    found = []
    while isinstance(run.command, Perform):
        found.append(run.saga.call(run.command.step, Direction.BACKWARD).label)
        run.lands()
    assert run.saga.status is RunStatus.COMPENSATED
    return found


def test_a_joined_plan_has_the_new_steps_under_their_numbers_and_the_old_ones_behind() -> None:
    assert [each.id for each in BOTH.steps] == ["a", "wait", "b", "c", "a", "wait", "b"]
    assert BOTH.versions == (4, 4, 4, 4, 3, 3, 3)
    assert BOTH.steps[3].last, "nothing leads from the new steps into the old ones"
    thrice = joined(plan(step("z")), 5, BOTH, 0)
    assert thrice.versions == (5, *BOTH.versions)
    assert [len(each.steps) for each in plans_of(thrice)] == [8, 7, 3]
    assert BOTH.digest
    assert BOTH.digest != joined(OLD, 3, NEW, 4).digest


def test_the_question_stays_asked_and_each_step_is_undone_as_its_own_version_promised() -> None:
    run = waiting().on(move("wait", keeps=True))
    assert (run.saga.status, run.saga.wake_at) == (RunStatus.WAITING, TOMORROW)
    assert run.saga.link(1, Direction.FORWARD).first_started_at == NOW
    run.on(e.Resumed()).lands().lands().attempt(REFUSED)
    assert undos(run) == ["b.new", "a.old"]


def test_a_question_that_is_not_kept_is_handled_and_the_run_is_due_at_once() -> None:
    run = waiting().on(move("b"))
    assert (run.saga.status, run.command, run.saga.wake_at) == (RunStatus.RUNNING, None, None)
    assert run.saga.steps[1].forward.status is LinkStatus.HANDLED
    run.on(e.Resumed()).lands().attempt(REFUSED)
    assert undos(run) == ["b.new", "a.old"]


def test_what_had_not_begun_leaves_no_trace() -> None:
    run = started(*OLD.steps).lands().on(e.Parked(until=TOMORROW), move("b"), e.Resumed())
    assert [run.saga.plan_step(place).id for place in range(3)] == ["a", "b", "c"]


def test_a_step_that_had_its_tries_is_begun_anew_under_another_key() -> None:
    """What the API has seen under the old key was another request."""
    run = started(step("x"), step("y")).lands().attempt(BUSY)
    new = joined(plan(step("x"), undone_by("y", "y.new")), 2, run.saga.plan, 1)
    assert run.saga.iteration(1) == 0
    run.on(move("y", to=new))
    assert run.saga.iteration(2) == 1
    run.on(e.Resumed()).lands()
    assert run.saga.status is RunStatus.SUCCEEDED


def test_a_paused_run_stays_paused() -> None:
    run = waiting().on(e.PauseRequested(), move("wait", keeps=True))
    assert (run.saga.status, run.command, run.saga.wake_at) == (
        RunStatus.PAUSED, Hold(), TOMORROW,
    )  # fmt: skip
    run = waiting().on(e.PauseRequested(), move("b"), e.Unpaused(), e.Resumed())
    assert run.command == Perform(step=2, direction=Direction.FORWARD)


def test_a_run_is_moved_again() -> None:
    run = waiting().on(move("wait", keeps=True), e.Resumed()).lands()
    run.on(e.Parked(until=TOMORROW))
    third = joined(plan(undone_by("z", "z.third")), 5, BOTH, 0)
    run.on(move("z", to=third), e.Resumed())
    assert isinstance(run.command, Perform)
    run.on(e.Began(), e.Landed(accepted=False))
    assert undos(run) == ["z.third", "a.old"]


def test_a_jump_of_the_new_version_leads_where_it_says() -> None:
    run = waiting().on(move("b"), e.Resumed())
    run.attempt(e.Landed(moves=(e.Move(to=0),)))
    assert run.saga.plan_step(3).id == "a"
    assert run.saga.iteration(3) == 1, "it was done once, in the old version"
    run.lands().on(e.CancelRequested())
    assert undos(run) == ["a.new", "b.new", "a.old"]


def test_past_the_old_pivot_a_run_stays_past_it() -> None:
    old = plan(step("pay", pivot=True, undo=None), step("ship"), step("mail"))
    run = Run(old).on(e.Resumed()).lands().on(e.Parked(until=TOMORROW))
    new = joined(plan(step("pay", pivot=True, undo=None), step("mail")), 2, old, 1)
    run.on(move("mail", to=new))
    assert run.saga.past_pivot
    with pytest.raises(IllegalTransition):
        run.on(e.CancelRequested())


@pytest.mark.parametrize(
    ("run", "found"),
    [
        (lambda: started(*OLD.steps), "not possible in state running"),
        (lambda: started(*OLD.steps).lands().on(e.CancelRequested()), "compensating"),
        (lambda: started(step("a"), step("b")).attempt(TIMEOUT), "step a is in doubt"),
        (lambda: started(*OLD.steps).lands().on(e.Restored(), e.Parked(until=NOW)), "in doubt"),
        (lambda: started(step("a"), step("b")).lands().attempt(REFUSED).attempt(BUSY),
         "waiting, going backward"),
    ],
)  # fmt: skip
def test_no_other_run_is_moved(run: Any, found: str) -> None:
    before = run().saga
    with pytest.raises(IllegalTransition, match=found):
        decide(before, move("b"), NOW)


def test_a_journal_is_replayed_by_the_plan_of_its_time() -> None:
    saga, entries = Saga.new(OLD), []
    story: list[e.Event] = [
        e.Resumed(), e.Began(), e.Landed(), e.Awaited(until=TOMORROW), move("b"), e.Resumed(),
        e.Began(), e.NotLanded(reason="no", settles_doubt=True), e.Began(), e.Landed(),
    ]  # fmt: skip
    for event in story:
        decision = decide(saga, event, NOW)
        entries.append(journal.entry(event, NOW, decision.command))
        saga = decision.saga
    assert saga.status is RunStatus.COMPENSATED
    assert "plan" not in entries[4]
    plans: dict[str, Plan] = {"joined": BOTH}
    assert journal.replay(OLD, entries, plans=plans) == saga
    with pytest.raises(KeyError, match="joined"):
        journal.replay(OLD, entries)
    undone_by_nothing = replace(OLD, steps=(step("a", undo=None), *OLD.steps[1:]))
    with pytest.raises(journal.ReplayDiffers, match="event 8 of the journal"):
        journal.replay(OLD, entries, plans={"joined": joined(NEW, 4, undone_by_nothing, 3)})
