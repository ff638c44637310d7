"""Faults of what the core decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from orchestrator.core import deciding
from orchestrator.core import events as e
from orchestrator.core.plan import Effects
from orchestrator.core.saga import (
    Decision,
    Escalate,
    EscalationReason,
    Link,
    Perform,
    Saga,
    undo_order,
)
from orchestrator.core.states import HAPPENED, Direction, LinkStatus, RunStatus
from orchestrator.service.runs import Runs
from tests.faults.mutants.patching import everywhere, replaced, strike, wrapped
from tests.faults.mutants.planting import World, planted

At = tuple[int, Direction]


@planted("P6")
def undo_in_forward_order() -> Iterator[None]:
    """Compensations run in the order in which the steps were done."""

    def forward(saga: Saga) -> list[int]:
        return undo_order(saga)[::-1]

    with everywhere(undo_order, forward):
        yield


@planted("P6")
def order_of_completion_lost() -> Iterator[None]:
    """Every link that lands gets the same place in the order of completion."""

    def around(landed: Any) -> Any:
        def spoilt(saga: Saga, at: At, event: e.Event, status: LinkStatus) -> Saga:
            done = landed(saga, at, event, status)
            return done.with_link(*at, replace(done.link(*at), sequence=1))

        return spoilt

    with wrapped(deciding, "_landed", around):
        yield


@planted("P5")
def unkeyed_repeated_in_doubt() -> Iterator[None]:
    """A doubtful call that has no key is sent again instead of asked about."""

    def perform(saga: Saga, at: At) -> Decision:
        strike()
        return Decision(saga=saga, command=Perform(step=at[0], direction=at[1]))

    with replaced(deciding, "_settle_doubt", perform):
        yield


@planted("P7")
def doubt_forgotten_on_takeover() -> Iterator[None]:
    """What a lost worker had begun counts as not begun."""

    def around(doubting: Any) -> Any:
        def spoilt(saga: Saga, event: e.Resumed) -> Saga:
            taken = doubting(saga, event)
            at = deciding.current(taken)
            if taken is saga or at is None:
                return taken
            strike()
            return taken.with_link(*at, replace(taken.link(*at), doubt=False))

        return spoilt

    with wrapped(deciding, "_doubt_what_was_started", around):
        yield


@planted("P7")
def doubtful_taken_for_failed() -> Iterator[None]:
    """A step of unknown outcome counts as failed, so nothing undoes it and nobody is told."""

    def exhausted(
        saga: Saga, at: At, event: e.NotLanded | e.InDoubt, link: Link, now: datetime
    ) -> Decision:
        strike()
        failed = replace(link, status=LinkStatus.FAILED, doubt=False)
        return deciding._give_up(deciding._put(saga, at, event, failed), at, event.reason, now)

    def turn_back(saga: Saga, at: At) -> Decision:
        if saga.call(*at).effects is Effects.UNKEYED and at[1] is Direction.FORWARD:
            strike()
            failed = replace(saga.link(*at), status=LinkStatus.FAILED, doubt=False)
            gone = saga.with_link(*at, failed)
            back = replace(gone, direction=Direction.BACKWARD, status=RunStatus.COMPENSATING)
            return deciding._next_backward(back)
        return settle(saga, at)

    settle = deciding._settle_doubt
    with (
        replaced(deciding, "_exhausted", exhausted),
        replaced(deciding, "_settle_doubt", turn_back),
    ):
        yield


@planted("P8")
def undoing_goes_on_after_a_failure() -> Iterator[None]:
    """A compensation that cannot be completed is passed over, and the chain goes on."""

    def around(give_up: Any) -> Any:
        def spoilt(saga: Saga, at: At, reason: str, now: datetime) -> Decision:
            if at[1] is Direction.FORWARD:
                return give_up(saga, at, reason, now)
            strike()
            passed = replace(saga.link(*at), status=LinkStatus.SKIPPED)
            return deciding._next_backward(saga.with_link(*at, passed))

        return spoilt

    with wrapped(deciding, "_give_up", around):
        yield


@planted("P9")
def turned_back_after_the_pivot() -> Iterator[None]:
    """A step that is refused after the pivot turns the run back."""

    def never(_: Saga) -> bool:
        return False

    with replaced(Saga, "past_pivot", property(never)):
        yield


@planted("P9", world=World.PIVOTS)
def cancelled_after_the_pivot() -> Iterator[None]:
    """A cancel is accepted and obeyed after the pivot, and undoes what nothing may undo."""

    def on_cancel(saga: Saga, event: e.CancelRequested, now: datetime) -> Decision:
        if not saga.past_pivot:
            return original(saga, event, now)
        strike()
        cancelled = replace(saga, cancel=event.mode)
        return deciding._turn_back(cancelled, event.reason, now)

    async def cancel(self: Runs, run_id: str, *, mode: e.CancelMode, reason: str, by: str) -> None:
        redelivery = await self._store.request_cancel(run_id, mode=mode, reason=reason, by=by)
        if redelivery is not None:
            await self._redeliverer.publish([redelivery])

    original = deciding._on_cancel
    with replaced(deciding, "_on_cancel", on_cancel), replaced(Runs, "cancel", cancel):
        yield


@planted("P3")
def success_executed_again() -> Iterator[None]:
    """Whoever takes a run over begins with the last step that was already done."""

    def around(doubting: Any) -> Any:
        def spoilt(saga: Saga, event: e.Resumed) -> Saga:
            taken: Saga = doubting(saga, event)
            done = [i for i, s in enumerate(taken.steps) if s.forward.status in HAPPENED]
            if taken is saga or taken.direction is Direction.BACKWARD or not done:
                return taken
            strike()
            return taken.with_link(done[-1], Direction.FORWARD, Link())

        return spoilt

    with wrapped(deciding, "_doubt_what_was_started", around):
        yield


@planted("P8")
def refusal_settles_nothing() -> Iterator[None]:
    """A refusal of a repeated call leaves its doubt, so a person is called for nothing."""

    def around(on_not_landed: Any) -> Any:
        def spoilt(saga: Saga, at: At, event: e.NotLanded, now: datetime) -> Decision:
            if not event.retryable:
                strike()
                event = replace(event, settles_doubt=False)
            return on_not_landed(saga, at, event, now)

        return spoilt

    with wrapped(deciding, "_on_not_landed", around):
        yield


@planted("P8")
def escalated_instead_of_undone() -> Iterator[None]:
    """A run whose step is refused calls a person instead of turning back."""

    def escalate(saga: Saga, cause: str, _: datetime) -> Decision:
        stopped = replace(saga, status=RunStatus.ESCALATED, wake_at=None, cause=cause)
        command = Escalate(reason=EscalationReason.IN_DOUBT, detail=cause)
        return Decision(saga=stopped, command=command)

    with replaced(deciding, "_turn_back", escalate):
        yield
