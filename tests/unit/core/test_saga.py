"""The saga, path by path: what a reader would ask of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.plan import Effects, Plan
from orchestrator.core.saga import (
    Command,
    Decision,
    Escalate,
    EscalationReason,
    Finish,
    Perform,
    Saga,
    Verify,
    Wait,
)
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.errors import IllegalTransition
from tests.unit.core.plans import plan, step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REFUSED = e.NotLanded(reason="402 declined", settles_doubt=True)
BUSY = e.NotLanded(reason="503", retryable=True, jitter=0.5)
TIMEOUT = e.InDoubt(reason="timeout", jitter=0.5)


class Run:
    """Drives a saga by events and remembers the latest command."""

    def __init__(self, plan_: Plan, **options: object) -> None:
        self.saga = Saga.new(plan_, **options)
        self.now = NOW
        self.command: Command | None = None
        self.performed: list[tuple[str, str]] = []

    def on(self, *events: e.Event) -> Run:
        for event in events:
            decision: Decision = decide(self.saga, event, self.now)
            self.saga, self.command = decision.saga, decision.command
        return self

    def lands(self) -> Run:
        """The commanded link is performed and lands."""
        return self.attempt(e.Landed())

    def attempt(self, outcome: e.Event) -> Run:
        assert isinstance(self.command, Perform), self.command
        name = self.saga.plan_step(self.command.step).id
        self.performed.append((name, self.command.direction.value))
        return self.on(e.Began(), outcome)


def started(*steps: object, **options: object) -> Run:
    return Run(plan(*steps), **options).on(e.Resumed())


def test_all_steps_land_in_order() -> None:
    run = started(step("a"), step("b")).lands().lands()
    assert run.saga.status is RunStatus.SUCCEEDED
    assert run.command == Finish(status=RunStatus.SUCCEEDED)
    assert run.performed == [("a", "forward"), ("b", "forward")]


def test_a_failure_undoes_in_strict_reverse_order() -> None:
    run = started(step("a"), step("b"), step("c")).lands().lands().attempt(REFUSED)
    assert run.saga.status is RunStatus.COMPENSATING
    run.lands().lands()
    assert run.performed[3:] == [("b", "backward"), ("a", "backward")]
    assert run.saga.status is RunStatus.COMPENSATED
    assert run.saga.cause == "402 declined"


def test_a_failure_before_any_effect_ends_compensated_with_no_undo() -> None:
    run = started(step("a"), step("b")).attempt(REFUSED)
    assert run.saga.status is RunStatus.COMPENSATED
    assert run.performed == [("a", "forward")]


def test_steps_without_compensation_are_passed_over_on_the_way_back() -> None:
    run = started(step("a"), step("read", Effects.NONE, undo=None), step("c"))
    run.lands().lands().attempt(REFUSED).lands()
    assert run.performed[-1] == ("a", "backward")
    assert run.saga.link(1, Direction.BACKWARD).status is LinkStatus.NOT_NEEDED
    assert run.saga.status is RunStatus.COMPENSATED


def test_an_answer_that_breaks_the_criteria_undoes_its_own_step_too() -> None:
    run = started(step("a"), step("b")).lands().attempt(e.Landed(accepted=False, reason="held"))
    run.lands().lands()
    assert run.performed[2:] == [("b", "backward"), ("a", "backward")]


def test_a_retryable_failure_waits_with_backoff() -> None:
    run = started(step("a")).attempt(BUSY)
    assert run.saga.status is RunStatus.WAITING
    assert run.command == Wait(until=NOW + timedelta(seconds=0.25))
    run.on(e.Resumed()).lands()
    assert run.saga.status is RunStatus.SUCCEEDED


def test_retry_after_replaces_the_backoff() -> None:
    run = started(step("a")).attempt(
        e.NotLanded(reason="429", retryable=True, jitter=0.5, retry_after_seconds=17)
    )
    assert run.command == Wait(until=NOW + timedelta(seconds=17))


def test_attempts_run_out_and_the_run_turns_back() -> None:
    run = started(step("a"), step("b", attempts=2)).lands()
    run.attempt(BUSY).on(e.Resumed()).attempt(BUSY)
    assert run.saga.status is RunStatus.COMPENSATING


def test_a_doubtful_keyed_step_is_repeated_and_the_answer_settles_it() -> None:
    run = started(step("a")).attempt(TIMEOUT).on(e.Resumed())
    assert run.saga.link(0, Direction.FORWARD).doubt
    run.lands()
    assert run.saga.status is RunStatus.SUCCEEDED
    assert not run.saga.link(0, Direction.FORWARD).doubt


def test_a_refusal_that_does_not_settle_the_doubt_escalates() -> None:
    """A 401 says nothing about the attempt that timed out before it."""
    run = started(step("a"), step("b")).lands().attempt(TIMEOUT).on(e.Resumed())
    run.attempt(e.NotLanded(reason="401"))
    assert isinstance(run.command, Escalate)
    assert run.command.reason is EscalationReason.IN_DOUBT


def test_a_refusal_with_the_same_key_settles_the_doubt() -> None:
    run = started(step("a"), step("b")).lands().attempt(TIMEOUT).on(e.Resumed()).attempt(REFUSED)
    assert run.saga.status is RunStatus.COMPENSATING


def test_a_doubtful_unkeyed_step_is_never_repeated() -> None:
    run = started(step("mail", Effects.UNKEYED)).attempt(TIMEOUT)
    assert run.saga.status is RunStatus.ESCALATED
    assert isinstance(run.command, Escalate)
    assert run.command.reason is EscalationReason.IN_DOUBT


def test_a_doubtful_unkeyed_step_is_verified_where_that_is_possible() -> None:
    run = started(step("mail", Effects.UNKEYED, verify=True), step("b")).attempt(TIMEOUT)
    run.on(e.Resumed())
    assert run.command == Verify(step=0, direction=Direction.FORWARD)
    run.on(e.Landed())
    assert run.command == Perform(step=1, direction=Direction.FORWARD)


def test_a_verification_that_finds_nothing_lets_the_step_be_tried_again() -> None:
    run = started(step("mail", Effects.UNKEYED, verify=True)).attempt(TIMEOUT).on(e.Resumed())
    run.on(e.NotLanded(reason="404", retryable=True, settles_doubt=True), e.Resumed())
    assert run.command == Perform(step=0, direction=Direction.FORWARD)


def test_verifications_that_learn_nothing_end_with_a_person() -> None:
    run = started(step("mail", Effects.UNKEYED, verify=True)).attempt(TIMEOUT)
    for _ in range(2):
        run.on(e.Resumed(), TIMEOUT)
    assert run.saga.status is RunStatus.ESCALATED


def test_a_takeover_of_a_started_keyed_step_repeats_it_and_uses_up_no_attempt() -> None:
    run = started(step("a")).on(e.Began(), e.Resumed())
    assert run.command == Perform(step=0, direction=Direction.FORWARD)
    link = run.saga.link(0, Direction.FORWARD)
    assert (link.attempts, link.doubt) == (0, True)


def test_a_takeover_of_a_started_unkeyed_step_escalates() -> None:
    run = started(step("mail", Effects.UNKEYED)).on(e.Began(), e.Resumed())
    assert run.saga.status is RunStatus.ESCALATED
    assert run.saga.link(0, Direction.FORWARD).status is LinkStatus.UNKNOWN


def test_a_withdrawn_intent_is_no_doubt() -> None:
    run = started(step("mail", Effects.UNKEYED)).on(e.Began(), e.Withdrawn(), e.Resumed())
    assert run.command == Perform(step=0, direction=Direction.FORWARD)


def test_the_first_undo_that_fails_stops_the_chain() -> None:
    run = started(step("a"), step("b"), step("c")).lands().lands().attempt(REFUSED)
    run.attempt(e.NotLanded(reason="412 changed", settles_doubt=True))
    assert run.saga.status is RunStatus.ESCALATED
    assert run.command == Escalate(
        reason=EscalationReason.COMPENSATION_FAILED, detail="412 changed", step=1,
        direction=Direction.BACKWARD,
    )  # fmt: skip
    assert run.saga.link(0, Direction.BACKWARD).status is LinkStatus.PENDING


def escalated_at_b() -> Run:
    run = started(step("a"), step("b"), step("c")).lands().lands().attempt(REFUSED)
    return run.attempt(e.NotLanded(reason="412 changed", settles_doubt=True))


def test_a_person_resolves_and_the_rest_is_undone() -> None:
    run = escalated_at_b().on(e.Resolved())
    assert run.command == Perform(step=0, direction=Direction.BACKWARD)
    run.lands()
    assert run.saga.status is RunStatus.COMPENSATED
    assert run.saga.link(1, Direction.BACKWARD).status is LinkStatus.RESOLVED


def test_a_person_retries_the_failed_undo() -> None:
    run = escalated_at_b().on(e.Retried())
    assert run.command == Perform(step=1, direction=Direction.BACKWARD)
    run.lands().lands()
    assert run.saga.status is RunStatus.COMPENSATED


def test_a_person_skips_and_the_rest_is_undone() -> None:
    run = escalated_at_b().on(e.Skipped()).lands()
    assert run.saga.status is RunStatus.COMPENSATED
    assert run.saga.link(1, Direction.BACKWARD).status is LinkStatus.SKIPPED


def test_a_person_abandons() -> None:
    assert escalated_at_b().on(e.Abandoned()).saga.status is RunStatus.ABANDONED


def test_a_doubtful_forward_step_declared_absent_turns_back() -> None:
    run = started(step("a"), step("mail", Effects.UNKEYED)).lands().attempt(TIMEOUT)
    run.on(e.Resolved(landed=False))
    assert run.command == Perform(step=0, direction=Direction.BACKWARD)


def test_a_doubtful_forward_step_declared_landed_goes_on() -> None:
    run = started(step("mail", Effects.UNKEYED), step("b")).attempt(TIMEOUT).on(e.Resolved())
    assert run.command == Perform(step=1, direction=Direction.FORWARD)


def test_an_unkeyed_step_retried_by_a_person_is_repeated_once_ordered() -> None:
    run = started(step("mail", Effects.UNKEYED)).attempt(TIMEOUT).on(e.Retried())
    assert run.command == Perform(step=0, direction=Direction.FORWARD)


def test_after_the_pivot_a_failure_escalates_and_nothing_is_undone() -> None:
    run = started(step("a"), step("pay", pivot=True), step("ship", undo=None))
    run.lands().lands().attempt(REFUSED)
    assert isinstance(run.command, Escalate)
    assert run.command.reason is EscalationReason.FAILED_AFTER_PIVOT
    with pytest.raises(IllegalTransition):
        run.on(e.Skipped())
    assert run.on(e.Retried()).command == Perform(step=2, direction=Direction.FORWARD)


def test_a_cancelled_run_is_undone() -> None:
    run = started(step("a"), step("b")).lands().on(e.CancelRequested(reason="changed my mind"))
    assert run.command == Perform(step=0, direction=Direction.BACKWARD)
    assert run.saga.cause == "changed my mind"


def test_a_cancel_during_a_call_waits_for_its_outcome() -> None:
    run = started(step("a"), step("b")).on(e.Began(), e.CancelRequested())
    assert run.command is None
    run.on(e.Landed())
    assert run.command == Perform(step=0, direction=Direction.BACKWARD)


def test_a_cancel_settles_a_doubt_first() -> None:
    run = started(step("a")).attempt(TIMEOUT).on(e.CancelRequested())
    assert run.command == Perform(step=0, direction=Direction.FORWARD)
    run.lands()
    assert run.command == Perform(step=0, direction=Direction.BACKWARD)


def test_a_pending_run_is_cancelled_at_once() -> None:
    run = Run(plan(step("a"))).on(e.CancelRequested())
    assert run.saga.status is RunStatus.COMPENSATED


def test_stop_where_it_is_abandons() -> None:
    run = started(step("a"), step("b")).lands().on(e.CancelRequested(mode=e.CancelMode.STOP))
    assert run.saga.status is RunStatus.ABANDONED


def test_after_the_pivot_a_cancel_is_refused() -> None:
    run = started(step("pay", pivot=True), step("ship", undo=None)).lands()
    before = run.saga
    with pytest.raises(IllegalTransition, match="pivot"):
        run.on(e.CancelRequested())
    assert run.saga is before


def test_a_passed_deadline_turns_back() -> None:
    run = started(step("a"), step("b"), deadline_at=NOW + timedelta(seconds=5))
    run.now += timedelta(seconds=6)
    run.lands()
    assert run.command == Perform(step=0, direction=Direction.BACKWARD)


def test_a_passed_deadline_after_the_pivot_escalates_and_a_person_waives_it() -> None:
    run = started(
        step("pay", pivot=True), step("ship", undo=None), deadline_at=NOW + timedelta(seconds=5)
    )
    run.now += timedelta(seconds=6)
    run.lands()
    assert isinstance(run.command, Escalate)
    assert run.command.reason is EscalationReason.DEADLINE_AFTER_PIVOT
    assert run.on(e.Retried()).command == Perform(step=1, direction=Direction.FORWARD)


def test_a_poisonous_run_escalates_and_is_retried_by_a_person() -> None:
    run = started(step("a")).on(e.Poisoned(claims=12))
    assert run.saga.status is RunStatus.ESCALATED
    with pytest.raises(IllegalTransition):
        run.on(e.Resolved())
    assert run.on(e.Retried()).command == Perform(step=0, direction=Direction.FORWARD)


def test_a_run_whose_definition_is_doubted_does_nothing_and_goes_on_once_a_person_says_so() -> None:
    run = started(step("a")).on(e.Distrusted(reason="it was changed"))
    assert isinstance(run.command, Escalate)
    assert (run.command.reason, run.command.detail) == ("untrusted", "it was changed")
    assert run.saga.status is RunStatus.ESCALATED
    assert run.on(e.Retried()).command == Perform(step=0, direction=Direction.FORWARD)


def test_a_parked_run_resumes_where_it_was() -> None:
    until = NOW + timedelta(minutes=1)
    run = started(step("a")).on(e.Parked(until=until))
    assert (run.saga.status, run.saga.wake_at) == (RunStatus.PARKED, until)
    assert run.on(e.Resumed()).command == Perform(step=0, direction=Direction.FORWARD)


def test_a_compensation_that_finds_nothing_to_undo_goes_on() -> None:
    run = started(step("a"), step("b"), step("c")).lands().lands().attempt(REFUSED)
    run.on(e.NotNeeded(reason="was declined"))
    assert run.command == Perform(step=0, direction=Direction.BACKWARD)


def test_completion_has_one_order_over_both_directions() -> None:
    run = started(step("a"), step("b"), step("c")).lands().lands().attempt(REFUSED).lands().lands()
    links = [run.saga.link(i, d).sequence for d in Direction for i in (0, 1)]
    assert links == [1, 2, 4, 3]
