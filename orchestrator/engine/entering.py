"""From the intent of a call to the permit on which its request may leave."""

from __future__ import annotations

from datetime import timedelta

from orchestrator import crashpoints
from orchestrator.core import events as e
from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.saga import Decision, current
from orchestrator.core.states import LinkStatus
from orchestrator.engine.deps import Deps
from orchestrator.engine.interrupting import Waits
from orchestrator.engine.ledger import At
from orchestrator.engine.permits import Permitted
from orchestrator.engine.standing import Standing
from orchestrator.ports import GateBusy, LinkWrite, Permit, Visit


class Entrance:
    """One run before the gate, and what it has written down there."""

    def __init__(self, run: Standing, waits: Waits, deps: Deps) -> None:
        self._run, self._waits, self._deps = run, waits, deps

    async def begin_then_enter(
        self, at: At, request: FrozenRequest, visit: Visit
    ) -> Permitted | Decision:
        busy = self._deps.gate.turns_away(visit, patience_seconds=self._run.patience_seconds(at))
        if busy is not None:
            return self.park(at, busy)  # no intent that would only be withdrawn
        await self._begin(at, request)
        cancelled = self._withdraw_if_cancelled(at)
        if cancelled is not None:
            return cancelled
        self._waits.check(stopped=self._run.stopped_by is not None)
        return await self.enter(at, visit)

    async def enter_then_begin(
        self, at: At, request: FrozenRequest, visit: Visit
    ) -> Permitted | Decision:
        permit = self._deps.gate.try_enter(visit)
        if permit is None:
            await self._run.flush()  # what has happened must not wait with us
            entered = await self.enter(at, visit)
            if not isinstance(entered, Permitted):
                return entered
            permit = entered.permit
        try:
            return await self._begin_permitted(at, request, visit, permit)
        except BaseException:
            permit.hand_back()
            raise

    async def _begin_permitted(
        self, at: At, request: FrozenRequest, visit: Visit, permit: Permit
    ) -> Permitted | Decision:
        """Make the intent durable with a permit in hand."""
        await self._begin(at, request)
        cancelled = self._withdraw_if_cancelled(at)
        if cancelled is not None:
            permit.hand_back()
            return cancelled
        self._waits.check(stopped=self._run.stopped_by is not None)
        while True:
            if self._deps.lifeline.doubtful:
                await self._run.commit()
            if permit.fresh:
                return Permitted(permit)
            permit.hand_back()  # the commit took longer than a rate reservation is good for
            entered = await self.enter(at, visit)
            if not isinstance(entered, Permitted):
                return entered
            permit = entered.permit

    async def enter(self, at: At, visit: Visit) -> Permitted | Decision:
        permit = self._deps.gate.try_enter(visit)
        if permit is not None:
            return Permitted(permit)
        try:
            return Permitted(await self._turn(at, visit))
        except GateBusy as busy:
            self.withdraw(at)
            return self.park(at, busy)

    async def _turn(self, at: At, visit: Visit) -> Permit:
        """A permit on which the request may leave now. Raises GateBusy."""
        begun = self._deps.clock.monotonic()
        try:
            while True:
                patience = self._run.patience_seconds(at)
                entering = self._deps.gate.enter(visit, patience_seconds=patience)
                permit = await self._waits.until(entering)
                if permit.fresh:
                    return permit
                permit.hand_back()  # this process was held up since it was let in
        finally:
            self._run.waited_seconds += self._deps.clock.monotonic() - begun

    def park(self, at: At, busy: GateBusy) -> Decision:
        """Until the API may have it, or until it is too late if that is sooner."""
        until = self._deps.clock.now() + timedelta(seconds=max(busy.seconds, 0.1))
        return self._run.apply(e.Parked(until=min(until, self._run.latest_start(at) or until)))

    async def _begin(self, at: At, request: FrozenRequest) -> None:
        """Make the intent durable."""
        if crashpoints.hook is not None:
            await self._run.reach("before_intent")
        self._run.apply(e.Began())
        self._run.begun_at = self._run.decided_at
        link = self._run.saga.link(*at)
        first = self._run.ledger.link(at).started_at is None
        self._run.ledger.change(
            at,
            LinkWrite(
                step=at[0], direction=at[1], link=link, request=request,
                started_at=self._run.decided_at if first else None,
            ),
        )  # fmt: skip
        self._run.audit_intent(at, link.attempts, request)
        await self._run.flush()
        if crashpoints.hook is not None:
            await self._run.reach("after_intent")

    def withdraw(self, at: At) -> None:
        """Take back an intent whose request never left."""
        if self._run.saga.link(*at).status is not LinkStatus.STARTED:
            return
        self._run.apply(e.Withdrawn())
        self._run.note_all_links()
        self._run.audit("withdrawn", at, {})

    def withdraw_current(self) -> None:
        at = current(self._run.saga)
        if at is not None:
            self.withdraw(at)

    def _withdraw_if_cancelled(self, at: At) -> Decision | None:
        if not self._run.cancel_is_open:
            return None
        self.withdraw(at)
        return self._run.take_cancel_wish() or self._run.apply(e.Resumed())
