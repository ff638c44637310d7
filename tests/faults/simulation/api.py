"""The way from a worker process to the API, which plays along at the points outside the process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator import crashpoints
from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.crashpoints import Crash, Reached
from orchestrator.errors import HeldUp, InDoubt
from orchestrator.ports import AttemptContext
from orchestrator.testing.loop import Life
from tests.faults.ledger.desk import Desk
from tests.faults.workload import KEY_HEADER

if TYPE_CHECKING:
    from tests.faults.simulation.worker import Worker

TOKEN = "tok-5f1c0b7d-never-to-be-seen"
WAY_SECONDS = 0.001


class ApiLink:
    """Implements Transport for one worker process.

    A request that has left goes on at the API whatever becomes of its sender. An answer reaches a
    frozen sender as it would a socket: it is there when the sender is thawed.
    """

    def __init__(self, desk: Desk, sender: Worker) -> None:
        self._desk, self._sender = desk, sender
        self._loop = sender.house.loop

    async def send(
        self,
        api: str,
        request: FrozenRequest,
        context: AttemptContext,
        *,
        timeout_seconds: float | None,
    ) -> Response:
        """See Transport."""
        context.trail.base = "http://ledger"
        if not context.trail.counting(context.may_leave)():
            raise HeldUp(api)
        call = _Call(self._sender, context, self._loop.create_future(), self._loop.time())
        self._loop.call_later(WAY_SECONDS, self._arrive, request, call, context=self._loop.nowhere)
        timer = self._loop.call_later(timeout_seconds or 30.0, call.give_up)
        try:
            return await call.answered
        finally:
            timer.cancel()

    def _arrive(self, request: FrozenRequest, call: _Call) -> None:
        key = next((value for name, value in request.headers if name == KEY_HEADER), None)
        visit = self._desk.take(
            request.method, request.target, request.body, key=key,
            credential=f"Bearer {TOKEN}", caller=call,
        )  # fmt: skip
        call.on_leaving = visit.gone
        if call.answered.done() and not call.was_answered:
            visit.gone()


class _Call:
    """The sender's end of one request. Implements the desk's Caller."""

    def __init__(
        self, sender: Worker, context: AttemptContext, answered: asyncio.Future[Response], at: float
    ) -> None:
        self._sender, self._context, self._at = sender, context, at
        self.answered, self.was_answered = answered, False
        self.on_leaving = _nothing

    def give_up(self) -> None:
        """The sender's patience is at its end."""
        if not self.answered.done():
            self.answered.set_exception(InDoubt("no answer within the time"))
            self.on_leaving()

    def answer(self, status: int, body: bytes, retry_after: str | None) -> bool:
        """See Caller."""
        if self.answered.done() or self._sender.life is Life.DEAD:
            return False
        headers = {"content-type": "application/json"}
        if retry_after is not None:
            headers["retry-after"] = retry_after
        seconds = self._sender.house.loop.time() - self._at
        self.was_answered = True
        self.answered.set_result(
            Response(status=status, headers=headers, body=body, seconds=seconds)
        )
        return True

    def half(self, status: int, body: bytes) -> None:
        """See Caller."""
        self._lose("the connection was lost within the answer")

    def cut(self) -> None:
        """See Caller."""
        self._lose("the connection was lost after the request may have left")

    def _lose(self, why: str) -> None:
        if not self.answered.done():
            self.was_answered = True
            self.answered.set_exception(InDoubt(why))

    def reach(self, point: str) -> None:
        """See Caller. What the hook would have awaited happens to the sender by itself."""
        if crashpoints.hook is None:
            return
        context = self._context
        step = int(context.step_id.removeprefix("s")) - 1
        reached = Reached(
            point=point, run_id=context.run_id, at=(step, context.direction),
            worker=self._sender.worker_id,
        )  # fmt: skip
        try:
            self._sender.house.reached(reached, self._sender)  # what stops it, stops it there
        except Crash as crash:
            if not self.answered.done():
                self.was_answered = True
                self.answered.set_exception(crash)


def _nothing() -> None: ...
