"""A restored database: what a run had ahead may have been done since, in either direction."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.core import events as e
from orchestrator.core import journal
from orchestrator.core.deciding import decide
from orchestrator.core.plan import Effects
from orchestrator.core.saga import Escalate, EscalationReason, Finish, Perform, Saga, Verify
from orchestrator.core.states import SETTLED, Direction, LinkStatus, RunStatus
from tests.unit.core.plans import plan, step
from tests.unit.core.test_saga import NOW, REFUSED, Run, started

ABSENT = e.NotLanded(reason="404", retryable=True, settles_doubt=True)
K, U, N = Effects.KEYED, Effects.UNKEYED, Effects.NONE
FORWARD, BACKWARD = Direction.FORWARD, Direction.BACKWARD


def restored(run: Run) -> Run:
    return run.on(e.Restored(), e.Resumed())


def test_what_has_a_key_is_done_again_under_it() -> None:
    run = restored(started(step("a"), step("b")))
    assert run.command == Perform(step=0, direction=FORWARD)
    run.lands().lands()
    assert run.saga.status is RunStatus.SUCCEEDED
    assert [name for name, _ in run.performed] == ["a", "b"]


def test_what_has_none_is_asked_about_and_adopted() -> None:
    run = restored(started(step("a", effects=U, verify=True), step("b")))
    assert run.command == Verify(step=0, direction=FORWARD)
    run.on(e.Landed())
    assert run.saga.steps[0].forward.status is LinkStatus.LANDED
    assert run.command == Perform(step=1, direction=FORWARD)


def test_nobody_can_ask_so_a_person_has_to_know() -> None:
    run = restored(started(step("a"), step("b", effects=U)))
    run.lands()
    assert isinstance(run.command, Escalate)
    assert run.command.reason is EscalationReason.IN_DOUBT
    assert (run.command.step, "restored" in run.command.detail) == (1, True)


def test_what_is_done_stays_done_and_what_has_no_effect_is_not_doubted() -> None:
    run = started(step("a"), step("b", effects=N), step("c"))
    run.lands()
    before = run.saga.steps[0].forward
    restored(run)
    assert run.saga.steps[0].forward == before
    assert not run.saga.steps[1].forward.doubt
    assert run.command == Perform(step=1, direction=FORWARD)


def test_a_pending_run_may_have_done_anything() -> None:
    """A cancel would end it at once, as one that has done nothing."""
    run = Run(plan(step("a"), step("b"))).on(e.Restored())
    assert run.saga.status is RunStatus.RUNNING
    run.on(e.CancelRequested())
    assert run.command == Perform(step=0, direction=FORWARD), "the doubt is settled first"


def test_a_deadline_turns_it_back_only_once_all_that_may_have_been_done_is_known() -> None:
    run = started(step("a"), step("b"), deadline_at=NOW + timedelta(seconds=1))
    run.now = NOW + timedelta(hours=1)
    restored(run).lands()
    assert run.command == Perform(step=1, direction=FORWARD)
    run.attempt(REFUSED)
    assert run.command == Perform(step=0, direction=BACKWARD)


def test_on_its_way_back_undos_are_doubted_and_nothing_goes_forward() -> None:
    run = started(step("a"), step("b", undo=U), step("c"))
    run.lands().lands().attempt(REFUSED)
    restored(run)
    assert isinstance(run.command, Escalate)
    assert (run.command.step, run.command.direction) == (1, BACKWARD)
    run.on(e.Resolved())
    assert run.command == Perform(step=0, direction=BACKWARD)
    run.lands()
    assert run.command == Finish(status=RunStatus.COMPENSATED)


def test_a_step_that_is_not_there_is_done_anew_and_its_undo_is_left_to_a_person() -> None:
    """It may have been done and undone: the undo's key is spent then, its answer an old one."""
    run = restored(started(step("a", effects=U, verify=True), step("b")))
    run.on(ABSENT, e.Resumed())
    assert run.command == Perform(step=0, direction=FORWARD)
    run.lands()
    assert run.command == Perform(step=1, direction=FORWARD), "a run that succeeds needs nobody"
    run.attempt(REFUSED)
    assert isinstance(run.command, Escalate)
    assert (run.command.step, run.command.direction) == (0, BACKWARD)
    run.on(e.Resolved())
    assert run.command == Finish(status=RunStatus.COMPENSATED)


def test_without_a_restore_such_a_step_is_undone_as_ever() -> None:
    run = started(step("a", effects=U, verify=True), step("b"))
    run.attempt(e.InDoubt(reason="timeout"))
    run.on(e.Resumed(), ABSENT, e.Resumed()).lands()
    run.attempt(REFUSED)
    assert run.command == Perform(step=0, direction=BACKWARD)


def test_a_stuck_link_may_have_been_tried_again_since() -> None:
    run = started(step("a"), step("b"))
    run.lands().attempt(REFUSED)
    run.attempt(REFUSED)
    assert run.saga.steps[0].undo.status is LinkStatus.FAILED
    run.on(e.Restored())
    assert run.saga.status is RunStatus.ESCALATED
    assert run.saga.steps[0].undo.status is LinkStatus.UNKNOWN


def test_steps_that_are_visited_again_are_doubted_too() -> None:
    run = started(step("a", effects=U, verify=True), step("b"))
    run.lands()
    restored(run)
    run.on(e.Began(), e.Landed(moves=(e.Move(to=0),)))
    assert run.command == Verify(step=2, direction=FORWARD)


@pytest.mark.parametrize("status", [each for each in RunStatus if each in SETTLED])
def test_what_has_ended_is_not_touched(status: RunStatus) -> None:
    ended = replace(Saga.new(plan(step("a"))), status=status)
    if status is RunStatus.ESCALATED:
        assert decide(ended, e.Restored(), NOW).saga.status is status
        return
    with pytest.raises(Exception, match="Restored"):
        decide(ended, e.Restored(), NOW)


def test_it_is_replayed_from_the_journal() -> None:
    run = Run(plan(step("a", effects=U, verify=True), step("b")))
    told = []
    for event in (e.Resumed(), e.Restored(), e.Resumed(), ABSENT, e.Resumed(), e.Began()):
        decision = decide(run.saga, event, NOW)
        told.append({"then": "", **journal.entry(event, NOW, decision.command)})
        run.saga = decision.saga
    assert journal.replay(run.saga.plan, told) == run.saga
