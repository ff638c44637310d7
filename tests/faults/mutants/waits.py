"""Faults around runs that stand still: waits for signals and people, and pauses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from orchestrator.core.exchange import Response
from orchestrator.core.saga import Decision
from orchestrator.engine import waiting as asking
from orchestrator.engine.driver import RunDriver
from orchestrator.engine.pausing import PauseWatch
from orchestrator.engine.waiting import until_answered
from orchestrator.errors import Unavailable
from orchestrator.ports import SignalReceipt, SignalRecord, WaitOutcome, WaitRecord
from orchestrator.service.waiting import Waiting
from orchestrator.store import waiting as stored
from tests.faults.mutants.patching import everywhere, replaced, sql, strike, wrapped
from tests.faults.mutants.planting import World, planted

_SAME = "waits.run_id = b.run_id AND waits.step = b.step AND waits.attempt = b.attempt"


# --- waits ----------------------------------------------------------------------------------------


@planted("P16", world=World.SQL_STORM)
def two_told_that_they_decided() -> Iterator[None]:
    """A decision is taken although another one has closed the approval."""

    def unchecked(wait: WaitRecord, *_: Any, **__: Any) -> None:
        if not wait.is_open:
            strike()

    with replaced(stored, "_check_undecided", unchecked):
        yield


@planted("P16")
def signal_acknowledged_and_not_kept() -> Iterator[None]:
    """A signal is acknowledged although the database could not take it."""

    async def send(self: Waiting, run_id: str, name: str, **told: Any) -> SignalReceipt:
        try:
            return await original(self, run_id, name, **told)
        except Unavailable:
            strike()
            signal = SignalRecord(
                run_id=run_id, number=1, name=name, key=told["key"], data=told["data"],
                sent_at=datetime.now(UTC), sent_by=told["by"], via=told["via"], wait_id=None,
            )  # fmt: skip
            return SignalReceipt(signal=signal, repeated=False, redelivery=None)

    original = Waiting.send_signal
    with replaced(Waiting, "send_signal", send):
        yield


@planted("P16")
def rejection_taken_for_approval() -> Iterator[None]:
    """A run goes on although a person has said no."""

    def spoilt(wait: WaitRecord) -> Response:
        if wait.outcome is WaitOutcome.REJECTED:
            strike()
            return asking._response(200, wait.answer or {})
        return original(wait)

    original = asking.answer_of
    with replaced(asking, "answer_of", spoilt):
        yield


@planted("P16", world=World.SQL_STORM)
def early_signal_answers_nothing() -> Iterator[None]:
    """A signal that came before its run waits for it is kept, and never looked at."""
    opened = f"(SELECT waits.opened_at FROM waits WHERE {_SAME})"
    with sql("kept.wait_id IS NULL", f"kept.wait_id IS NULL AND kept.sent_at >= {opened}"):
        yield


@planted("P1", world=World.SQL_STORM)
def answer_wakes_nobody() -> Iterator[None]:
    """Who answers leaves the run asleep."""

    async def nobody(*_: Any) -> None:
        strike()

    with replaced(stored.Waiting, "_woken", nobody):
        yield


@planted("P1", world=World.SQL_STORM)
def time_never_runs_out() -> Iterator[None]:
    """A wait that nobody answers is not ended."""
    expired = f"{_SAME} AND waits.closed_at IS NULL AND waits.expires_at <= {{now}}"
    with sql(expired, f"{expired} AND 1 = 0"):
        yield


@planted("P1")
def answer_on_the_way_to_sleep_missed() -> Iterator[None]:
    """Whoever asks does not look whether it is answered already, and lets go of a run in hand."""

    async def spoilt(*args: Any) -> WaitRecord | Decision | None:
        found = await until_answered(*args)
        if isinstance(found, WaitRecord):
            strike()
            return None
        return found

    with everywhere(until_answered, spoilt):
        yield


# --- pauses ---------------------------------------------------------------------------------------


@planted("P1", world=World.PEOPLE)
def pause_without_an_end() -> Iterator[None]:
    """Nobody lets those go on whom no pause stops any more."""

    async def nothing(_: PauseWatch) -> None:
        strike()

    with replaced(PauseWatch, "_release", nothing):
        yield


@planted("P1", world=World.PEOPLE)
def paused_and_still_owned() -> Iterator[None]:
    """A run that its driver has paused stays with a worker that does not think of it any more."""

    def around(sleep: Any) -> Any:
        async def spoilt(self: RunDriver, why: str) -> None:
            if why != "paused":
                await sleep(self, why)
                return
            strike()

        return spoilt

    with wrapped(RunDriver, "_sleep", around):
        yield
