"""Faults around what people do: cancels, and decisions about dead letters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from orchestrator.core import deciding
from orchestrator.core import events as e
from orchestrator.core.saga import Decision, Saga
from orchestrator.engine.entering import Entrance
from orchestrator.service.escalations import Escalations
from tests.faults.mutants.patching import replaced, sql, strike, wrapped
from tests.faults.mutants.planting import World, planted


@planted("P3", world=World.SQL_PEOPLE)
def two_operators_decide() -> Iterator[None]:
    """A decision is applied although another one was made meanwhile."""
    with (
        sql("closing_reason = :reason WHERE id = :id AND closed_at IS NULL",
            "closing_reason = :reason WHERE id = :id"),
        sql("runs.id = b.run_id AND runs.status = 'escalated' AND runs.owner IS NULL"
            " AND runs.epoch = b.expected", "runs.id = b.run_id AND runs.epoch >= b.expected"),
    ):  # fmt: skip
        yield


@planted("P12", world=World.PEOPLE)
def decision_not_audited() -> Iterator[None]:
    """What a person decides about a run leaves no record."""

    def around(write: Any) -> Any:
        def spoilt(self: Escalations, *args: Any) -> Any:
            strike()
            return replace(write(self, *args), audit=())

        return spoilt

    with wrapped(Escalations, "_write", around):
        yield


@planted("P3", world=World.PEOPLE)
def stop_taken_for_undo() -> Iterator[None]:
    """A cancel that wants everything left as it is undoes it."""

    def around(on_cancel: Any) -> Any:
        def spoilt(saga: Saga, event: e.CancelRequested, now: Any) -> Decision:
            if event.mode is e.CancelMode.STOP:
                strike()
                event = dataclasses.replace(event, mode=e.CancelMode.UNDO)
            return on_cancel(saga, event, now)

        return spoilt

    with wrapped(deciding, "_on_cancel", around):
        yield


@planted("P12", world=World.LIMITS)
def intent_not_withdrawn() -> Iterator[None]:
    """An intent whose request the gate did not admit stands as if it had left."""

    def nothing(_: Entrance, __: Any) -> None:
        strike()

    with replaced(Entrance, "withdraw", nothing):
        yield
