"""Faults of the engine: what it asks of the API, and what it makes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from orchestrator.core import events as e
from orchestrator.core.exchange import FrozenRequest, Judgement, Outcome
from orchestrator.core.states import DONE, Direction
from orchestrator.definitions.program import Program
from orchestrator.engine import answering, driver
from orchestrator.engine.driver import RunDriver
from orchestrator.engine.ledger import At
from orchestrator.ports import Permit
from tests.faults.mutants.patching import replaced, strike, wrapped
from tests.faults.mutants.planting import World, planted
from tests.faults.simulation.api import TOKEN
from tests.faults.workload import KEY_HEADER

# --- what is asked --------------------------------------------------------------------------------


@planted("P5")
def key_changed_between_attempts() -> Iterator[None]:
    """Each attempt of a step has a key of its own."""

    def around(prepared: Any) -> Any:
        def spoilt(self: RunDriver, at: At) -> Any:
            request = prepared(self, at)
            attempts = self._run.saga.link(*at).attempts
            if not isinstance(request, FrozenRequest) or not attempts:
                return request
            strike()
            headers = tuple(
                (name, f"{value}-{attempts}" if name == KEY_HEADER else value)
                for name, value in request.headers
            )
            return replace(request, headers=headers)

        return spoilt

    with wrapped(RunDriver, "_prepared", around):
        yield


@planted("P5")
def body_changed_between_attempts() -> Iterator[None]:
    """Each attempt of a step is made anew, with the attempt's number in it."""

    def around(prepared: Any) -> Any:
        def spoilt(self: RunDriver, at: At) -> Any:
            request = prepared(self, at)
            attempts = self._run.saga.link(*at).attempts
            if not isinstance(request, FrozenRequest) or not attempts:
                return request
            strike()
            return replace(request, body=b'{"attempt": %d}' % attempts)

        return spoilt

    with wrapped(RunDriver, "_prepared", around):
        yield


@planted("P6")
def two_compensations_at_once() -> Iterator[None]:
    """While an undo is under way the next one is asked for too."""

    async def asked(self: RunDriver, at: At, *args: Any, **more: Any) -> Any:
        *_, permit = args
        following = _next_undo(self, at)
        if following is not None:
            task = asyncio.ensure_future(_undo_silently(self, following, permit))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await original(self, at, *args, **more)

    original = RunDriver._asked
    with replaced(RunDriver, "_asked", asked):
        yield


def _next_undo(self: RunDriver, at: At) -> At | None:
    if at[1] is Direction.FORWARD:
        return None
    saga = self._run.saga
    for step in range(at[0] - 1, -1, -1):
        undone = saga.link(step, Direction.BACKWARD).status in DONE
        done = saga.link(step, Direction.FORWARD).status in DONE
        if done and not undone and saga.has_call(step, Direction.BACKWARD):
            return step, Direction.BACKWARD
    return None


async def _undo_silently(self: RunDriver, at: At, permit: Permit) -> None:
    request = self._program.prepare(*at, self._run.facts)
    assert isinstance(request, FrozenRequest), "the workload's undos have no condition"
    call = self._run.saga.call(*at)
    context = self._run.context(at, permit, verify=False)
    strike()
    await self._deps.transport(request).send(
        call.api, request, context, timeout_seconds=call.timeout_seconds
    )


@planted("P7")
def undo_skipped_after_a_doubt() -> Iterator[None]:
    """The undo of a step that took several attempts counts as not needed."""

    def around(prepared: Any) -> Any:
        def spoilt(self: RunDriver, at: At) -> Any:
            forward = self._run.saga.link(at[0], Direction.FORWARD)
            if at[1] is Direction.FORWARD or forward.attempts < 2:
                return prepared(self, at)
            strike()
            reason = "nobody knows what there is"
            nothing = Judgement(outcome=Outcome.NOT_LANDED, reason=reason)
            return self._settle(at, e.NotNeeded(reason=reason), nothing)

        return spoilt

    with wrapped(RunDriver, "_prepared", around):
        yield


# --- what is made of answers ----------------------------------------------------------------------


@planted("P3")
def landed_taken_for_failed() -> Iterator[None]:
    """An answer that says done counts as a refusal."""

    def around(event_of: Any) -> Any:
        def spoilt(judgement: Judgement, jitter: float) -> e.Event:
            if judgement.outcome is not Outcome.LANDED or not _some(judgement.outputs):
                return event_of(judgement, jitter)
            strike()
            return e.NotLanded(reason=judgement.reason)

        return spoilt

    with wrapped(driver, "event_of", around):
        yield


def _some(outputs: Any) -> bool:
    """About one answer in eight, the same ones in each repetition."""
    return sum(str(outputs.get("id", "")).encode()) % 8 == 0


@planted("P3")
def failed_taken_for_landed() -> Iterator[None]:
    """A refusal counts as done."""

    def around(event_of: Any) -> Any:
        def spoilt(judgement: Judgement, jitter: float) -> e.Event:
            if judgement.outcome is Outcome.NOT_LANDED and not judgement.retryable:
                strike()
                return e.Landed(reason=judgement.reason)
            return event_of(judgement, jitter)

        return spoilt

    with wrapped(driver, "event_of", around):
        yield


@planted("P5")
def timeout_taken_for_not_sent() -> Iterator[None]:
    """A request without an answer counts as one that never left."""

    def around(judgement_of: Any) -> Any:
        def spoilt(error: Any) -> Judgement:
            judgement: Judgement = judgement_of(error)
            if judgement.outcome is not Outcome.UNKNOWN:
                return judgement
            strike()
            return replace(judgement, outcome=Outcome.NOT_LANDED, retryable=True)

        return spoilt

    with wrapped(answering, "_judgement_of", around):
        yield


@planted("P7")
def absent_taken_for_landed() -> Iterator[None]:
    """A verification that says "not there" counts as "done"."""

    def around(of_verification: Any) -> Any:
        def spoilt(judgement: Judgement, response: Any) -> Judgement:
            asked: Judgement = of_verification(judgement, response)
            if asked.outcome is not Outcome.NOT_LANDED:
                return asked
            strike()
            return replace(asked, outcome=Outcome.LANDED)

        return spoilt

    with wrapped(driver, "of_verification", around):
        yield


@planted("P5")
def silence_taken_for_absent() -> Iterator[None]:
    """A verification that gets no answer counts as "not there"."""

    def around(of_verification: Any) -> Any:
        def spoilt(judgement: Judgement, response: Any) -> Judgement:
            asked: Judgement = of_verification(judgement, response)
            if asked.outcome is not Outcome.UNKNOWN:
                return asked
            strike()
            return replace(asked, outcome=Outcome.NOT_LANDED, retryable=True, settles_doubt=True)

        return spoilt

    with wrapped(driver, "of_verification", around):
        yield


# --- what leaves the house ------------------------------------------------------------------------


@planted("P13", world=World.SEARCHED)
def credential_frozen_with_the_request() -> Iterator[None]:
    """The credential is added when a request is made, and so it is stored with it."""

    def around(prepare: Any) -> Any:
        def spoilt(self: Program, *args: Any) -> Any:
            request = prepare(self, *args)
            if not isinstance(request, FrozenRequest):
                return request
            strike()
            credential = ("Authorization", f"Bearer {TOKEN}")
            return replace(request, headers=(*request.headers, credential))

        return spoilt

    with wrapped(Program, "prepare", around):
        yield


@planted("P13", world=World.SEARCHED)
def credential_in_the_audit() -> Iterator[None]:
    """A doubtful outcome is told of with all that was sent, the credential too, and not hidden."""

    def around(judgement_of: Any) -> Any:
        def spoilt(error: Any) -> Judgement:
            strike()
            judgement: Judgement = judgement_of(error)
            told = f"{judgement.reason}; sent with Authorization: Bearer {TOKEN}"
            return replace(judgement, reason=told)

        return spoilt

    def as_it_is(text: str) -> str:
        return text

    with wrapped(answering, "_judgement_of", around), replaced(answering, "hidden_text", as_it_is):
        yield
