"""The one function that decides: (saga, event, now) -> (saga, command).

Strict rules that every path below keeps:

* doubt is resolved first: the same key again, a verification, else a person;
* compensations run in reverse order of completion, one at a time; the first that cannot be
  completed stops the chain and escalates;
* before the pivot a run can go back, after it only forward;
* a move that a step's author wants is made when the step's outcome is final, never in doubt.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.core import events as e
from orchestrator.core.joining import migrated, why_not_movable
from orchestrator.core.path import Path
from orchestrator.core.plan import Call, Effects, OnCancel
from orchestrator.core.saga import (
    Decision,
    Escalate,
    EscalationReason,
    Finish,
    Hold,
    Link,
    Perform,
    Saga,
    Verify,
    Wait,
    current,
    stuck,
    undo_order,
    undone_by_hand,
)
from orchestrator.core.states import (
    DONE,
    FINAL,
    LINK_TRANSITIONS,
    RUN_TRANSITIONS,
    Direction,
    LinkStatus,
    RunStatus,
    check_link,
    check_run,
)
from orchestrator.errors import IllegalTransition


def decide(saga: Saga, event: e.Event, now: datetime) -> Decision:
    """Apply one event. `now` is aware.

    Raises IllegalTransition, with nothing changed, when the tables have no such move.
    """
    allowed = RUN_TRANSITIONS[saga.status].get(type(event))
    if allowed is None:
        check_run(saga.status, event)  # which raises; asked for nothing else, since this is hot
        raise AssertionError("the tables have this move after all")
    decision = _apply(saga, event, now)
    if decision.saga.status not in allowed:
        check_run(saga.status, event, decision.saga.status)
    return decision


# --- events ---------------------------------------------------------------------------------------


def _apply(saga: Saga, event: e.Event, now: datetime) -> Decision:
    match event:
        case e.Began() | e.Landed():  # as any other link's event below; by far the most frequent
            return _on_link(saga, event, now)
        case e.Resumed():
            return _next(_going(_doubt_what_was_started(saga, event)), now)
        case e.Parked():
            parked = replace(saga, status=RunStatus.PARKED, wake_at=event.until)
            return Decision(saga=parked, command=Wait(until=event.until))
        case e.Awaited():
            return _on_awaited(saga, event, now)
        case e.CancelRequested():
            return _on_cancel(saga, event, now)
        case e.PauseRequested() | e.Unpaused() | e.Restored() | e.Migrated():
            return _from_outside(saga, event)
        case e.Poisoned() | e.Distrusted():
            return _not_to_be_driven(saga, event)
        case e.Retried() | e.Resolved() | e.Skipped() | e.Abandoned():
            return _on_person(saga, event, now)
        case _:
            return _on_link(saga, event, now)


def _not_to_be_driven(saga: Saga, event: e.Poisoned | e.Distrusted) -> Decision:
    if isinstance(event, e.Distrusted):
        return _escalate(saga, EscalationReason.UNTRUSTED, event.reason, None)
    detail = f"claimed {event.claims} times without progress"
    return _escalate(saga, EscalationReason.POISONED, detail, None)


def _doubt_what_was_started(saga: Saga, event: e.Resumed) -> Saga:
    """A started link without an outcome may have landed: the worker died in between."""
    at = current(saga)
    if at is None or saga.link(*at).status is not LinkStatus.STARTED:
        return saga
    link = saga.link(*at)
    # The crash uses up no attempt: how often a run may be claimed is bounded by `claims`.
    return _put(saga, at, event, replace(
        link, status=LinkStatus.PENDING, attempts=link.attempts - 1, doubt=True
    ))  # fmt: skip


def _from_outside(
    saga: Saga, event: e.PauseRequested | e.Unpaused | e.Restored | e.Migrated
) -> Decision:
    match event:
        case e.PauseRequested():
            return Decision(saga=replace(saga, status=RunStatus.PAUSED), command=Hold())
        case e.Unpaused():
            return _on_unpaused(saga, event)
        case e.Restored():
            return _on_restored(saga, event)
        case e.Migrated():
            return _on_migrated(saga, event)


def _on_migrated(saga: Saga, event: e.Migrated) -> Decision:
    """A question that was asked stays asked; else the run is due, unless it is paused.

    Until when it waits is not said anew: an answer may have come, which this saga does not know.
    """
    found = why_not_movable(saga)
    if found:
        raise IllegalTransition(
            subject="run", state=found, event="Migrated",
            wanted="one that waits on its way forward, with nothing in doubt",
        )  # fmt: skip
    moved = migrated(saga, event)
    return Decision(saga=moved, command=Hold() if moved.status is RunStatus.PAUSED else None)


def _on_unpaused(saga: Saga, event: e.Unpaused) -> Decision:
    if event.until is None:
        return Decision(saga=_going(saga), command=None)
    waiting = replace(saga, status=RunStatus.WAITING, wake_at=event.until)
    return Decision(saga=waiting, command=Wait(until=event.until))


def _on_restored(saga: Saga, event: e.Restored) -> Decision:
    """Whatever is ahead may have been done since. Nothing begins by this, and nobody is asked yet.

    A pending run is a running one then: a cancel must not take it for one that has done nothing.
    Nobody knows whether a run that goes forward has turned back since, so its undos are doubted,
    too; by that `Saga.jumped` knows that steps are to be doubted which it visits once more.
    """
    forward = saga.direction is Direction.FORWARD
    for step in range(len(saga.steps)):
        if forward and saga.plan_step(step).call.effects is not Effects.NONE:
            saga = _doubted(saga, (step, Direction.FORWARD), event)
        saga = _doubted(saga, (step, Direction.BACKWARD), event)
    status = RunStatus.RUNNING if saga.status is RunStatus.PENDING else saga.status
    return Decision(saga=replace(saga, status=status), command=None)


def _doubted(saga: Saga, at: tuple[int, Direction], event: e.Restored) -> Saga:
    link = saga.link(*at)
    if type(event) not in LINK_TRANSITIONS[link.status]:
        return saga  # done, or started and thereby in doubt for whoever takes the run up
    pending = link.status is LinkStatus.PENDING
    status = LinkStatus.PENDING if pending else LinkStatus.UNKNOWN
    return _put(saga, at, event, replace(link, status=status, doubt=True))


def _on_awaited(saga: Saga, event: e.Awaited, now: datetime) -> Decision:
    """Somebody was asked. That uses up no attempt: the answer does."""
    at = current(saga)
    if at is None or not _may_await(saga, at):
        raise IllegalTransition(
            subject="run", state=saga.status, event="Awaited",
            wanted="to stand at a step that waits",
        )  # fmt: skip
    link = saga.link(*at)
    # A child may have its effect until it has ended, whatever else befalls this run meanwhile.
    asked = replace(
        link, first_started_at=link.first_started_at or now,
        doubt=link.doubt or _is_ours_to_end(saga.call(*at)),
    )  # fmt: skip
    waiting = replace(saga.with_link(*at, asked), status=RunStatus.WAITING, wake_at=event.until)
    return Decision(saga=waiting, command=Wait(until=event.until))


def _on_cancel(saga: Saga, event: e.CancelRequested, now: datetime) -> Decision:
    if saga.past_pivot:
        raise IllegalTransition(
            subject="run", state=f"{saga.status} past its pivot", event="CancelRequested",
            wanted="a run that has not passed its pivot",
        )  # fmt: skip
    cancelled = replace(saga, cancel=event.mode, cause=saga.cause or event.reason or "cancelled")
    if saga.status is RunStatus.PENDING and event.mode is e.CancelMode.UNDO:
        return _finish(cancelled, RunStatus.COMPENSATED)
    at = current(saga)
    if at is not None and saga.link(*at).status is LinkStatus.STARTED:
        return Decision(saga=_going(cancelled), command=None)  # its outcome decides
    return _next(_going(cancelled), now)


def _on_link(saga: Saga, event: e.Event, now: datetime) -> Decision:
    at = current(saga)
    if at is None:
        raise IllegalTransition(subject="run", state=saga.status, event=type(event).__name__)
    link = saga.link(*at)
    check_link(link.status, event)
    match event:
        case e.Began():
            started = Link(
                status=LinkStatus.STARTED, attempts=link.attempts + 1, doubt=link.doubt,
                first_started_at=link.first_started_at or now, sequence=link.sequence,
            )  # fmt: skip
            return Decision(saga=_put(saga, at, event, started), command=None)
        case e.Withdrawn():
            back = replace(link, status=LinkStatus.PENDING, attempts=link.attempts - 1)
            return Decision(saga=_put(saga, at, event, back), command=None)
        case e.Landed():
            return _on_landed(saga, at, event, now)
        case e.NotNeeded():
            not_needed = link.moved(LinkStatus.NOT_NEEDED, doubt=False)
            return _next(_put(saga, at, event, not_needed), now)
        case e.NotLanded():
            return _on_not_landed(saga, at, event, now)
        case e.InDoubt():
            return _on_in_doubt(saga, at, event, now)
        case _:
            raise IllegalTransition(subject="run", state=saga.status, event=type(event).__name__)


def _on_landed(saga: Saga, at: tuple[int, Direction], event: e.Landed, now: datetime) -> Decision:
    link = saga.link(*at)
    if link.status is LinkStatus.PENDING and not link.doubt:
        raise IllegalTransition(
            subject="step", state="pending", event="Landed", wanted="an attempt before it"
        )
    if event.accepted:
        landed = _landed(saga, at, event, LinkStatus.LANDED)
        return _on_wanted(landed, at, event, now)
    return _on_unwanted(saga, at, event, now)


def _on_wanted(saga: Saga, at: tuple[int, Direction], event: e.Landed, now: datetime) -> Decision:
    if at[1] is Direction.FORWARD:
        if saga.plan_step(at[0]).undoes:
            saga = undone_by_hand(saga, at[0])
        move = _possible(saga, at, event.moves) if event.moves else None
        if move is not None:
            return _make(saga, at, move, now)
    return _next(saga, now)


def _on_unwanted(saga: Saga, at: tuple[int, Direction], event: e.Landed, now: datetime) -> Decision:
    """It happened, but not as wanted."""
    if at[1] is Direction.BACKWARD:
        unclear = replace(saga.link(*at), status=LinkStatus.UNKNOWN, doubt=True)
        stopped = _put(saga, at, event, unclear)
        return _escalate(stopped, EscalationReason.COMPENSATION_FAILED, event.reason, at)
    landed = _landed(saga, at, event, LinkStatus.LANDED)
    move = _possible(landed, at, event.moves)
    if move is not None:
        return _make(landed, at, move, now)
    if saga.past_pivot:
        return _escalate(landed, EscalationReason.FAILED_AFTER_PIVOT, event.reason, None)
    # A pivot whose answer is not accepted has not been passed: this step is undone too.
    return _turn_back(landed, event.reason, now)


def _on_not_landed(
    saga: Saga, at: tuple[int, Direction], event: e.NotLanded, now: datetime
) -> Decision:
    link = saga.link(*at)
    if event.settles_doubt:
        saga = _with_undo_spent(saga, at)
        link = replace(link, doubt=False)
    most = event.most_attempts
    again = event.retryable and (most is None or link.attempts < most)
    delay = _next_delay(saga, at, link, event, now) if again else None
    if delay is not None:
        return _wait(_put(saga, at, event, replace(link, status=LinkStatus.PENDING)), delay, now)
    return _exhausted(saga, at, event, link, now)


def _with_undo_spent(saga: Saga, at: tuple[int, Direction]) -> Saga:
    """Of a restored run's step without a key that is not there: never done, or undone since."""
    undo = saga.steps[at[0]].undo
    spends = undo.doubt and not undo.spent and saga.call(*at).effects is Effects.UNKEYED
    if at[1] is Direction.BACKWARD or not spends or not saga.link(*at).doubt:
        return saga
    return saga.with_link(at[0], Direction.BACKWARD, replace(undo, attempts=undo.attempts + 1))


def _on_in_doubt(
    saga: Saga, at: tuple[int, Direction], event: e.InDoubt, now: datetime
) -> Decision:
    call, link = saga.call(*at), replace(saga.link(*at), doubt=True)
    if link.status is LinkStatus.PENDING:  # a verification that found nothing out
        first = link.first_started_at or now
        link = replace(link, attempts=link.attempts + 1, first_started_at=first)
    delay = _next_delay(saga, at, link, event, now) if _can_settle(call) else None
    if delay is not None:
        return _wait(_put(saga, at, event, replace(link, status=LinkStatus.PENDING)), delay, now)
    return _exhausted(saga, at, event, link, now)


def _exhausted(
    saga: Saga, at: tuple[int, Direction], event: e.NotLanded | e.InDoubt, link: Link, now: datetime
) -> Decision:
    """No attempt is left. Doubt about a harmless call does not matter; any other needs a person."""
    doubtful = link.doubt and saga.call(*at).effects is not Effects.NONE
    move = None if doubtful else _possible(saga, at, event.moves)
    if move is not None:
        handled = replace(link, status=LinkStatus.HANDLED, doubt=False)
        return _make(_put(saga, at, event, handled), at, move, now)
    status = LinkStatus.UNKNOWN if doubtful else LinkStatus.FAILED
    saga = _put(saga, at, event, replace(link, status=status, doubt=doubtful))
    if not doubtful:
        return _give_up(saga, at, event.reason, now)
    return _escalate(saga, EscalationReason.IN_DOUBT, event.reason, at)


def _give_up(saga: Saga, at: tuple[int, Direction], reason: str, now: datetime) -> Decision:
    """A link failed for good: turn back, or stop and tell."""
    if at[1] is Direction.BACKWARD:
        return _escalate(saga, EscalationReason.COMPENSATION_FAILED, reason, at)
    if saga.past_pivot:
        return _escalate(saga, EscalationReason.FAILED_AFTER_PIVOT, reason, at)
    return _turn_back(saga, reason, now)


def _on_person(saga: Saga, event: e.Event, now: datetime) -> Decision:
    if isinstance(event, e.Abandoned):
        return _finish(saga, RunStatus.ABANDONED)
    at = stuck(saga)
    if at is None:
        return _on_person_without_link(saga, event, now)
    link = saga.link(*at)
    check_link(link.status, event)
    match event:
        case e.Retried():
            keep = link.doubt and _can_settle(saga.call(*at))
            # Who was asked is asked anew: the number of the attempt names the question.
            attempts = link.attempts if _is_answered(saga, at) else 0
            saga = _put(saga, at, event, Link(doubt=keep, attempts=attempts))
            return _next(_going(replace(saga, deadline_at=None)), now)
        case e.Resolved(landed=True):
            resolved = _landed(saga, at, event, LinkStatus.RESOLVED)
            return _on_wanted(_going(resolved), at, e.Landed(), now)
        case e.Resolved():
            return _declared_absent(saga, at, event, now)
        case e.Skipped() if at[1] is Direction.BACKWARD:
            skipped = replace(link, status=LinkStatus.SKIPPED, doubt=False)
            return _next(_going(_put(saga, at, event, skipped)), now)
        case _:
            raise IllegalTransition(
                subject="step", state=f"{link.status} going {at[1]}", event=type(event).__name__,
                wanted="a compensation; a forward step can be retried, resolved or abandoned",
            )  # fmt: skip


def _is_answered(saga: Saga, at: tuple[int, Direction]) -> bool:
    """Whether the link waits for somebody's answer; an undo that is not in the plan does not."""
    step, direction = at
    if direction is Direction.BACKWARD and saga.plan_step(step).compensation is None:
        return False
    return saga.call(step, direction).is_answered


def _on_person_without_link(saga: Saga, event: e.Event, now: datetime) -> Decision:
    if not isinstance(event, e.Retried):
        raise IllegalTransition(
            subject="run", state=saga.status, event=type(event).__name__,
            wanted="Retried or Abandoned: no step is stuck",
        )  # fmt: skip
    # A person lets it go on although the deadline has passed, so the deadline is waived.
    return _next(_going(replace(saga, deadline_at=None)), now)


def _declared_absent(
    saga: Saga, at: tuple[int, Direction], event: e.Resolved, now: datetime
) -> Decision:
    """A person vouches that a doubtful forward step had no effect."""
    if at[1] is Direction.BACKWARD or saga.past_pivot:
        raise IllegalTransition(
            subject="step", state=f"{saga.link(*at).status} going {at[1]}",
            event="Resolved(landed=False)", wanted="Retried: there is no way back from here",
        )  # fmt: skip
    failed = replace(saga.link(*at), status=LinkStatus.FAILED, doubt=False)
    return _turn_back(_put(saga, at, event, failed), saga.cause, now)


# --- what comes next ------------------------------------------------------------------------------


def _next(saga: Saga, now: datetime) -> Decision:
    if saga.direction is Direction.BACKWARD:
        return _next_backward(saga)
    at = current(saga)
    if at is not None and saga.link(*at).doubt:
        return _settle_doubt(saga, at)
    cancelled = _cancelled(saga, now)
    if cancelled is not None:
        return cancelled
    if at is None:
        return _ended(saga, now)
    return _overdue(saga, now) or Decision(saga=saga, command=Perform(step=at[0], direction=at[1]))


def _ended(saga: Saga, now: datetime) -> Decision:
    """The chain is through. What its author began to undo by hand is undone to the end."""
    by_hand = saga.undoing
    if by_hand and not saga.past_pivot:
        return _turn_back(saga, saga.cause or f"{', '.join(by_hand)} undid it", now)
    return _finish(saga, RunStatus.SUCCEEDED)


def _cancelled(saga: Saga, now: datetime) -> Decision | None:
    """A cancel that was accepted counts even when the last step has landed meanwhile."""
    if saga.cancel is None or saga.past_pivot:
        return None
    if saga.cancel is e.CancelMode.STOP:
        return _finish(saga, RunStatus.ABANDONED)
    return _turn_back(saga, saga.cause, now)


def _overdue(saga: Saga, now: datetime) -> Decision | None:
    """Past its deadline a run begins no forward step."""
    if saga.deadline_at is None or now < saga.deadline_at:
        return None
    detail = f"deadline {saga.deadline_at.isoformat()} has passed"
    if saga.past_pivot:
        return _escalate(saga, EscalationReason.DEADLINE_AFTER_PIVOT, detail, None)
    return _turn_back(saga, detail, now)


def _next_backward(saga: Saga) -> Decision:
    for step in undo_order(saga):
        link = saga.steps[step].undo
        if link.status in DONE:
            continue
        if not saga.has_call(step, Direction.BACKWARD):
            not_needed = link.moved(LinkStatus.NOT_NEEDED, doubt=False)
            saga = saga.with_link(step, Direction.BACKWARD, not_needed)
            continue
        at = (step, Direction.BACKWARD)
        if link.doubt:
            return _settle_doubt(saga, at)
        return Decision(saga=saga, command=Perform(step=step, direction=Direction.BACKWARD))
    return _finish(saga, RunStatus.COMPENSATED)


def _settle_doubt(saga: Saga, at: tuple[int, Direction]) -> Decision:
    """Same key again, else ask, else a person: an unkeyed effect is never blindly repeated."""
    call, spent = saga.call(*at), saga.link(*at).spent
    if call.effects is not Effects.UNKEYED and not spent:
        return Decision(saga=saga, command=Perform(step=at[0], direction=at[1]))
    if call.verify is not None and not spent:
        return Decision(saga=saga, command=Verify(step=at[0], direction=at[1]))
    unknown = replace(saga.link(*at), status=LinkStatus.UNKNOWN)
    detail = (
        "the database was restored; the request may have been made since it was backed up"
        if saga.link(*at).first_started_at is None
        else "its worker ended while the request may have been under way"
    )
    return _escalate(saga.with_link(*at, unknown), EscalationReason.IN_DOUBT, detail, at)


def _turn_back(saga: Saga, cause: str, now: datetime) -> Decision:
    may_be_in_part = saga.plan.blocks or saga.plan.maps
    is_left = may_be_in_part and saga.cancel is e.CancelMode.STOP
    if saga.is_branch or is_left:  # a branch ends as it stands: its block is undone in one chain
        return _finish(replace(saga, cause=cause), RunStatus.ABANDONED)
    back = replace(saga, direction=Direction.BACKWARD, status=RunStatus.COMPENSATING, cause=cause)
    return _next(back, now)


def _finish(saga: Saga, status: RunStatus) -> Decision:
    assert status in FINAL
    return Decision(saga=replace(saga, status=status, wake_at=None), command=Finish(status=status))


def _escalate(
    saga: Saga, reason: EscalationReason, detail: str, at: tuple[int, Direction] | None
) -> Decision:
    stopped = replace(saga, status=RunStatus.ESCALATED, wake_at=None, cause=saga.cause or detail)
    step, direction = at if at is not None else (None, saga.direction)
    return Decision(
        saga=stopped,
        command=Escalate(reason=reason, detail=detail, step=step, direction=direction),
    )


def _wait(saga: Saga, delay_seconds: float, now: datetime) -> Decision:
    until = now + timedelta(seconds=delay_seconds)
    waiting = replace(saga, status=RunStatus.WAITING, wake_at=until)
    return Decision(saga=waiting, command=Wait(until=until))


def _possible(
    saga: Saga, at: tuple[int, Direction], moves: tuple[e.Move, ...]
) -> tuple[e.Move, Path] | None:
    """The first of the moves that can be made here, and the way it leads. An undo makes none."""
    if at[1] is Direction.BACKWARD:
        return None
    ways = ((move, saga.path.jumped(saga.plan, at[0], move)) for move in moves)
    return next(((move, path) for move, path in ways if path is not None), None)


def _make(
    saga: Saga, at: tuple[int, Direction], move: tuple[e.Move, Path], now: datetime
) -> Decision:
    """Go another way, unless this run has seen too many steps already."""
    wanted, path = move
    visits, most = at[0] + 1, saga.plan.max_visits
    if visits >= most and len(path.steps) > visits:
        detail = f"{visits} steps were visited, and more should follow; wanted at most {most}"
        if saga.past_pivot:
            return _escalate(saga, EscalationReason.FAILED_AFTER_PIVOT, detail, None)
        return _turn_back(saga, detail, now)
    saga = saga.jumped(at[0], path)
    if wanted.after_seconds and saga.cancel is None:
        return replace(_wait(saga, wanted.after_seconds, now), move=wanted)
    return replace(_next(saga, now), move=wanted)


# --- small parts ----------------------------------------------------------------------------------


def _going(saga: Saga) -> Saga:
    forward = saga.direction is Direction.FORWARD
    status = RunStatus.RUNNING if forward else RunStatus.COMPENSATING
    return replace(saga, status=status, wake_at=None)


def _may_await(saga: Saga, at: tuple[int, Direction]) -> bool:
    """People are asked on the way forward only; a run that undoes a child is waited for as well."""
    call = saga.call(*at)
    return call.is_child or (call.is_wait and at[1] is Direction.FORWARD)


def _is_ours_to_end(call: Call) -> bool:
    """Whether what it began has to end before the run goes on, whichever way."""
    return call.is_child and call.on_cancel is not OnCancel.LEAVE


def _can_settle(call: Call) -> bool:
    return call.effects is not Effects.UNKEYED or call.verify is not None


def _next_delay(
    saga: Saga, at: tuple[int, Direction], link: Link, event: e.NotLanded | e.InDoubt, now: datetime
) -> float | None:
    begun = link.first_started_at or now
    return saga.call(*at).retry.next_delay(
        attempts=max(link.attempts, 1),
        elapsed_seconds=max((now - begun).total_seconds(), 0.0),
        jitter=event.jitter,
        retry_after_seconds=event.retry_after_seconds,
    )


def _landed(saga: Saga, at: tuple[int, Direction], event: e.Event, status: LinkStatus) -> Saga:
    latest = 0
    for state in saga.steps:
        for sequence in (state.forward.sequence, state.undo.sequence):
            if sequence is not None and sequence > latest:
                latest = sequence
    link = saga.link(*at).moved(status, doubt=False, sequence=latest + 1)
    return _put(saga, at, event, link)


def _put(saga: Saga, at: tuple[int, Direction], event: e.Event, link: Link) -> Saga:
    """Replace a link after checking the move against the table."""
    before = saga.link(*at).status
    if link.status not in LINK_TRANSITIONS[before].get(type(event), ()):
        check_link(before, event, link.status)
    return saga.with_link(*at, link)
