"""One run as it stands in this process: the saga, its records, and what of them is committed.

The driver decides what to do next; this keeps the books. Every commit is guarded by owner and
epoch, and answers with what others want of the run meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from orchestrator import crashpoints
from orchestrator.core import events as e
from orchestrator.core import evidence, journal
from orchestrator.core.deciding import decide
from orchestrator.core.exchange import Facts, FrozenRequest, Judgement, Outcome
from orchestrator.core.plan import Call, Effects, Plan
from orchestrator.core.saga import Decision, Link, Saga, current, stops_waiting
from orchestrator.core.states import ASLEEP, DONE, STUCK, TIMED, Direction, RunStatus
from orchestrator.crashpoints import Reached
from orchestrator.definitions.blocks import is_block
from orchestrator.engine.answering import Answer, action_taken
from orchestrator.engine.children import Asking
from orchestrator.engine.deps import Deps
from orchestrator.engine.ledger import At, Ledger
from orchestrator.engine.traces import RunTrace
from orchestrator.errors import IllegalTransition, StaleOwner
from orchestrator.ports import (
    PAUSED,
    Asks,
    AttemptContext,
    AttemptRecord,
    AuditRecord,
    Awaited,
    Awaiting,
    ClaimedRun,
    LinkWrite,
    NewChild,
    NewWait,
    Pause,
    Permit,
    RunRecord,
    RunWrite,
    Signals,
    Visit,
    WaitRecord,
    facts_of,
    is_urgent,
)
from orchestrator.ports.maps import NewMap
from orchestrator.telemetry.redact import hidden_text

_WAYS = {Direction.FORWARD: "step.", Direction.BACKWARD: "undo."}
"""How kinds of records of links begin."""


class Standing:
    """The books of one run."""

    def __init__(self, claimed: ClaimedRun, plan: Plan, deps: Deps) -> None:
        self.saga = claimed.saga(plan)
        self.durable = self.saga  # as last committed
        self.decided_at = deps.clock.now()  # when the core last decided on something
        self.durable_seq = claimed.run.audit_seq  # of the latest audit record that is committed
        self.facts = facts_of(claimed.run, claimed.steps)
        self.ledger = Ledger(claimed, worker_id=deps.worker_id)
        self.begun_at = self.decided_at  # intent of the latest attempt
        self.trace = None if deps.tracing is None else RunTrace(claimed.run, deps.tracing)
        self._deps = deps
        self._wish = Signals()
        self._refuses_cancel = False  # the next write says so
        self._journal: list[journal.Decided] = []  # since the last audit record
        self._told = self.saga.status  # by the audit
        self._told_requests: set[At] = set()  # since the claim, by the records of their intents
        self._call: dict[str, Any] | None = None  # for the audit of the outcome at hand
        self.waited_seconds = 0.0  # before the gate since the last attempt
        self._noted = self.saga  # whose links the ledger has
        self._slept = False  # the next write tells that a sleep is over

    def apply(self, event: e.Event) -> Decision:
        """Let the core decide; what it decided goes into the journal with the next commit."""
        now = self.decided_at = self._deps.clock.now()
        decision = decide(self.saga, event, now)
        self.saga = decision.saga
        self._journal.append((event, now, decision.command))
        return decision

    async def flush(self, **more: Any) -> None:
        """Commit what is pending. Raises StaleOwner when another worker has the run by now."""
        if not (self.ledger.dirty or more or self.saga is not self.durable):
            return
        if more.get("release"):
            self.ledger.progressed()  # given back in good order: it does not kill its workers
        if crashpoints.hook is not None:
            await self.reach("before_commit")
        await self.commit(**more)
        if crashpoints.hook is not None:
            await self.reach("after_commit")

    async def commit(self, **more: Any) -> None:
        write = self._take_write(**more)
        self._committed(write, await self._deps.journal.submit(write))
        if write.release and write.saga.status in TIMED and write.saga.wake_at is not None:
            self._deps.asleep(write.saga.wake_at)

    async def sleep(
        self, wait: NewWait, children: Sequence[NewChild] = (), items: NewMap | None = None
    ) -> Awaited:
        """Commit, and release the run unless its wait is over. Raises StaleOwner.

        `children`, and the map of `items`, begin with the wait, if this opens it.
        """
        self.ledger.progressed()
        if crashpoints.hook is not None:
            await self.reach("before_commit")
        write = self._take_write(release=True)
        found = await self._deps.waits.submit(
            Awaiting(wait=wait, write=write, children=tuple(children), map=items)
        )
        if found is None:
            raise StaleOwner(write.run_id, write.epoch)
        self._committed(write, found.signals)
        if not found.wait.is_open:  # given back, it goes on at once
            self.durable = replace(write.saga, wake_at=found.wait.closed_at)
        elif found.wait.expires_at is not None:
            self._deps.asleep(found.wait.expires_at)
        if crashpoints.hook is not None:
            await self.reach("after_commit")
        return found

    async def look(self, wait: NewWait) -> WaitRecord | None:
        """The wait as it stands; None: it was not opened yet. Nothing is written.

        The end of a sleep is committed with what comes of it: nobody else can end it.
        """
        found = await self._deps.waits.submit(Awaiting(wait=wait, write=None))
        if found is None:
            return None
        self._slept = found.wait.asks is Asks.SLEEP and not found.wait.is_open
        return found.wait

    async def end_sleep(self) -> None:
        """Commit that one is over, where that is pending: a write ends all that the run waits for,
        hence what it is to wait for next as well. Raises StaleOwner.
        """
        if self._slept:
            await self.flush()

    def _take_write(self, **more: Any) -> RunWrite:
        self.note_all_links()
        self._note_journal()
        if more.get("release") and not more.get("hinted"):  # it waits, or has settled
            more.setdefault("traced", self.trace is not None and self.trace.is_chosen)
        return self.ledger.take_write(
            self.saga, refuses_cancel=self._refuses_cancel,
            withdraws=self._stops_waiting() or self._slept, **more,
        )  # fmt: skip

    def _stops_waiting(self) -> bool:
        """Whether this commit turns back or ends a run that may be waited for."""
        saga = self.saga
        may_wait = saga.plan.waits or saga.plan.children
        return may_wait and saga is not self.durable and stops_waiting(saga)

    def _committed(self, write: RunWrite, signals: Signals | None) -> None:
        if signals is None:
            raise StaleOwner(write.run_id, write.epoch)
        self.durable = write.saga
        self.durable_seq = write.audit[-1].seq if write.audit else self.durable_seq
        self._wish, self._refuses_cancel, self._slept = signals, False, False

    @property
    def is_traced(self) -> bool:
        """Whether a trace is told of the run, which has settled."""
        return self.trace is not None and self.trace.keeps(self.saga.status)

    async def reach(self, point: str) -> None:
        """Come to a crash point."""
        await crashpoints.reach(
            Reached(
                point=point, run_id=self.ledger.run.id, at=current(self.saga),
                worker=self._deps.worker_id,
            )
        )  # fmt: skip

    @property
    def cancel_is_open(self) -> bool:
        """Somebody wants the run cancelled, and it has neither been taken up nor refused."""
        taken = self.saga.cancel is not None or self._refuses_cancel
        return self._wish.cancel is not None and not taken

    def take_cancel_wish(self) -> Decision | None:
        if not self.cancel_is_open:
            return None
        mode, reason = self._wish.cancel, self._wish.cancel_reason
        assert mode is not None, "open means that there is one"
        try:
            decision = self.apply(e.CancelRequested(mode=mode, reason=reason))
        except IllegalTransition as error:
            self._refuses_cancel = True
            self.audit("cancel.refused", None, {"why": str(error)})
            return None
        self.audit("run.cancelled", None, {"mode": mode, "reason": reason})
        return decision

    @property
    def stopped_by(self) -> Pause | None:
        """The pause that lets the run begin nothing now."""
        if not self._deps.pauses:
            return None
        saga = self.saga
        undoing = saga.direction is Direction.BACKWARD or saga.cancel is not None
        return self._deps.pauses.stopping(self.ledger.run, undoing=undoing)

    def take_pause(self) -> Decision | None:
        """Pause where it stands, if it is stopped."""
        pause = self.stopped_by
        if pause is None:
            return None
        decision = self.apply(e.PauseRequested())
        told = {"pause": pause.id, "scope": pause.scope, "reason": pause.reason}
        self.audit(PAUSED, None, told)
        return decision

    def landed(self, at: At, outputs: Mapping[str, Any]) -> None:
        """What a forward step gave is a fact for those after it; of a block, what its steps did."""
        facts, step_id = self.facts, self.step_id(at)
        gave = {step_id: outputs}
        if is_block(self.saga.call(*at)):
            gave |= outputs
        self.facts = Facts(
            run_id=facts.run_id, inputs=facts.inputs, outputs={**facts.outputs, **gave}
        )

    def note_attempt(
        self, at: At, kind: str, answer: Answer, judgement: Judgement, request: FrozenRequest
    ) -> None:
        """Keep what an attempt brought; `judgement` is what counts of its answer."""
        response, call = answer.response, self.saga.call(*at)
        status = None if response is None else response.status
        if kind != "wait":
            waited = self.waited_seconds
            self._call = self._evidence(answer)
            if kind == "verify":
                self._call |= {"verify": True, "request": _told_of(request)}
            asked = call.verify if kind == "verify" and call.verify is not None else call
            if answer.of_api:
                self._deps.observer.called(
                    asked, judgement.outcome, response, answer.seconds, waited
                )  # fmt: skip
        self._deps.meter.attempted(
            call.api, at[1], judgement.outcome, status, answer.seconds
        )  # fmt: skip
        self.ledger.attempt(
            AttemptRecord(
                id=self._deps.new_id(), step=at[0], direction=at[1],
                number=max(self.saga.link(*at).attempts, 1), kind=kind,
                outcome=judgement.outcome, reason=judgement.reason,
                status_code=status,
                started_at=answer.started_at, finished_at=self._deps.clock.now(),
                worker=self._deps.worker_id,
            )
        )  # fmt: skip

    def _evidence(self, answer: Answer) -> dict[str, Any]:
        trail, waited, self.waited_seconds = answer.trail, self.waited_seconds, 0.0
        return evidence.of_answer(
            answer.response, sent=trail.requests, seconds=answer.seconds, base=trail.base,
            credential=trail.credential, waited=waited, calls=trail.calls,
        )  # fmt: skip

    def audit_intent(self, at: At, attempt: int, request: FrozenRequest) -> None:
        """That an attempt begins; with its request, unless this owner has told of it before."""
        data: dict[str, Any] = {"step": self.step_id(at), "attempt": attempt}
        if at not in self._told_requests:
            self._told_requests.add(at)
            data["request"] = _told_of(request)
        self._tell(f"{_WAYS[at[1]]}begun", data)

    def meter_settled(self, at: At, link: Link) -> None:
        """Count a link that has come to its end."""
        if link.status in DONE or link.status in STUCK:
            begun_at = link.first_started_at or self.decided_at
            seconds = (self.decided_at - begun_at).total_seconds()
            self._deps.meter.settled(
                self.ledger.run.workflow, self.step_id(at), at[1], link.status, max(seconds, 0.0)
            )

    def note_all_links(self) -> None:
        """Take over what the core has changed besides the link at hand.

        On its way back it marks what needs no undo, and after a death what is in doubt. A commit
        that left such a link out would let the next owner stand at another one than we do.
        """
        noted, known = self._noted.steps, len(self._noted.steps)
        for step, state in enumerate(self.saga.steps):
            if step >= known or state is not noted[step]:
                self._note_link((step, Direction.FORWARD), state.forward)
                self._note_link((step, Direction.BACKWARD), state.undo)
        self._noted = self.saga

    def _note_link(self, at: At, link: Link) -> None:
        known = self.ledger.state(at)
        if link is not known and link != known:
            self.ledger.change(at, LinkWrite(step=at[0], direction=at[1], link=link))

    def audit(self, what: str, at: At | None, data: dict[str, Any]) -> None:
        """Add a record of the run, or of one of its links; with what was decided on since."""
        if at is None:
            self._tell(what, data)
        else:
            self._tell(f"{_WAYS[at[1]]}{what}", {"step": self.step_id(at), **data})

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        now = self.decided_at
        if self._journal:
            data["events"] = journal.entries(self._journal, now)
            self._journal = []
        else:
            now = self._deps.clock.now()
        self._told = self.saga.status
        self.ledger.audit(kind, now, actor=self._deps.worker_id, data=data)

    def audit_outcome(self, at: At, judgement: Judgement, decision: Decision) -> None:
        """How an attempt at a link ended, and the action of its author that was followed then."""
        status = self.saga.link(*at).status
        data: dict[str, Any] = {
            "step": self.step_id(at), "reason": judgement.reason, "run": self.saga.status
        }  # fmt: skip
        if self._call is not None:
            data["call"], self._call = self._call, None
        action = action_taken(judgement, decision, status)
        if action is not None:
            data["action"] = action
        self._tell(f"{_WAYS[at[1]]}{status}", data)

    def _note_journal(self) -> None:
        """What was decided on without a record of its own must not be missing in a replay.

        An event that changed nothing may wait for the next record, or be forgotten.
        """
        if self._journal and (self.saga.status is not self._told or self.saga != self.durable):
            self.audit(f"run.{self.saga.status}", None, {})

    def context(self, at: At, permit: Permit, *, verify: bool) -> AttemptContext:
        """Of a request on this permit. One with an effect only leaves if nobody has the run by now.

        Also where the API honours its key: whoever has the run may have been refused on that key,
        and be through with undoing the rest.
        """
        run, harmless = self.ledger.run, self.saga.call(*at).effects is Effects.NONE

        def may_leave() -> bool:
            return permit.fresh and (harmless or self._is_ours())

        headers = None
        if self.trace is not None:
            begun_at = None if verify else self.begun_at
            self.trace.begin_attempt(at, begun_at)
            headers = partial(self.trace.headers, at, begun_at)
        context = AttemptContext(
            run_id=run.id, step_id=self.step_id(at), direction=at[1],
            attempt=self.saga.link(*at).attempts, tenant=run.tenant, may_leave=may_leave,
            trace_headers=headers,
        )  # fmt: skip
        return context if harmless else msgspec.structs.replace(context, may_go_on=self._is_ours)

    def _is_ours(self) -> bool:
        """Nobody can have taken the run over yet, so a request with an effect may leave."""
        return not self._deps.lifeline.doubtful

    def visit(self, at: At, call: Call, request: FrozenRequest, *, first: bool) -> Visit:
        """A call as the gate sees it; `first`: it is of the first link since the claim."""
        run = self.ledger.run
        return Visit(
            api=call.api, operation=f"{request.method} {request.target.partition('?')[0]}",
            run_id=run.id,
            tenant=run.tenant, priority=run.priority, undo=at[1] is Direction.BACKWARD,
            parked=run.status is RunStatus.PARKED and first,
            retry=self.saga.link(*at).attempts > 0,
        )  # fmt: skip

    def asking(self, at: At, request: FrozenRequest) -> Asking:
        """A link whose request begins a run, as it is about to be asked."""
        of_step = self.ledger.link((at[0], Direction.FORWARD)).request
        return Asking(
            at=at, run=self.ledger.run, saga=self.saga, request=request, of_step=of_step,
            now=self._deps.clock.now(),
        )  # fmt: skip

    def patience_seconds(self, at: At) -> float:
        """How long the run may wait at the gate; what is let in too late is in vain."""
        patience, latest = self._deps.limits.gate_patience_seconds, self.latest_start(at)
        if latest is None:
            return patience
        left = (latest - self._deps.clock.now()).total_seconds()
        return min(patience, max(left, 0.0))

    def latest_start(self, at: At) -> datetime | None:
        """Until when waiting for the API is of use: the deadline, or what the step allows."""
        moments = (self.deadline, self.start_by(at))
        return min((each for each in moments if each is not None), default=None)

    def too_late(self, at: At) -> Judgement | None:
        """Of a step that has waited for its API as long as it says."""
        start_by = self.start_by(at)
        if start_by is None or self._deps.clock.now() < start_by:
            return None
        seconds = self.saga.call(*at).start_within_seconds
        reason = f"no request could leave within {seconds:g} s, as x-start-within has it"
        return Judgement(outcome=Outcome.NOT_LANDED, reason=reason)

    def start_by(self, at: At) -> datetime | None:
        """When the first request of a step has to leave, if the step says so."""
        within, link = self.saga.call(*at).start_within_seconds, self.saga.link(*at)
        if within is None or at[1] is Direction.BACKWARD or link.attempts > 0:
            return None
        ended = (self.ledger.link((n, at[1])).finished_at for n in range(at[0] - 1, -1, -1))
        before = next((moment for moment in ended if moment is not None), None)
        return (before or self.ledger.run.created_at) + timedelta(seconds=within)

    @property
    def deadline(self) -> datetime | None:
        """Of forward work, while it has not passed.

        Undoing has no deadline, and past it there may still be a doubt to settle.
        """
        saga = self.saga
        if saga.deadline_at is None or saga.direction is not Direction.FORWARD:
            return None
        return saga.deadline_at if self._deps.clock.now() < saga.deadline_at else None

    @property
    def is_urgent(self) -> bool:
        """Whether the run goes ahead of others of its lane."""
        deadline = self.saga.deadline_at
        left = None if deadline is None else (deadline - self.decided_at).total_seconds()
        return is_urgent(self.ledger.run.priority, left)

    def plan_index(self, at: At) -> int:
        """Which step of the plan the chain visits there."""
        return self.saga.path.steps[at[0]]

    def facts_at(self, at: At) -> Facts:
        """What a link may refer to: an undo to what its visit and those before it gave.

        Without jumps the names tell them apart, since no step gives anything twice.
        """
        if at[1] is Direction.FORWARD or self.saga.path.is_straight:
            return self.facts
        behind = self.ledger.steps(self.saga)[: at[0] + 1]
        return facts_of(self.ledger.run, behind)

    def step_id(self, at: At) -> str:
        saga = self.saga
        return saga.plan.steps[saga.path.steps[at[0]]].id


def _told_of(request: FrozenRequest) -> dict[str, Any]:
    """What the audit tells of a request; an input that is secret may stand in its address."""
    return evidence.of_request(request, hidden_text(request.target))


async def give_back(
    run: RunRecord,
    saga: Saga,
    deps: Deps,
    *,
    why: str,
    seq: int,
    number: int = 1,
    driven: bool = True,
) -> None:
    """Release a run as it was last committed; the sweep finds it.

    `seq` is that of its next audit record, `number` that of its owner's next write.
    Its claims count on, so that one that always fails is escalated in the end; not when it was
    never `driven`, which is no fault of the run's.
    """
    record = AuditRecord(
        seq=seq, at=deps.clock.now(), kind="run.given_back", actor=deps.worker_id,
        data={"why": why},
    )  # fmt: skip
    write = RunWrite(
        run_id=run.id, owner=deps.worker_id, epoch=run.epoch, saga=saga, audit=(record,),
        number=number, release=True, progressed=not driven,
    )  # fmt: skip
    signals = await deps.journal.submit(write)
    if signals is not None and signals.cancel is not None and saga.status in ASLEEP:
        # A run that would sleep stays ours while there is a wish to cancel it, which nobody here
        # can answer. So it is to go on at once, with whoever takes it up.
        due = msgspec.structs.replace(write, saga=_due(saga), audit=(), number=number + 1)
        await deps.journal.submit(due)


def _due(saga: Saga) -> Saga:
    forward = saga.direction is Direction.FORWARD
    status = RunStatus.RUNNING if forward else RunStatus.COMPENSATING
    return replace(saga, status=status, wake_at=None)
