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
)
from orchestrator.core.states import HAPPENED, TIMED, Direction, RunStatus
from orchestrator.definitions.children import with_runs
from orchestrator.definitions.maps import with_map
from orchestrator.definitions.program import Program
from orchestrator.engine.answering import (
    Answer,
    ask,
    broken,
    event_of,
    of_verification,
    told,
    within,
)
from orchestrator.engine.children import Opening
from orchestrator.engine.deps import Deps
from orchestrator.engine.ending import escalate, finish
from orchestrator.engine.entering import Entrance
from orchestrator.engine.interrupting import HandOver, Stopped, Waits
from orchestrator.engine.lacking import LACKING_SECONDS
from orchestrator.engine.ledger import At
from orchestrator.engine.permits import Permitted
from orchestrator.engine.showing import Showing
from orchestrator.engine.standing import Standing, give_back
from orchestrator.engine.waiting import answered, until_answered
from orchestrator.errors import HeldUp, RefusedError
from orchestrator.ports import (
    ActiveRun,
    Asks,
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
from orchestrator.telemetry import redact

log = structlog.get_logger(__name__)

MOST_HELD_UP = 5  # times in a row, with a new permit each
HELD_UP_SECONDS = 1.0  # then the run stays away from this process


class RunDriver:
    """One run in this process's hands."""

    def __init__(
        self, claimed: ClaimedRun, hop: Hop, program: Program, deps: Deps, *, doubt: str = ""
    ) -> None:
        """`doubt`: why the run's definition may not be followed; then it is escalated."""
        self._deps, self._doubt = deps, doubt
        self._program = program
        self._run = Standing(claimed, program.plan, deps)
        self._shown = Showing(claimed.run, hop, self._run.saga, deps)
        self._begun_at = deps.clock.monotonic()
        self._waits = Waits()
        self._entrance = Entrance(self._run, self._waits, deps)
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
        if self._run.trace is not None:
            self._run.trace.bind()
        facts = self._run.facts
        redact.know(
            self._program.secrets.of_run(facts.inputs, facts.outputs, redact.rules_of_process())
        )
        try:
            decision = self._take_up()
            while decision is not None:
                decision = await self._obey_or_hand_over(decision.command)
        finally:
            self._shown.leave(self._run.saga)

    # --- one command ------------------------------------------------------------------------------

    def _take_up(self) -> Decision | None:
        if self._doubt:
            return self._run.apply(e.Distrusted(reason=self._doubt))
        if self._run.ledger.run.claims > self._deps.limits.max_claims:
            return self._run.apply(e.Poisoned(claims=self._run.ledger.run.claims))
        return self._run.apply(e.Resumed())

    async def _obey_or_hand_over(self, command: Command | None) -> Decision | None:
        try:
            return await self._obey(command)
        except HandOver:
            return await self._hop_away()
        except Stopped:
            self._entrance.withdraw_current()
            return self._run.take_pause() or self._run.apply(e.Resumed())

    async def _obey(self, command: Command | None) -> Decision | None:
        """Act on a command; the next decision, or None when this driver is through."""
        match command:
            case Perform(step=step, direction=direction) | Verify(step=step, direction=direction):
                return await self._at_link(command, (step, direction))
            case Wait():
                return await self._wait(command)
            case Escalate():
                await escalate(command, self._run, self._shown, self._program, self._deps)
                return None
            case Finish():
                await finish(command, self._run, self._shown, self._program, self._deps)
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
        if self._run.saga.call(*at).is_answered:
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
        if self._deps.lacks(request):
            return await self._without_code(at, request)
        call = self._run.saga.call(*at)
        visit = self._run.visit(at, call, request, first=self._shown.links_begun == 1)
        readiness = self._deps.unready(request)
        if readiness is not None and not readiness.ready(visit.api, visit.tenant, request):
            await self._run.flush()  # what has happened must not wait with us
            await self._waits.until(readiness.until_ready(visit.api, visit.tenant, request))
        is_unkeyed = call.effects is Effects.UNKEYED
        enter = self._entrance.enter_then_begin if is_unkeyed else self._entrance.begin_then_enter
        answer = await self._exchange(at, call, request, visit, await enter(at, request, visit))
        if not isinstance(answer, Answer):
            return answer
        if crashpoints.hook is not None:
            await self._run.reach("after_answer")
        return self._take_answer(at, answer, "call", request)

    async def _without_code(self, at: At, request: FrozenRequest) -> Decision:
        """Leave the run to a worker that has the function: nothing was tried, so nothing failed."""
        if self._deps.code is not None:
            await self._deps.code.wait(self._run.ledger.run.id, request)
        decision = self._entrance.park(at, GateBusy(LACKING_SECONDS))
        self._run.audit("run.parked", None, {"code": request.target})
        return decision

    def _prepared(self, at: At) -> FrozenRequest | Decision:
        """The frozen request of an earlier attempt, or a new one; else what follows without one."""
        frozen = self._run.ledger.link(at).request
        if frozen is not None:
            return frozen
        try:
            prepared = self._program.prepare(
                self._run.plan_index(at), at[1], self._run.facts_at(at),
                iteration=self._run.saga.iteration(at[0]),
            )  # fmt: skip
        except RefusedError as error:
            return self._refused(at, error)
        except Exception as error:
            log.exception("request.broken", run=self._run.ledger.run.id, step=self._run.step_id(at))
            reason = broken("the making of the request", error)
            refused = Judgement(outcome=Outcome.NOT_LANDED, reason=reason)
            return self._settle(at, e.NotLanded(reason=reason), refused)
        if isinstance(prepared, NothingToUndo):
            reason = redact.hidden_text(prepared.reason)
            nothing = Judgement(outcome=Outcome.NOT_LANDED, reason=reason)
            return self._settle(at, e.NotNeeded(reason=reason), nothing)
        return prepared

    async def _wait_for_answer(self, at: At) -> Decision | None:
        """Leave the run to the table until there is an answer; there may be one already."""
        request = self._prepared(at)
        if not isinstance(request, FrozenRequest):
            return request
        opening = Opening(request=request)
        if self._run.saga.call(*at).is_child:
            asking = self._run.asking(at, request)
            try:
                opening = await self._deps.children.of(asking)
            except RefusedError as error:
                return self._refused(at, error)
            await self._deps.children.cancel(asking)
        found = await until_answered(at, opening, self._run, self._shown, self._deps)
        if not isinstance(found, WaitRecord):
            return found
        answer = answered(at, opening.request, found, self._run, self._program)
        if found.asks in (Asks.CHILD, Asks.BLOCK, Asks.MAP):
            self._note_children(at, opening.request, found)
        return self._take_answer(at, answer, "wait", opening.request)

    def _note_children(self, at: At, request: FrozenRequest, wait: WaitRecord) -> None:
        """Keep which runs they were with the step: its undo begins there, in another run as well.

        Of a child that is the first: there are no others.
        """
        assert wait.answer is not None, "it is over, with an answer"
        known = (
            with_map(request, wait.id)
            if wait.asks is Asks.MAP
            else with_runs(request, (each["run"] for each in wait.answer["runs"]))
        )
        link = self._run.saga.link(*at)
        self._run.ledger.change(
            at, LinkWrite(step=at[0], direction=at[1], link=link, request=known)
        )

    def _refused(self, at: At, error: RefusedError) -> Decision:
        """What follows where nothing was asked, since nothing can be."""
        refused = Judgement(outcome=Outcome.NOT_LANDED, reason=str(error))
        return self._settled(at, self._without_answer(at, refused))

    def _stop_before_sending(self, permit: Permit) -> None:
        """It may have waited for its turn since it was last asked whether it is paused."""
        if self._run.stopped_by is not None:
            permit.hand_back()
            raise Stopped

    # --- the call itself --------------------------------------------------------------------------

    async def _verify(self, at: At) -> Decision:
        verify = self._run.saga.call(*at).verify
        assert verify is not None, "the core asks for a verification only where there is one"
        try:
            request = self._program.prepare_verify(
                self._run.plan_index(at), at[1], self._run.facts_at(at),
                iteration=self._run.saga.iteration(at[0]),
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - whatever it is, the doubt stays as it was
            is_refusal = isinstance(error, RefusedError)
            reason = redact.hidden_text(str(error)) if is_refusal else broken("asking", error)
            unknown = Judgement(outcome=Outcome.UNKNOWN, reason=reason)
            return self._settle(at, e.InDoubt(reason=reason), unknown)
        if self._deps.lacks(request):
            return await self._without_code(at, request)
        visit = self._run.visit(at, verify, request, first=self._shown.links_begun == 1)
        permit = await self._entrance.enter(at, visit)
        answer = await self._exchange(at, verify, request, visit, permit, verify=True)
        if not isinstance(answer, Answer):
            return answer
        judgement = of_verification(answer.judgement, answer.response)
        return self._take_answer(at, replace(answer, judgement=judgement), "verify", request)

    async def _exchange(
        self, at: At, call: Call, request: FrozenRequest, visit: Visit,
        permitted: Permitted | Decision, *, verify: bool = False,
    ) -> Answer | Decision:  # fmt: skip
        """The answer, or what is decided in place of a call. Who comes too late to leave on the
        permit asks for another; who does so again and again is in a process with no time for it.
        """
        for _ in range(MOST_HELD_UP):
            if not isinstance(permitted, Permitted):
                return permitted
            self._stop_before_sending(permitted.permit)
            try:
                return await self._asked(at, call, request, permitted.permit, verify=verify)
            except HeldUp:
                if self._deps.lifeline.doubtful:
                    await self._run.commit()
            permitted = await self._entrance.enter(at, visit)
        if isinstance(permitted, Permitted):
            permitted.permit.hand_back()
        self._entrance.withdraw(at)
        return self._entrance.park(at, GateBusy(HELD_UP_SECONDS))

    async def _asked(
        self, at: At, call: Call, request: FrozenRequest, permit: Permit, *, verify: bool = False
    ) -> Answer:
        """Send with this permit and judge; `abandon_call` cuts it off. Raises HeldUp."""

        def judge(response: Response) -> Judgement:
            return self._program.judge(
                self._run.plan_index(at), at[1], self._run.facts_at(at), request, response,
                verify=verify,
            )  # fmt: skip

        seen: Seen | None = None
        begun = self._deps.clock.monotonic()
        self._is_calling = True
        try:
            if crashpoints.hook is not None:
                await self._run.reach("before_send")
            answer = await ask(
                self._deps, call.api, request, self._run.context(at, permit, verify=verify), judge,
                timeout_seconds=call.timeout_seconds,
            )  # fmt: skip
            seen = answer.seen()
            return answer
        except HeldUp:
            permit.hand_back()
            raise
        except asyncio.CancelledError:
            seconds = self._deps.clock.monotonic() - begun
            permit.give_up(after_seconds=seconds, timeout_seconds=call.timeout_seconds)
            raise
        finally:
            self._is_calling = False
            permit.release(seen)

    def _take_answer(self, at: At, answer: Answer, kind: str, request: FrozenRequest) -> Decision:
        judgement = within(answer.judgement, at[1], self._deps.limits.max_output_bytes)
        if answer.response is None:
            judgement = self._without_answer(at, judgement)
        judgement = told(judgement)
        self._run.note_attempt(at, kind, answer, judgement, request)
        return self._settle(at, event_of(judgement, self._deps.jitter()), judgement)

    def _without_answer(self, at: At, judgement: Judgement) -> Judgement:
        facts = self._run.facts
        return self._program.without_answer(self._run.plan_index(at), at[1], facts, judgement)

    def _settled(self, at: At, judgement: Judgement) -> Decision:
        judgement = told(judgement)
        return self._settle(at, event_of(judgement, self._deps.jitter()), judgement)

    def _settle(self, at: At, event: e.Event, judgement: Judgement) -> Decision:
        """Feed a link's outcome to the core and note what it changed."""
        decision = self._run.apply(event)
        link, reason = self._run.saga.link(*at), judgement.reason
        outputs = judgement.outputs if link.status in HAPPENED else None
        if outputs is not None and at[1] is Direction.FORWARD:
            self._run.landed(at, outputs)
        if outputs and at[1] is Direction.FORWARD:
            step_id = self._run.step_id(at)
            redact.know_texts(
                self._program.secrets.of_outputs(step_id, outputs, redact.rules_of_process())
            )
        self._run.ledger.change(
            at,
            LinkWrite(
                step=at[0], direction=at[1], link=link, outputs=outputs, error=reason or None,
                finished_at=self._run.decided_at,
            ),
        )  # fmt: skip
        self._run.ledger.progressed()
        self._run.meter_settled(at, link)
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
        self._entrance.withdraw_current()
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
