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
import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from orchestrator import crashpoints
from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.exchange import Facts, FrozenRequest, Judgement, NothingToUndo, Response
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
)
from orchestrator.core.states import HAPPENED, TIMED, Direction, LinkStatus, RunStatus
from orchestrator.definitions.program import Program
from orchestrator.engine.answering import Answer, ask, broken, event_of, of_verification, within
from orchestrator.engine.deps import Deps
from orchestrator.engine.escalating import as_record, new_escalation
from orchestrator.engine.ledger import At, Ledger
from orchestrator.engine.showing import Showing
from orchestrator.errors import IllegalTransition, RefusedError, StaleOwner, Unavailable
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
    StepEnd,
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
        self._shown = Showing(claimed.run, hop, self._saga, deps)
        self._begun_at = time.monotonic()
        self._wish = Signals()
        self._refuses_cancel = False  # the next write says so
        self._interrupt: asyncio.Future[Any] | None = None
        self._handing_over = False

    # --- what the process asks of it --------------------------------------------------------------

    @property
    def activity(self) -> ActiveRun:
        """The step it is at, for watchers."""
        return self._shown.activity

    def hand_over(self) -> None:
        """Give the run back at the next boundary; cuts waits short, never a call in flight."""
        self._handing_over = True
        if self._interrupt is not None:
            self._interrupt.cancel()

    async def release_as_last_committed(self) -> None:
        """Give the run back untouched after a failure of this process; the sweep finds it."""
        await give_back(self._ledger.run.id, self._ledger.run.epoch, self._durable, self._deps)

    async def drive(self) -> None:
        """Run until there is nothing to do here. Raises StaleOwner when the run was taken over."""
        try:
            decision = self._take_up()
            while decision is not None:
                decision = await self._obey(decision.command)
        except HandOver:
            await self._hop_away()
        finally:
            self._shown.leave(self._saga)

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
                self._shown.end(StepEnd.RETRIED, "paused")
                await self._flush(release=True)
                return None
            case _:  # an event that commands nothing by itself
                return self._apply(e.Resumed())

    async def _at_link(self, command: Perform | Verify, at: At) -> Decision | None:
        if self._handing_over or self._inline_budget_is_spent(at):
            await self._hop_away()
            return None
        cancelled = self._take_cancel_wish()
        if cancelled is not None:
            return cancelled
        self._shown.begin(at, self._saga)
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
            return self._settle(at, e.NotLanded(reason=str(error)), reason=str(error))
        except Exception as error:
            log.exception("request.broken", run=self._ledger.run.id, step=self._step_id(at))
            reason = broken("the making of the request", error)
            return self._settle(at, e.NotLanded(reason=reason), reason=reason)
        if isinstance(prepared, NothingToUndo):
            return self._settle(at, e.NotNeeded(reason=prepared.reason), reason=prepared.reason)
        return prepared

    # --- gate and intent --------------------------------------------------------------------------

    async def _begin_then_enter(self, at: At, request: FrozenRequest) -> _Permitted | Decision:
        await self._begin(at, request)
        cancelled = self._withdraw_if_cancelled(at)
        if cancelled is not None:
            return cancelled
        self._stop_if_handing_over()
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
            return await self._begin_permitted(at, request, permit)
        except BaseException:
            permit.release()
            raise

    async def _begin_permitted(
        self, at: At, request: FrozenRequest, permit: Permit
    ) -> _Permitted | Decision:
        """Make the intent durable with a permit in hand."""
        await self._begin(at, request)
        cancelled = self._withdraw_if_cancelled(at)
        if cancelled is not None:
            permit.release()
            return cancelled
        self._stop_if_handing_over()
        while True:
            if self._deps.lifeline.doubtful:
                await self._commit()
            if permit.fresh:
                return _Permitted(permit)
            permit.release()  # the commit took longer than a rate reservation is good for
            entered = await self._enter(at)
            if not isinstance(entered, _Permitted):
                return entered
            permit = entered.permit

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
            return self._park(busy)

    def _park(self, busy: GateBusy) -> Decision:
        until = self._deps.clock.now() + timedelta(seconds=max(busy.seconds, 0.1))
        return self._apply(e.Parked(until=until))

    async def _begin(self, at: At, request: FrozenRequest) -> None:
        """Make the intent durable."""
        self._reach("before_intent")
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
        self._reach("after_intent")

    def _withdraw(self, at: At) -> None:
        """Take back an intent whose request never left."""
        if self._saga.link(*at).status is not LinkStatus.STARTED:
            return
        self._apply(e.Withdrawn())
        self._ledger.change(at, LinkWrite(step=at[0], direction=at[1], link=self._saga.link(*at)))
        self._audit("withdrawn", at, {})

    def _withdraw_if_cancelled(self, at: At) -> Decision | None:
        if not self._cancel_is_open:
            return None
        self._withdraw(at)
        return self._take_cancel_wish() or self._apply(e.Resumed())

    # --- the call itself --------------------------------------------------------------------------

    async def _send(self, at: At, request: FrozenRequest, permit: Permit) -> Decision:
        call = self._saga.call(*at)

        def judge(response: Response) -> Judgement:
            return self._program.judge(*at, self._facts, request, response)

        try:
            answer = await ask(
                self._deps, call.api, request, self._context(at), judge,
                timeout_seconds=call.timeout_seconds,
            )  # fmt: skip
        finally:
            permit.release()
        self._reach("after_effect")
        return self._take_answer(at, answer, "call")

    async def _verify(self, at: At) -> Decision:
        verify = self._saga.call(*at).verify
        assert verify is not None, "the core asks for a verification only where there is one"
        try:
            request = self._program.prepare_verify(*at, self._facts)
        except Exception as error:  # noqa: BLE001 - whatever it is, the doubt stays as it was
            reason = str(error) if isinstance(error, RefusedError) else broken("asking", error)
            return self._settle(at, e.InDoubt(reason=reason), reason=reason)
        patience = self._deps.limits.gate_patience_seconds
        try:
            entering = self._deps.gate.enter(verify.api, patience_seconds=patience)
            permit = await self._interruptible(entering)
        except GateBusy as busy:
            return self._park(busy)

        def judge(response: Response) -> Judgement:
            return self._program.judge(*at, self._facts, request, response, verify=True)

        try:
            answer = await ask(
                self._deps, verify.api, request, self._context(at), judge,
                timeout_seconds=verify.timeout_seconds,
            )  # fmt: skip
        finally:
            permit.release()
        judgement = of_verification(answer.judgement, answer.response)
        return self._take_answer(at, replace(answer, judgement=judgement), "verify")

    def _take_answer(self, at: At, answer: Answer, kind: str) -> Decision:
        judgement = within(answer.judgement, at[1], self._deps.limits.max_output_bytes)
        self._note_attempt(at, kind, replace(answer, judgement=judgement))
        event = event_of(judgement, self._deps.jitter())
        return self._settle(at, event, reason=judgement.reason, outputs=judgement.outputs)

    def _settle(
        self, at: At, event: e.Event, *, reason: str, outputs: Mapping[str, Any] | None = None
    ) -> Decision:
        """Feed a link's outcome to the core and note what it changed."""
        decision = self._apply(event)
        link = self._saga.link(*at)
        if link.status not in HAPPENED:
            outputs = None
        if outputs is not None and at[1] is Direction.FORWARD:
            self._facts = replace(
                self._facts, outputs={**self._facts.outputs, self._step_id(at): outputs}
            )
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
        accepted = not isinstance(event, e.Landed) or event.accepted
        self._shown.settled(at, self._saga, accepted=accepted, reason=reason)
        return decision

    # --- ways to stop -----------------------------------------------------------------------------

    async def _wait(self, command: Wait) -> Decision | None:
        seconds = (command.until - self._deps.clock.now()).total_seconds()
        parked = self._saga.status is RunStatus.PARKED
        if seconds > self._deps.limits.short_wait_seconds or parked:
            return await self._sleep()
        await self._flush()
        cancelled = self._take_cancel_wish()
        if cancelled is not None:
            return cancelled
        await self._interruptible(asyncio.sleep(max(seconds, 0.0)))
        return self._apply(e.Resumed())

    async def _sleep(self) -> Decision | None:
        """Leave the run to the table until its time; not while somebody wants it cancelled.

        The store then keeps it in our hands, so that the wish is answered now and not after a
        wait of hours.
        """
        self._shown.end(StepEnd.RETRIED, f"{self._saga.status} until {self._saga.wake_at}")
        await self._flush(release=True)
        while self._cancel_is_open:
            cancelled = self._take_cancel_wish()
            if cancelled is not None:
                return cancelled
            await self._flush(release=True)
        return None

    async def _escalate(self, command: Escalate) -> Decision | None:
        self._note_all_links()
        escalation = new_escalation(
            command, self._saga, self._ledger.steps, new_id=self._deps.new_id
        )
        self._audit("run.escalated", None, {"reason": command.reason, "detail": command.detail})
        self._shown.end(StepEnd.FAILED, command.detail)
        await self._flush(release=True, escalation=escalation)
        log.warning("run.escalated", run=self._ledger.run.id, reason=command.reason)
        await self._announce(escalation)
        return None

    async def _announce(self, escalation: NewEscalation) -> None:
        """Put it on the dead-letter queue; if that fails, the sweep reconciles queue and table."""
        self._reach("before_publish")
        record = as_record(escalation, self._ledger.run, self._saga.plan, self._deps.clock.now())
        try:
            await self._deps.dead_letters.publish([record])
        except Unavailable as error:
            log.warning("dead_letter.postponed", escalation=escalation.id, why=str(error))

    async def _finish(self, command: Finish) -> Decision | None:
        outputs = self._outputs() if command.status is RunStatus.SUCCEEDED else None
        self._note_all_links()
        self._audit(f"run.{command.status}", None, {"cause": self._saga.cause})
        self._shown.end(StepEnd.REVOKED, self._saga.cause)
        await self._flush(release=True, outputs=outputs)
        return None

    def _outputs(self) -> Mapping[str, Any] | None:
        """The workflow's outputs; a run whose effects are all there succeeds also without them."""
        try:
            return self._program.outputs(self._facts)
        except Exception as error:
            log.exception("outputs.broken", run=self._ledger.run.id)
            self._audit("outputs.failed", None, {"why": broken("the making of them", error)})
            return None

    async def _hop_away(self) -> None:
        """Release the run with a wake-up for whoever comes next; one that waits needs none."""
        at = current(self._saga)
        if at is not None:
            self._withdraw(at)
        self._note_all_links()
        if self._saga.status in TIMED:
            self._shown.end(StepEnd.RETRIED, f"{self._saga.status} until {self._saga.wake_at}")
            await self._flush(release=True)
            return
        await self._flush(release=True, hinted=True)
        self._reach("before_publish")
        hint = Hint.at(
            self._saga, run_id=self._ledger.run.id, epoch=self._ledger.run.epoch,
            lane=self._ledger.run.lane,
        )  # fmt: skip
        await self._deps.outbox.submit(hint)

    def _inline_budget_is_spent(self, at: At) -> bool:
        if self._shown.is_at(at):
            return False
        limits = self._deps.limits
        if self._shown.links_begun > limits.max_inline_steps:
            return True
        return time.monotonic() - self._begun_at > limits.max_inline_seconds

    def _stop_if_handing_over(self) -> None:
        if self._handing_over:
            raise HandOver

    # --- wishes of others -------------------------------------------------------------------------

    @property
    def _cancel_is_open(self) -> bool:
        """Somebody wants the run cancelled, and it has neither been taken up nor refused."""
        taken = self._saga.cancel is not None or self._refuses_cancel
        return self._wish.cancel is not None and not taken

    def _take_cancel_wish(self) -> Decision | None:
        if not self._cancel_is_open:
            return None
        mode, reason = self._wish.cancel, self._wish.cancel_reason
        assert mode is not None, "open means that there is one"
        try:
            decision = self._apply(e.CancelRequested(mode=mode, reason=reason))
        except IllegalTransition as error:
            self._refuses_cancel = True
            self._audit("cancel.refused", None, {"why": str(error)})
            return None
        self._audit("run.cancelled", None, {"mode": mode, "reason": reason})
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
        if more.get("release"):
            self._ledger.progressed()  # given back in good order: it does not kill its workers
        self._reach("before_commit")
        await self._commit(**more)
        self._reach("after_commit")

    async def _commit(self, **more: Any) -> None:
        write = self._ledger.take_write(self._saga, refuses_cancel=self._refuses_cancel, **more)
        signals = await self._deps.journal.submit(write)
        if signals is None:
            raise StaleOwner(write.run_id, write.epoch)
        self._durable = write.saga
        self._wish, self._refuses_cancel = signals, False

    def _reach(self, point: str) -> None:
        crashpoints.reach(point, self._ledger.run.id, self._saga)

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

    def _note_attempt(self, at: At, kind: str, answer: Answer) -> None:
        response, judgement = answer.response, answer.judgement
        self._ledger.attempt(
            AttemptRecord(
                id=self._deps.new_id(), step=at[0], direction=at[1],
                number=max(self._saga.link(*at).attempts, 1), kind=kind,
                outcome=judgement.outcome, reason=judgement.reason,
                status_code=None if response is None else response.status,
                started_at=answer.started_at, finished_at=self._deps.clock.now(),
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


class _Permitted:
    """A permit in hand (told apart from a Decision by type)."""

    __slots__ = ("permit",)

    def __init__(self, permit: Permit) -> None:
        self.permit = permit


async def give_back(
    run_id: str, epoch: int, saga: Saga, deps: Deps, *, driven: bool = True
) -> None:
    """Release a run as it was last committed; the sweep finds it.

    Its claims count on, so that one that always fails is escalated in the end; not when it was
    never `driven`, which is no fault of the run's.
    """
    await deps.journal.submit(
        RunWrite(
            run_id=run_id, owner=deps.worker_id, epoch=epoch, saga=saga, release=True,
            progressed=not driven,
        )
    )  # fmt: skip


def _facts(claimed: ClaimedRun) -> Facts:
    outputs = {
        step.step_id: step.forward.outputs
        for step in claimed.steps
        if step.forward.link.status in HAPPENED and step.forward.outputs is not None
    }
    return Facts(run_id=claimed.run.id, inputs=claimed.run.inputs, outputs=outputs)


__all__ = ["HandOver", "RunDriver", "Saga", "give_back"]
