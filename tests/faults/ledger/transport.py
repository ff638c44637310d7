"""The ledger in this process, behind the `Transport` port. Uses only timers of the running loop.

Cuts, hangs and partial answers become what `HttpTransport` makes of them: in doubt, since the
request had left. Only while the ledger is `away` has a request certainly not left.

The crash points that lie outside a worker's process are reached here. A hook is called at the very
moment; what it raises is raised in the sender, and what it returns is awaited by the sender, while
the ledger goes on with the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from orchestrator import crashpoints
from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.errors import HeldUp, InDoubt, NotLanded
from orchestrator.ports import AttemptContext, hop_id_of
from tests.faults.ledger.desk import Desk, Point, Visit
from tests.faults.workload import KEY_HEADER

_HEADERS = {"content-type": "application/json"}
_KEY_HEADER = KEY_HEADER.lower()
_DEFAULT_TIMEOUT_SECONDS = 60.0


class LedgerTransport:
    """Implements Transport: one worker's way to the desk. `worker` is its id, for crash points."""

    def __init__(self, desk: Desk, *, worker: str = "") -> None:
        self.desk = desk
        self.worker = worker
        self.away = False  # nobody listens there
        self.credential: str | None = None  # Authorization header to send

    async def send(
        self,
        api: str,
        request: FrozenRequest,
        context: AttemptContext,
        *,
        timeout_seconds: float | None,
    ) -> Response:
        """See Transport."""
        if self.away:
            raise NotLanded(f"{api}: no connection before the request could leave", retryable=True)
        if not context.may_leave():
            raise HeldUp(api)
        exchange = _Exchange(api, context, self.worker, timeout_seconds or _DEFAULT_TIMEOUT_SECONDS)
        visit = self.desk.take(
            request.method, request.target, request.body, key=_key(request),
            credential=self.credential, caller=exchange,
        )  # fmt: skip
        return await exchange.outcome(visit)


class _Exchange:
    """Implements Caller: the sender's end of one request."""

    __slots__ = (
        "_api", "_begun", "_context", "_ended", "_interrupts", "_loop", "_outcome", "_timeout",
        "_waiter", "_worker",
    )  # fmt: skip

    def __init__(
        self, api: str, context: AttemptContext, worker: str, timeout_seconds: float
    ) -> None:
        self._api, self._context, self._worker = api, context, worker
        self._timeout = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._outcome: Response | InDoubt | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._interrupts: list[Awaitable[Any] | BaseException] = []
        self._ended = False  # the sender listens no more

    # --- what the desk calls --------------------------------------------------------------------

    def answer(self, status: int, body: bytes, retry_after: str | None) -> bool:
        """See Caller."""
        headers = _HEADERS if retry_after is None else {**_HEADERS, "retry-after": retry_after}
        response = Response(
            status=status, headers=headers, body=body, seconds=self._loop.time() - self._begun
        )
        return self._end_with(response)

    def half(self, status: int, body: bytes) -> None:
        """See Caller."""
        self._end_with(self._doubt("the connection was lost within the answer"))

    def cut(self) -> None:
        """See Caller."""
        self._end_with(self._doubt("the connection was lost"))

    def reach(self, point: Point) -> None:
        """See Caller."""
        if crashpoints.hook is None:
            return
        try:
            waiting = crashpoints.hook(self._reached(point))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the sender's
            self._interrupt(error)
        else:
            if waiting is not None:
                self._interrupt(waiting)

    # --- the sender's side ----------------------------------------------------------------------

    async def outcome(self, visit: Visit) -> Response:
        """Wait for the end. Raises InDoubt, and whatever a hook has raised."""
        timer = self._loop.call_later(self._timeout, self._give_up, visit)
        try:
            await asyncio.sleep(0)  # whoever is ended at a point must not go on from here
            while self._outcome is None or self._interrupts:
                await self._interrupts_over()
                if self._outcome is None:
                    self._waiter = self._loop.create_future()
                    await self._waiter
        finally:
            self._ended = True
            timer.cancel()
            if self._outcome is None:  # cancelled, or failed by a hook
                visit.gone()
        if isinstance(self._outcome, InDoubt):
            raise self._outcome
        return self._outcome

    async def _interrupts_over(self) -> None:
        while self._interrupts:
            first = self._interrupts.pop(0)
            if isinstance(first, BaseException):
                raise first
            await first

    def _interrupt(self, what: Awaitable[Any] | BaseException) -> None:
        if not self._ended:
            self._interrupts.append(what)
            self._wake()

    def _end_with(self, outcome: Response | InDoubt) -> bool:
        if self._ended or self._outcome is not None:
            return False
        self._outcome = outcome
        self._wake()
        return True

    def _give_up(self, visit: Visit) -> None:
        if self._outcome is None:
            visit.gone()
            self._outcome = self._doubt(f"no answer within {self._timeout:.1f} s")
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _doubt(self, why: str) -> InDoubt:
        return InDoubt(f"{self._api}: {why} after the request may have left")

    def _reached(self, point: Point) -> crashpoints.Reached:
        context = self._context
        at = (int(context.step_id[1:]) - 1, context.direction)
        return crashpoints.Reached(
            point=point, run_id=context.run_id, at=at, hop_id=hop_id_of(context.run_id, at),
            worker=self._worker,
        )  # fmt: skip


def _key(request: FrozenRequest) -> str | None:
    for name, value in request.headers:
        if name.lower() == _KEY_HEADER:
            return value
    return None
