"""Drives one run from its claim until it waits, hops, stops or ends.

Read `RunDriver.drive` first: take the command, act, feed the outcome to the core, repeat. The
rules about what must be durable before a request leaves:

* `none` and `keyed` calls: the intent is committed together with the outcome of the step before
  (one commit per step), then the gate is passed and the request leaves. Repeating such a call
  does no harm, so an intent that the gate delays is not a doubt; when the gate parks the run, the
  intent is withdrawn.
* `unkeyed` calls: the gate first, then the intent, then the request, so that only a request that
  may really have left is ever in doubt. A process that the database has not heard of for a while
  may have lost its runs: it confirms by one more guarded write before it sends.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from orchestrator import crashpoints
from orchestrator.core import events as e
from orchestrator.core.exchange import FrozenRequest, Judgement, NothingToUndo, Outcome, Response
from orchestrator.core.plan import Call, Effects
from orchestrator.core.saga import (
    Command,
    Decision,
    Escalate,
    Finish,
    Hold,
    Perform,
    Verify,
    Wait,
    current,
)
from orchestrator.core.states import HAPPENED, TIMED, Direction, LinkStatus, RunStatus
from orchestrator.definitions.program import Program
from orchestrator.engine.answering import Answer, ask, broken, event_of, of_verification, within
from orchestrator.engine.deps import Deps
from orchestrator.engine.ending import escalate, finish
from orchestrator.engine.interrupting import HandOver, Stopped, Waits
from orchestrator.engine.ledger import At
from orchestrator.engine.permits import Permitted
from orchestrator.engine.showing import Showing
from orchestrator.engine.standing import Standing, give_back
from orchestrator.engine.waiting import answered, until_answered
from orchestrator.errors import RefusedError
from orchestrator.ports import (
    ActiveRun,
    ClaimedRun,
    GateBusy,
    Hint,
    Hop,
    LinkWrite,
    Permit,
    Seen,
    StepEnd,
    Visit,
    WaitRecord,
)

log = structlog.get_logger(__name__)


class RunDriver:
    """One run in this process's hands."""

    def __init__(self, claimed: ClaimedRun, hop: Hop, program: Program, deps: Deps) -> None:
        self._deps = deps
        self._program = program
        self._run = Standing(claimed, program.plan, deps)
        self._shown = Showing(claimed.run, hop, self._run.saga, deps)
        self._begun_at = deps.clock.monotonic()
        self._waits = Waits()
        self._task: asyncio.Task[Any] | None = None  # that drives
        self._is_calling = False  # a request is out

    # --- what the process asks of it --------------------------------------------------------------

    @property
    def activity(self) -> ActiveRun:
        """The step it is at, for watchers."""
        return self._shown.activity

    def hand_over(self) -> None:
        """Give the run back at the next boundary; cuts waits short, never a call in flight."""
        self._waits.hand_over()

    def heed_pauses(self) -> None:
        """Give the run up if a pause stops it by now; cuts a wait short, never a call in flight."""
        if self._run.stopped_by is not None:
            self._waits.stop()

    def abandon_call(self) -> None:
        """End the driver if it is in a call, whose effect is in doubt then."""
        if self._is_calling and self._task is not None:
            self._task.cancel()

    async def release_as_last_committed(self, why: str) -> None:
        """Give the run back untouched after a failure of this process; the sweep finds it."""
        await give_back(
            self._run.ledger.run, self._run.durable, self._deps, why=why,
            seq=self._run.durable_seq + 1, number=self._run.ledger.writes + 1,
        )  # fmt: skip

    async def drive(self) -> None:
        """Run until there is nothing to do here. Raises StaleOwner when the run was taken over."""
        self._task = asyncio.current_task()
        try:
            decision = self._take_up()
            while decision is not None:
                decision = await self._obey_or_hand_over(decision.command)
        finally:
            self._shown.leave(self._run.saga)

    # --- one command ------------------------------------------------------------------------------

    def _take_up(self) -> Decision | None:
        if self._run.ledger.run.claims > self._deps.limits.max_claims:
            return self._run.apply(e.Poisoned(claims=self._run.ledger.run.claims))
        return self._run.apply(e.Resumed())

    async def _obey_or_hand_over(self, command: Command | None) -> Decision | None:
        try:
            return await self._obey(command)
        except HandOver:
            return await self._hop_away()
        except Stopped:
            self._withdraw_current()
            return self._run.take_pause() or self._run.apply(e.Resumed())

    async def _obey(self, command: Command | None) -> Decision | None:
        """Act on a command; the next decision, or None when this driver is through."""
        match command:
            case Perform(step=step, direction=direction) | Verify(step=step, direction=direction):
                return await self._at_link(command, (step, direction))
            case Wait():
                return await self._wait(command)
            case Escalate():
                await escalate(command, self._run, self._shown, self._deps)
                return None
            case Finish():
                await finish(command, self._run, self._shown, self._program)
                return None
            case Hold():
                return await self._sleep("paused")
            case _:  # an event that commands nothing by itself
                return self._run.apply(e.Resumed())

    async def _at_link(self, command: Perform | Verify, at: At) -> Decision | None:
        if self._run.saga.call(*at).is_local:
            return self._locally(at)
        if self._waits.handing_over or self._inline_budget_is_spent(at):
            return await self._hop_away()
        cancelled = self._run.take_cancel_wish()
        if cancelled is not None:
            return cancelled
        paused = self._run.take_pause()
        if paused is not None:
            return paused
        self._shown.begin(at, self._run.saga)
        if isinstance(command, Verify):
            return await self._verify(at)
        if self._run.saga.call(*at).is_wait:
            return await self._wait_for_answer(at)
        return await self._perform(at)

    def _locally(self, at: At) -> Decision:
        """A step that calls nothing is done at once, and recorded with what comes next."""
        judgement = self._program.judge_local(self._run.plan_index(at), self._run.facts)
        self._run.apply(e.Began())
        return self._settled(at, within(judgement, at[1], self._deps.limits.max_output_bytes))

    async def _perform(self, at: At) -> Decision:
        if (too_late := self._run.too_late(at)) is not None:
            return self._settled(at, self._without_answer(at, too_late))
        request = self._prepared(at)
        if not isinstance(request, FrozenRequest):
            return request
        call = self._run.saga.call(*at)
        visit = self._run.visit(at, call, request, first=self._shown.links_begun == 1)
        readiness = self._deps.unready(request)
        if readiness is not None and not readiness.ready(visit.api, visit.tenant, request):
            await self._run.flush()  # what has happened must not wait with us
            await self._waits.until(readiness.until_ready(visit.api, visit.tenant, request))
        is_unkeyed = call.effects is Effects.UNKEYED
        enter = self._enter_then_begin if is_unkeyed else self._begin_then_enter
        permit = await enter(at, request, visit)
        if not isinstance(permit, Permitted):
            return permit
        self._stop_before_sending(permit.permit)
        return await self._send(at, request, permit.permit)

    def _prepared(self, at: At) -> FrozenRequest | Decision:
        """The frozen request of an earlier attempt, or a new one; else what follows without one."""
        frozen = self._run.ledger.link(at).request
        if frozen is not None:
            return frozen
        try:
            prepared = self._program.prepare(
                self._run.plan_index(at), at[1], self._run.facts_at(at),
                iteration=self._run.saga.path.iteration(at[0]),
            )  # fmt: skip
        except RefusedError as error:
            refused = Judgement(outcome=Outcome.NOT_LANDED, reason=str(error))
            return self._settled(at, self._without_answer(at, refused))
        except Exception as error:
            log.exception("request.broken", run=self._run.ledger.run.id, step=self._run.step_id(at))
            reason = broken("the making of the request", error)
            refused = Judgement(outcome=Outcome.NOT_LANDED, reason=reason)
            return self._settle(at, e.NotLanded(reason=reason), refused)
        if isinstance(prepared, NothingToUndo):
            nothing = Judgement(outcome=Outcome.NOT_LANDED, reason=prepared.reason)
            return self._settle(at, e.NotNeeded(reason=prepared.reason), nothing)
        return prepared

    async def _wait_for_answer(self, at: At) -> Decision | None:
        """Leave the run to the table until there is an answer; there may be one already."""
        request = self._prepared(at)
        if not isinstance(request, FrozenRequest):
            return request
        found = await until_answered(at, request, self._run, self._shown, self._deps)
        if not isinstance(found, WaitRecord):
            return found
        return self._take_answer(at, answered(at, request, found, self._run, self._program), "wait")

    # --- gate and intent --------------------------------------------------------------------------

    async def _begin_then_enter(
        self, at: At, request: FrozenRequest, visit: Visit
    ) -> Permitted | Decision:
        busy = self._deps.gate.turns_away(visit, patience_seconds=self._run.patience_seconds(at))
        if busy is not None:
            return self._park(at, busy)  # no intent that would only be withdrawn
        await self._begin(at, request)
        cancelled = self._withdraw_if_cancelled(at)
        if cancelled is not None:
            return cancelled
        self._waits.check(stopped=self._run.stopped_by is not None)
        return await self._enter(at, visit)

    async def _enter_then_begin(
        self, at: At, request: FrozenRequest, visit: Visit
    ) -> Permitted | Decision:
        permit = self._deps.gate.try_enter(visit)
        if permit is None:
            await self._run.flush()  # what has happened must not wait with us
            entered = await self._enter(at, visit)
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
            entered = await self._enter(at, visit)
            if not isinstance(entered, Permitted):
                return entered
            permit = entered.permit

    async def _enter(self, at: At, visit: Visit) -> Permitted | Decision:
        permit = self._deps.gate.try_enter(visit)
        if permit is not None:
            return Permitted(permit)
        try:
            return Permitted(await self._turn(at, visit))
        except GateBusy as busy:
            self._withdraw(at)
            return self._park(at, busy)

    async def _turn(self, at: At, visit: Visit) -> Permit:
        """A permit on which the request may leave now. Raises GateBusy."""
        while True:
            patience = self._run.patience_seconds(at)
            entering = self._deps.gate.enter(visit, patience_seconds=patience)
            permit = await self._waits.until(entering)
            if permit.fresh:
                return permit
            permit.hand_back()  # this process was held up since it was let in

    def _park(self, at: At, busy: GateBusy) -> Decision:
        """Until the API may have it, or until it is too late if that is sooner."""
        until = self._deps.clock.now() + timedelta(seconds=max(busy.seconds, 0.1))
        return self._run.apply(e.Parked(until=min(until, self._run.latest_start(at) or until)))

    async def _begin(self, at: At, request: FrozenRequest) -> None:
        """Make the intent durable."""
        if crashpoints.hook is not None:
            await self._run.reach("before_intent")
        self._run.apply(e.Began())
        link = self._run.saga.link(*at)
        first = self._run.ledger.link(at).started_at is None
        self._run.ledger.change(
            at,
            LinkWrite(
                step=at[0], direction=at[1], link=link, request=request,
                started_at=self._run.decided_at if first else None,
            ),
        )  # fmt: skip
        self._run.audit("begun", at, {"attempt": link.attempts})
        await self._run.flush()
        if crashpoints.hook is not None:
            await self._run.reach("after_intent")

    def _withdraw(self, at: At) -> None:
        """Take back an intent whose request never left."""
        if self._run.saga.link(*at).status is not LinkStatus.STARTED:
            return
        self._run.apply(e.Withdrawn())
        self._run.note_all_links()
        self._run.audit("withdrawn", at, {})

    def _withdraw_current(self) -> None:
        at = current(self._run.saga)
        if at is not None:
            self._withdraw(at)

    def _withdraw_if_cancelled(self, at: At) -> Decision | None:
        if not self._run.cancel_is_open:
            return None
        self._withdraw(at)
        return self._run.take_cancel_wish() or self._run.apply(e.Resumed())

    def _stop_before_sending(self, permit: Permit) -> None:
        """It may have waited for its turn since it was last asked whether it is paused."""
        if self._run.stopped_by is not None:
            permit.hand_back()
            raise Stopped

    # --- the call itself --------------------------------------------------------------------------

    async def _send(self, at: At, request: FrozenRequest, permit: Permit) -> Decision:
        answer = await self._asked(at, self._run.saga.call(*at), request, permit)
        if crashpoints.hook is not None:
            await self._run.reach("after_answer")
        return self._take_answer(at, answer, "call")

    async def _verify(self, at: At) -> Decision:
        verify = self._run.saga.call(*at).verify
        assert verify is not None, "the core asks for a verification only where there is one"
        try:
            request = self._program.prepare_verify(
                self._run.plan_index(at), at[1], self._run.facts_at(at),
                iteration=self._run.saga.path.iteration(at[0]),
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - whatever it is, the doubt stays as it was
            reason = str(error) if isinstance(error, RefusedError) else broken("asking", error)
            unknown = Judgement(outcome=Outcome.UNKNOWN, reason=reason)
            return self._settle(at, e.InDoubt(reason=reason), unknown)
        try:
            permit = await self._turn(
                at, self._run.visit(at, verify, request, first=self._shown.links_begun == 1)
            )
        except GateBusy as busy:
            return self._park(at, busy)
        self._stop_before_sending(permit)
        answer = await self._asked(at, verify, request, permit, verify=True)
        judgement = of_verification(answer.judgement, answer.response)
        return self._take_answer(at, replace(answer, judgement=judgement), "verify")

    async def _asked(
        self, at: At, call: Call, request: FrozenRequest, permit: Permit, *, verify: bool = False
    ) -> Answer:
        """Send with this permit and judge; `abandon_call` cuts it off."""

        def judge(response: Response) -> Judgement:
            return self._program.judge(
                self._run.plan_index(at), at[1], self._run.facts_at(at), request, response,
                verify=verify,
            )  # fmt: skip

        seen: Seen | None = None
        self._is_calling = True
        try:
            if crashpoints.hook is not None:
                await self._run.reach("before_send")
            answer = await ask(
                self._deps, call.api, request, self._run.context(at), judge,
                timeout_seconds=call.timeout_seconds,
            )  # fmt: skip
            seen = answer.seen()
            return answer
        finally:
            self._is_calling = False
            permit.release(seen)

    def _take_answer(self, at: At, answer: Answer, kind: str) -> Decision:
        judgement = within(answer.judgement, at[1], self._deps.limits.max_output_bytes)
        if answer.response is None:
            judgement = self._without_answer(at, judgement)
        self._run.note_attempt(at, kind, answer, judgement)
        return self._settled(at, judgement)

    def _without_answer(self, at: At, judgement: Judgement) -> Judgement:
        facts = self._run.facts
        return self._program.without_answer(self._run.plan_index(at), at[1], facts, judgement)

    def _settled(self, at: At, judgement: Judgement) -> Decision:
        event = event_of(judgement, self._deps.jitter())
        return self._settle(at, event, judgement)

    def _settle(self, at: At, event: e.Event, judgement: Judgement) -> Decision:
        """Feed a link's outcome to the core and note what it changed."""
        decision = self._run.apply(event)
        link, reason = self._run.saga.link(*at), judgement.reason
        outputs = judgement.outputs if link.status in HAPPENED else None
        if outputs is not None and at[1] is Direction.FORWARD:
            self._run.landed(at, outputs)
        self._run.ledger.change(
            at,
            LinkWrite(
                step=at[0], direction=at[1], link=link, outputs=outputs, error=reason or None,
                finished_at=self._run.decided_at,
            ),
        )  # fmt: skip
        self._run.ledger.progressed()
        self._run.audit_outcome(at, judgement, decision)
        accepted = not isinstance(event, e.Landed) or event.accepted
        self._shown.settled(at, self._run.saga, accepted=accepted, reason=reason)
        return decision

    # --- ways to stop -----------------------------------------------------------------------------

    async def _wait(self, command: Wait) -> Decision | None:
        seconds = (command.until - self._deps.clock.now()).total_seconds()
        parked = self._run.saga.status is RunStatus.PARKED
        if seconds > self._deps.limits.short_wait_seconds or parked:
            return await self._sleep(self._until())
        await self._run.flush()
        cancelled = self._run.take_cancel_wish()
        if cancelled is not None:
            return cancelled
        await self._waits.until(asyncio.sleep(max(seconds, 0.0)))
        return self._run.apply(e.Resumed())

    def _until(self) -> str:
        return f"{self._run.saga.status} until {self._run.saga.wake_at}"

    async def _sleep(self, why: str) -> Decision | None:
        """Leave the run to the table until its time; not while somebody wants it cancelled.

        The store then keeps it in our hands, so that the wish is answered now and not after a
        wait of hours.
        """
        self._shown.end(StepEnd.RETRIED, why)
        await self._run.flush(release=True)
        while self._run.cancel_is_open:
            cancelled = self._run.take_cancel_wish()
            if cancelled is not None:
                return cancelled
            await self._run.flush(release=True)
        return None

    async def _hop_away(self) -> Decision | None:
        """Release the run with a wake-up for whoever comes next; one that waits needs none."""
        self._withdraw_current()
        if self._run.saga.status in TIMED:
            return await self._sleep(self._until())
        await self._run.flush(release=True, hinted=True)
        if crashpoints.hook is not None:
            await self._run.reach("before_publish")
        hint = Hint.at(
            self._run.saga, run_id=self._run.ledger.run.id, epoch=self._run.ledger.run.epoch,
            lane=self._run.ledger.run.lane, urgent=self._run.is_urgent,
        )  # fmt: skip
        await self._deps.outbox.submit(hint)
        if crashpoints.hook is not None:
            await self._run.reach("after_publish")
        return None

    def _inline_budget_is_spent(self, at: At) -> bool:
        if self._shown.is_at(at):
            return False
        limits = self._deps.limits
        if self._shown.links_begun > limits.max_inline_steps:
            return True
        return self._deps.clock.monotonic() - self._begun_at > limits.max_inline_seconds
