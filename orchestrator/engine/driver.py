"""Drives one run from its claim until it waits, hops, stops or ends.

Read `RunDriver.drive` first: take the command, act, feed the outcome to the core, repeat. The
rules about what must be durable before a request leaves:

* `none` and `keyed` calls: the intent is committed together with the outcome of the step before
  (one commit per step), then the gate is passed and the request leaves. Repeating such a call
  does no harm, so an intent that the gate delays is not a doubt; when the gate parks the run, the
  intent is withdrawn.
* `unkeyed` calls: the gate first, then the intent, then the request, so that only a request that
  may really have left is ever in doubt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from orchestrator import crashpoints
from orchestrator.core import events as e
from orchestrator.core.exchange import (
    Facts,
    FrozenRequest,
    Judgement,
    NothingToUndo,
    Outcome,
    Response,
)
from orchestrator.core.plan import Effects
from orchestrator.core.saga import (
    Command,
    Decision,
    Escalate,
    Finish,
    Hold,
    Perform,
    Saga,
    Verify,
    Wait,
    current,
    decide,
)
from orchestrator.core.states import HAPPENED, Direction, LinkStatus, RunStatus
from orchestrator.definitions.program import Program
from orchestrator.engine.deps import Deps
from orchestrator.engine.escalating import as_record, new_escalation
from orchestrator.engine.ledger import At, Ledger
from orchestrator.errors import (
    IllegalTransition,
    InDoubt,
    NotLanded,
    RefusedError,
    StaleOwner,
    Unavailable,
)
from orchestrator.ports import (
    ActiveRun,
    AttemptContext,
    AttemptRecord,
    ClaimedRun,
    GateBusy,
    Hint,
    Hop,
    LinkWrite,
    NewEscalation,
    Permit,
    RunWrite,
    Signals,
)

log = structlog.get_logger(__name__)
T = TypeVar("T")


class HandOver(BaseException):
    """The process hands its runs back. Control flow, so no `except Exception` may swallow it."""


class RunDriver:
    """One run in this process's hands."""

    def __init__(self, claimed: ClaimedRun, hop: Hop, program: Program, deps: Deps) -> None:
        self._deps = deps
        self._program = program
        self._ledger = Ledger(claimed, worker_id=deps.worker_id)
        self._saga = claimed.saga(program.plan)
        self._durable = self._saga  # as last committed
        self._facts = _facts(claimed)
        self._hop = hop
        self._begun_at = time.monotonic()
        self._links_begun: list[At] = []
        self._wish = Signals()
        self._interrupt: asyncio.Future[Any] | None = None
        self._handing_over = False
        self._refused_cancel = False
        self._at_step = _initial_activity(claimed, hop)

    # --- what the process asks of it --------------------------------------------------------------

    @property
    def activity(self) -> ActiveRun:
        """The step it is at, for watchers."""
        return self._at_step

    def hand_over(self) -> None:
        """Give the run back at the next boundary; cuts waits short, never a call in flight."""
        self._handing_over = True
        if self._interrupt is not None:
            self._interrupt.cancel()

    async def release_as_last_committed(self) -> None:
        """Give the run back untouched after a failure of this process; the sweep finds it."""
        await self._deps.journal.submit(
            RunWrite(
                run_id=self._ledger.run.id, owner=self._deps.worker_id,
                epoch=self._ledger.run.epoch, saga=self._durable, release=True,
            )
        )  # fmt: skip

    async def drive(self) -> None:
        """Run until there is nothing to do here. Raises StaleOwner when the run was taken over."""
        try:
            decision = self._take_up()
            while decision is not None:
                decision = await self._obey(decision.command)
        except HandOver:
            await self._hop_away()

    # --- one command ------------------------------------------------------------------------------

    def _take_up(self) -> Decision | None:
        if self._ledger.run.claims > self._deps.limits.max_claims:
            return self._apply(e.Poisoned(claims=self._ledger.run.claims))
        return self._apply(e.Resumed())

    async def _obey(self, command: Command | None) -> Decision | None:
        """Act on a command; the next decision, or None when this driver is through."""
        match command:
            case Perform(step=step, direction=direction) | Verify(step=step, direction=direction):
                return await self._at_link(command, (step, direction))
            case Wait():
                return await self._wait(command)
            case Escalate():
                return await self._escalate(command)
            case Finish():
                return await self._finish(command)
            case Hold():
                await self._flush(release=True)
                return None
            case _:
                return await self._obey(self._continue_command())

    def _continue_command(self) -> Command | None:
        """What follows an event that commands nothing by itself."""
        return self._apply(e.Resumed()).command

    async def _at_link(self, command: Perform | Verify, at: At) -> Decision | None:
        if self._handing_over or self._inline_budget_is_spent(at):
            await self._hop_away()
            return None
        cancelled = self._take_cancel_wish()
        if cancelled is not None:
            return cancelled
        if not self._links_begun or self._links_begun[-1] != at:
            self._links_begun.append(at)
            self._show_step(at)
        if isinstance(command, Verify):
            return await self._verify(at)
        return await self._perform(at)

    async def _perform(self, at: At) -> Decision:
        request = self._prepared(at)
        if not isinstance(request, FrozenRequest):
            return request
        repeatable = self._saga.call(*at).effects is not Effects.UNKEYED
        permit = await (
            self._begin_then_enter(at, request)
            if repeatable
            else self._enter_then_begin(at, request)
        )
        if not isinstance(permit, _Permitted):
            return permit
        return await self._send(at, request, permit.permit)

    def _prepared(self, at: At) -> FrozenRequest | Decision:
        """The frozen request of an earlier attempt, or a new one; else what follows without one."""
        frozen = self._ledger.link(at).request
        if frozen is not None:
            return frozen
        try:
            prepared = self._program.prepare(*at, self._facts)
        except RefusedError as error:
            return self._settle(at, e.NotLanded(reason=str(error)), error=str(error))
        if isinstance(prepared, NothingToUndo):
            return self._settle(at, e.NotNeeded(reason=prepared.reason), error=prepared.reason)
        return prepared

    # --- gate and intent --------------------------------------------------------------------------

    async def _begin_then_enter(self, at: At, request: FrozenRequest) -> _Permitted | Decision:
        await self._begin(at, request)
        cancelled = self._withdraw_if_cancelled(at)
        if cancelled is not None:
            return cancelled
        return await self._enter(at)

    async def _enter_then_begin(self, at: At, request: FrozenRequest) -> _Permitted | Decision:
        permit = self._deps.gate.try_enter(self._saga.call(*at).api)
        if permit is None:
            await self._flush()  # what has happened must not wait with us
            entered = await self._enter(at)
            if not isinstance(entered, _Permitted):
                return entered
            permit = entered.permit
        try:
            await self._begin(at, request)
        except BaseException:
            permit.release()
            raise
        cancelled = self._withdraw_if_cancelled(at)
        if cancelled is not None:
            permit.release()
            return cancelled
        if permit.fresh:
            return _Permitted(permit)
        permit.release()  # the commit took longer than a rate reservation is good for
        return await self._enter(at)

    async def _enter(self, at: At) -> _Permitted | Decision:
        api = self._saga.call(*at).api
        permit = self._deps.gate.try_enter(api)
        if permit is not None:
            return _Permitted(permit)
        patience = self._deps.limits.gate_patience_seconds
        try:
            entering = self._deps.gate.enter(api, patience_seconds=patience)
            return _Permitted(await self._interruptible(entering))
        except GateBusy as busy:
            self._withdraw(at)
            until = self._deps.clock.now() + timedelta(seconds=max(busy.seconds, 0.1))
            return self._apply(e.Parked(until=until))

    async def _begin(self, at: At, request: FrozenRequest) -> None:
        """Make the intent durable."""
        crashpoints.reach("before_intent")
        now = self._deps.clock.now()
        self._apply(e.Began())
        first = self._ledger.link(at).started_at is None
        self._ledger.change(
            at,
            LinkWrite(
                step=at[0], direction=at[1], link=self._saga.link(*at), request=request,
                started_at=now if first else None,
            ),
        )  # fmt: skip
        self._audit("begun", at, {"attempt": self._saga.link(*at).attempts})
        await self._flush()
        crashpoints.reach("after_intent")

    def _withdraw(self, at: At) -> None:
        """Take back an intent whose request never left."""
        if self._saga.link(*at).status is not LinkStatus.STARTED:
            return
        self._apply(e.Withdrawn())
        self._ledger.change(at, LinkWrite(step=at[0], direction=at[1], link=self._saga.link(*at)))
        self._audit("withdrawn", at, {})

    def _withdraw_if_cancelled(self, at: At) -> Decision | None:
        if self._wish.cancel is None or self._saga.cancel is not None or self._refused_cancel:
            return None
        self._withdraw(at)
        return self._take_cancel_wish() or self._apply(e.Resumed())

    # --- the call itself --------------------------------------------------------------------------

    async def _send(self, at: At, request: FrozenRequest, permit: Permit) -> Decision:
        call = self._saga.call(*at)
        started_at, started = self._deps.clock.now(), time.monotonic()
        response: Response | None = None
        try:
            response = await self._deps.transport(request).send(
                call.api, request, self._context(at), timeout_seconds=call.timeout_seconds
            )
            judgement = self._program.judge(*at, self._facts, request, response)
        except (NotLanded, InDoubt) as error:
            judgement = _judgement_of(error)
        finally:
            permit.release()
        crashpoints.reach("after_effect")
        self._note_attempt(at, "call", judgement, response, started_at)
        self._show_outcome(judgement, time.monotonic() - started)
        return self._settle(at, self._event_of(judgement), judgement=judgement)

    async def _verify(self, at: At) -> Decision:
        call = self._saga.call(*at).verify
        assert call is not None, "the core asks for a verification only where there is one"
        started_at = self._deps.clock.now()
        try:
            request = self._program.prepare_verify(*at, self._facts)
            patience = self._deps.limits.gate_patience_seconds
            permit = await self._interruptible(
                self._deps.gate.enter(call.api, patience_seconds=patience)
            )
        except RefusedError as error:
            return self._settle(at, e.InDoubt(reason=str(error)), error=str(error))
        except GateBusy as busy:
            until = self._deps.clock.now() + timedelta(seconds=max(busy.seconds, 0.1))
            return self._apply(e.Parked(until=until))
        response, judgement = await self._ask(at, request, permit, call.timeout_seconds)
        self._note_attempt(at, "verify", judgement, response, started_at)
        return self._settle(at, self._event_of(judgement), judgement=judgement)

    async def _ask(
        self, at: At, request: FrozenRequest, permit: Permit, timeout_seconds: float | None
    ) -> tuple[Response | None, Judgement]:
        api = self._saga.call(*at).verify.api  # type: ignore[union-attr]  # checked by _verify
        try:
            response = await self._deps.transport(request).send(
                api, request, self._context(at), timeout_seconds=timeout_seconds
            )
            return response, self._program.judge(*at, self._facts, request, response, verify=True)
        except (NotLanded, InDoubt) as error:
            # A question that got no answer leaves the doubt as it was.
            return None, Judgement(outcome=Outcome.UNKNOWN, reason=error.reason)
        finally:
            permit.release()

    def _event_of(self, judgement: Judgement) -> e.Event:
        match judgement.outcome:
            case Outcome.LANDED:
                return e.Landed(accepted=judgement.accepted, reason=judgement.reason)
            case Outcome.NOT_LANDED:
                return e.NotLanded(
                    reason=judgement.reason, retryable=judgement.retryable,
                    settles_doubt=judgement.settles_doubt, jitter=self._deps.jitter(),
                    retry_after_seconds=judgement.retry_after_seconds,
                )  # fmt: skip
            case Outcome.UNKNOWN:
                return e.InDoubt(
                    reason=judgement.reason, jitter=self._deps.jitter(),
                    retry_after_seconds=judgement.retry_after_seconds,
                )  # fmt: skip

    def _settle(
        self, at: At, event: e.Event, *, judgement: Judgement | None = None, error: str = ""
    ) -> Decision:
        """Feed a link's outcome to the core and note what it changed."""
        decision = self._apply(event)
        link = self._saga.link(*at)
        landed = link.status in HAPPENED
        outputs = judgement.outputs if judgement is not None and landed else None
        if outputs is not None and at[1] is Direction.FORWARD:
            self._facts = replace(
                self._facts, outputs={**self._facts.outputs, self._step_id(at): outputs}
            )
        reason = error or ("" if judgement is None else judgement.reason)
        self._ledger.change(
            at,
            LinkWrite(
                step=at[0], direction=at[1], link=link, outputs=outputs, error=reason or None,
                finished_at=self._deps.clock.now(),
            ),
        )  # fmt: skip
        self._note_links_changed_besides(at)
        self._ledger.progressed()
        self._audit(link.status, at, {"reason": reason, "run": self._saga.status})
        return decision

    # --- ways to stop -----------------------------------------------------------------------------

    async def _wait(self, command: Wait) -> Decision | None:
        seconds = (command.until - self._deps.clock.now()).total_seconds()
        parked = self._saga.status is RunStatus.PARKED
        if seconds > self._deps.limits.short_wait_seconds or parked:
            await self._flush(release=True)
            return None
        await self._flush()
        await self._interruptible(asyncio.sleep(max(seconds, 0.0)))
        return self._take_cancel_wish() or self._apply(e.Resumed())

    async def _escalate(self, command: Escalate) -> Decision | None:
        escalation = new_escalation(
            command, self._saga, self._ledger.steps, new_id=self._deps.new_id
        )
        self._note_all_links()
        self._audit("run.escalated", None, {"reason": command.reason, "detail": command.detail})
        await self._flush(release=True, escalation=escalation)
        log.warning("run.escalated", run=self._ledger.run.id, reason=command.reason)
        await self._announce(escalation)
        return None

    async def _announce(self, escalation: NewEscalation) -> None:
        """Put it on the dead-letter queue; if that fails, the sweep reconciles queue and table."""
        record = as_record(escalation, self._ledger.run, self._saga.plan, self._deps.clock.now())
        try:
            await self._deps.dead_letters.publish([record])
        except Unavailable as error:
            log.warning("dead_letter.postponed", escalation=escalation.id, why=str(error))

    async def _finish(self, command: Finish) -> Decision | None:
        outputs = None
        if command.status is RunStatus.SUCCEEDED:
            outputs = self._program.outputs(self._facts)
        self._note_all_links()
        self._audit(f"run.{command.status}", None, {"cause": self._saga.cause})
        await self._flush(release=True, outputs=outputs)
        return None

    async def _hop_away(self) -> None:
        """Release the run with a wake-up for whoever comes next."""
        at = current(self._saga)
        if at is not None:
            self._withdraw(at)
        next_hop_id = self._deps.new_id()
        await self._flush(release=True, next_hop_id=next_hop_id)
        crashpoints.reach("before_publish")
        hint = Hint.at(
            self._saga, run_id=self._ledger.run.id, epoch=self._ledger.run.epoch,
            lane=self._ledger.run.lane, hop_id=next_hop_id, parent_hop_id=self._at_step.hop_id,
        )  # fmt: skip
        await self._deps.outbox.submit(hint)

    def _inline_budget_is_spent(self, at: At) -> bool:
        if not self._links_begun or self._links_begun[-1] == at:
            return False
        limits = self._deps.limits
        if len(self._links_begun) > limits.max_inline_steps:
            return True
        return time.monotonic() - self._begun_at > limits.max_inline_seconds

    def _take_cancel_wish(self) -> Decision | None:
        if self._wish.cancel is None or self._saga.cancel is not None or self._refused_cancel:
            return None
        try:
            event = e.CancelRequested(mode=self._wish.cancel, reason=self._wish.cancel_reason)
            decision = self._apply(event)
        except IllegalTransition as error:
            self._refused_cancel = True
            self._audit("cancel.refused", None, {"why": str(error)})
            return None
        self._audit("run.cancelled", None, {"mode": event.mode, "reason": event.reason})
        return decision

    # --- small parts ------------------------------------------------------------------------------

    def _apply(self, event: e.Event) -> Decision:
        decision = decide(self._saga, event, self._deps.clock.now())
        self._saga = decision.saga
        return decision

    async def _flush(self, **more: Any) -> None:
        """Commit what is pending. Raises StaleOwner when another worker has the run by now."""
        if not (self._ledger.dirty or more or self._saga is not self._durable):
            return
        crashpoints.reach("before_commit")
        write = self._ledger.take_write(self._saga, **more)
        signals = await self._deps.journal.submit(write)
        if signals is None:
            raise StaleOwner(write.run_id, write.epoch)
        self._durable = self._saga
        self._wish = signals
        crashpoints.reach("after_commit")

    async def _interruptible(self, waiting: Awaitable[T]) -> T:
        """Wait for something that a handover may cut short."""
        if self._handing_over:
            asyncio.ensure_future(waiting).cancel()
            raise HandOver
        self._interrupt = asyncio.ensure_future(waiting)
        try:
            return await self._interrupt  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            if self._handing_over:
                raise HandOver from None
            raise
        finally:
            self._interrupt = None

    def _note_attempt(
        self, at: At, kind: str, judgement: Judgement, response: Response | None, started_at: Any
    ) -> None:
        self._ledger.attempt(
            AttemptRecord(
                id=self._deps.new_id(), step=at[0], direction=at[1],
                number=max(self._saga.link(*at).attempts, 1), kind=kind,
                outcome=judgement.outcome, reason=judgement.reason,
                status_code=None if response is None else response.status,
                started_at=started_at, finished_at=self._deps.clock.now(),
                worker=self._deps.worker_id,
            )
        )  # fmt: skip

    def _note_links_changed_besides(self, at: At) -> None:
        """The core marks links without compensation as not needed on its way back."""
        if self._saga.direction is Direction.BACKWARD:
            self._note_all_links(but=at)

    def _note_all_links(self, but: At | None = None) -> None:
        for step in range(len(self._saga.steps)):
            for direction in Direction:
                at = (step, direction)
                link = self._saga.link(*at)
                if at != but and link != self._ledger.link(at).link:
                    self._ledger.change(at, LinkWrite(step=step, direction=direction, link=link))

    def _audit(self, what: str, at: At | None, data: dict[str, Any]) -> None:
        kind = what
        if at is not None:
            kind = ("step." if at[1] is Direction.FORWARD else "undo.") + what
            data = {"step": self._step_id(at), **data}
        self._ledger.audit(kind, self._deps.clock.now(), actor=self._deps.worker_id, data=data)

    def _context(self, at: At) -> AttemptContext:
        return AttemptContext(
            run_id=self._ledger.run.id, step_id=self._step_id(at), direction=at[1],
            attempt=self._saga.link(*at).attempts, tenant=self._ledger.run.tenant,
        )  # fmt: skip

    def _step_id(self, at: At) -> str:
        return self._saga.plan.steps[at[0]].id

    def _show_step(self, at: At) -> None:
        """Let watchers see the step: the hop's own message, or an event of its own when inline."""
        inline = len(self._links_begun) > 1
        hint = Hint.at(
            self._saga, run_id=self._ledger.run.id, epoch=self._ledger.run.epoch,
            lane=self._ledger.run.lane,
            hop_id=self._deps.new_id() if inline else self._hop.hop_id,
            parent_hop_id=self._at_step.hop_id if inline else self._hop.parent_hop_id,
        )  # fmt: skip
        self._at_step = _activity(hint)
        if inline:
            self._deps.events.step_started(hint)

    def _show_outcome(self, judgement: Judgement, seconds: float) -> None:
        if len(self._links_begun) > 1:  # the first link's message is shown by Celery itself
            ok = judgement.outcome is Outcome.LANDED and judgement.accepted
            hint = self._step_hint()
            self._deps.events.step_finished(hint, ok=ok, seconds=seconds, detail=judgement.reason)

    def _step_hint(self) -> Hint:
        step = self._at_step
        return Hint(
            run_id=step.run_id, epoch=step.epoch, hop_id=step.hop_id, label=step.label,
            parent_hop_id=step.parent_hop_id, task=step.task, queue=step.queue,
        )  # fmt: skip


class _Permitted:
    """A permit in hand (told apart from a Decision by type)."""

    __slots__ = ("permit",)

    def __init__(self, permit: Permit) -> None:
        self.permit = permit


def _judgement_of(error: NotLanded | InDoubt) -> Judgement:
    if isinstance(error, InDoubt):
        return Judgement(
            outcome=Outcome.UNKNOWN, reason=error.reason,
            retry_after_seconds=error.retry_after_seconds,
        )  # fmt: skip
    return Judgement(
        outcome=Outcome.NOT_LANDED, reason=error.reason, retryable=error.retryable,
        settles_doubt=not error.retryable, retry_after_seconds=error.retry_after_seconds,
    )  # fmt: skip


def _facts(claimed: ClaimedRun) -> Facts:
    outputs = {
        step.step_id: step.forward.outputs
        for step in claimed.steps
        if step.forward.link.status in HAPPENED and step.forward.outputs is not None
    }
    return Facts(run_id=claimed.run.id, inputs=claimed.run.inputs, outputs=outputs)


def _activity(hint: Hint) -> ActiveRun:
    return ActiveRun(
        run_id=hint.run_id, epoch=hint.epoch, hop_id=hint.hop_id, label=hint.label, task=hint.task,
        parent_hop_id=hint.parent_hop_id, queue=hint.queue, since=time.time(),
    )  # fmt: skip


def _initial_activity(claimed: ClaimedRun, hop: Hop) -> ActiveRun:
    return ActiveRun(
        run_id=claimed.run.id, epoch=claimed.run.epoch, hop_id=hop.hop_id, label=hop.label,
        parent_hop_id=hop.parent_hop_id, task=hop.task, queue=hop.queue, since=time.time(),
    )  # fmt: skip


__all__ = ["HandOver", "RunDriver", "Saga"]
