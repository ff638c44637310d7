"""Dead letters: people take them, decide, and the run goes on or ends. Every act is audited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator.core import events as e
from orchestrator.core import journal
from orchestrator.core.deciding import decide
from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.plan import OnCancel
from orchestrator.core.saga import Decision, Finish, Saga, current, stops_waiting, stuck
from orchestrator.core.states import Direction, RunStatus
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.errors import Conflict, IllegalTransition, InvalidInput, NotFound, Problem
from orchestrator.ports import (
    OPEN_ONES,
    PROPOSED,
    ActWrite,
    AuditRecord,
    ClaimedRun,
    Confirmation,
    DeadLetterQueue,
    EscalationFilter,
    EscalationRecord,
    EscalationStore,
    JobItem,
    LinkWrite,
    Proposal,
    Redelivery,
    RunWrite,
    Store,
    Subject,
    hop_ids,
)
from orchestrator.service.correcting import corrected
from orchestrator.service.four_eyes import FourEyes, Wish
from orchestrator.service.privacy import hidden_escalation
from orchestrator.service.redelivery import Redeliverer
from orchestrator.service.urgency import Urgency
from orchestrator.telemetry import redact

BATCH_PUBLISHED = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """What a person does about an escalation."""

    resolution: str  # "retried", "resolved", "skipped", "abandoned"
    event: e.Event
    by: str
    reason: str  # required: why, and the evidence
    seen: EscalationRecord | None = None  # what it was decided on: refused when that has changed
    outputs: Mapping[str, Any] | None = None  # what a resolved forward step gave
    corrections: Mapping[str, Any] | None = None  # of a retried request's body, by JSON pointer
    confirmed: Confirmation | None = None  # by a second person, of what the first has proposed
    via: str = ""  # "cli", "rest", "console", "job"

    @property
    def wants_four_eyes(self) -> bool:
        """Whether the rule is about it: all but the same call once more."""
        return not isinstance(self.event, e.Retried) or bool(self.corrections)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comment:
    """A remark on an escalation."""

    at: datetime
    by: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """An escalation that was acted on, and what is left to do about it."""

    escalation_id: str
    status: RunStatus  # the run's now
    wake: Redelivery | None  # for the run, unless it has ended
    parts: Sequence[Redelivery] = ()  # for runs that are stopped with it; sweeps wake them, too
    proposal: Proposal | None = None  # nothing was done yet: a second person has to confirm it

    @property
    def closed(self) -> str | None:
        """The escalation whose message has to go."""
        return self.escalation_id if self.proposal is None else None


class Escalations:
    """The dead-letter queue as people use it."""

    def __init__(
        self,
        store: Store,
        dead_letters: DeadLetterQueue,
        programs: Programs,
        redeliverer: Redeliverer,
        *,
        max_output_bytes: int = 1024 * 1024,
        urgency: Urgency | None = None,
        claim_seconds: float | None = None,
        four_eyes: FourEyes | None = None,
    ) -> None:
        self._four_eyes = four_eyes or FourEyes(None, programs, new_id=str)
        self._store, self._dead_letters = store, dead_letters
        self._programs, self._redeliverer = programs, redeliverer
        self._max_output_bytes, self._claim_seconds = max_output_bytes, claim_seconds
        self.urgency = urgency or Urgency()

    async def list(self, which: EscalationFilter = OPEN_ONES) -> list[EscalationRecord]:
        """Those that the filter names, oldest first, or by when they are due."""
        wanted, rules = replace(which, due_seconds=self.urgency.due_seconds), redact.rules()
        return [hidden_escalation(e, rules) for e in await self._store.escalations(wanted)]

    async def assign(
        self, escalation_id: str, *, to: str, by: str, seen: EscalationRecord | None = None
    ) -> EscalationRecord:
        """Give one to somebody, whoever has it; it leaves the broker's queue.

        With `seen`, only if it is as it was read then. Raises Conflict.
        """
        _require_words(to, "to", "whom to give it to")
        record = await self._store.escalation(escalation_id)
        given = await self._store.assign_escalation(
            record.id, to=to.strip(), by=by, for_seconds=self._claim_seconds, seen=seen
        )
        await self._dead_letters.remove([record.id])
        return given

    async def comment(self, escalation_id: str, text: str, *, by: str) -> Sequence[Comment]:
        """Add a remark; all of them. Raises InvalidInput, NotFound."""
        _require_words(text, "comment", "a remark")
        record = await self._store.escalation(escalation_id)
        await self._store.comment_escalation(record.id, text.strip(), by=by)
        return await self.comments(record)

    async def comments(self, record: EscalationRecord) -> Sequence[Comment]:
        """What people remarked on it, oldest first."""
        return [
            Comment(at=each.at, by=each.actor, text=each.data["text"])
            for each in await self._store.audit(record.run_id)
            if each.kind == "escalation.commented" and each.data.get("escalation") == record.id
        ]

    async def show(self, escalation_id: str) -> EscalationRecord:
        """One. Raises NotFound."""
        return hidden_escalation(await self._store.escalation(escalation_id), redact.rules())

    async def claim(self, escalation_id: str, *, by: str) -> EscalationRecord:
        """Take one for oneself; it leaves the broker's queue. Raises Conflict."""
        record = await self._store.escalation(escalation_id)
        claimed = await self._store.claim_escalation(
            record.id, by=by, for_seconds=self._claim_seconds
        )
        await self._dead_letters.remove([record.id])
        return claimed

    async def claim_next(self, *, by: str) -> EscalationRecord | None:
        """Take the oldest one off the broker's queue; None when it is empty.

        Messages of escalations that are closed or claimed by now are dropped on the way.
        """
        while (escalation_id := await self._dead_letters.take_next()) is not None:
            try:
                return await self._store.claim_escalation(
                    escalation_id, by=by, for_seconds=self._claim_seconds
                )
            except (Conflict, NotFound):
                continue
        return None

    async def release(
        self, escalation_id: str, *, by: str, seen: EscalationRecord | None = None
    ) -> EscalationRecord:
        """Give it back, with `seen` only if it is as it was read then; it is published again.

        Raises Conflict.
        """
        record = await self._store.escalation(escalation_id)
        released = await self._store.release_escalation(record.id, by=by, seen=seen)
        await self._dead_letters.publish([released])
        return released

    async def retry(
        self,
        escalation_id: str,
        *,
        by: str,
        reason: str,
        corrections: Mapping[str, Any] | None = None,
    ) -> RunStatus:
        """Try the stuck link again, with the same key and bytes.

        With `corrections` (JSON pointer into the body -> value) as another request, with a key of
        its own; only where the first certainly had no effect.
        """
        act = Act(
            resolution="retried", event=e.Retried(), by=by, reason=reason, corrections=corrections
        )
        return await self.act(escalation_id, act)

    async def resolve(
        self,
        escalation_id: str,
        *,
        by: str,
        reason: str,
        landed: bool = True,
        outputs: Mapping[str, Any] | None = None,
    ) -> RunStatus:
        """Vouch for the stuck link (done, or certainly without effect) and let the rest go on.

        `outputs`: what a forward step gave, by the names that the workflow declares.
        """
        event = e.Resolved(landed=landed)
        act = Act(resolution="resolved", event=event, by=by, reason=reason, outputs=outputs)
        return await self.act(escalation_id, act)

    async def skip(self, escalation_id: str, *, by: str, reason: str) -> RunStatus:
        """Leave the stuck undo's effect standing and let the rest go on."""
        act = Act(resolution="skipped", event=e.Skipped(), by=by, reason=reason)
        return await self.act(escalation_id, act)

    async def abandon(self, escalation_id: str, *, by: str, reason: str) -> RunStatus:
        """End the run where it is. Final."""
        act = Act(resolution="abandoned", event=e.Abandoned(), by=by, reason=reason)
        return await self.act(escalation_id, act)

    async def act(self, escalation_id: str, act: Act) -> RunStatus:
        """As `decide`, for who only asks what the run is now: `escalated` when it is proposed."""
        return (await self.decide(escalation_id, act)).status

    async def decide(self, escalation_id: str, act: Act) -> Settled:
        """Close it by this act, or propose that where a second person is needed.

        Raises Conflict, InvalidInput, NotFound.
        """
        settled = await self.settle(escalation_id, act)
        if settled.closed is not None:
            await self._dead_letters.remove([settled.closed])
        wake = [] if settled.wake is None else [settled.wake]
        await self._redeliverer.publish([*wake, *settled.parts])
        return settled

    async def confirm(self, proposal: Proposal, confirmation: Confirmation) -> Settled:
        """Do what somebody has proposed. Raises Conflict, NotFound."""
        return await self.decide(proposal.subject_id, confirmed_act(proposal, confirmation))

    async def settle_proposed(
        self, escalation_id: str, *, by: str, reason: str, job_id: str
    ) -> Settled:
        """Do what is proposed about it now, as the second person, for a job.

        Raises Conflict where nothing is, or as `ProposalStore.confirm_act` does.
        """
        record = await self._store.escalation(escalation_id)
        proposal = await self._four_eyes.open_on(record.run_id, record.id)
        if proposal is None:
            problem = Problem(
                place=f"escalation {record.id}", found="nothing proposed", wanted="a proposal"
            )
            raise Conflict("there is nothing to confirm", problems=[problem])
        said = Confirmation(proposal_id=proposal.id, by=by, reason=reason, via="job")
        return await self.settle(record.id, confirmed_act(proposal, said), job_id=job_id)

    async def settle(self, escalation_id: str, act: Act, *, job_id: str | None = None) -> Settled:
        """Close it by this act in the table alone, for a job if one is given.

        Its message and the run's wake-up are the caller's; sweeps see to them otherwise. Raises
        Conflict, InvalidInput, JobHeld, NotFound, Untrusted.
        """
        require_reason(act.reason)
        escalation, claimed = await self._store.escalated_run(escalation_id)
        _require_open(escalation)
        # What may not be run is only given up: whatever else leads on by what it says.
        abandons = isinstance(act.event, e.Abandoned)
        find = self._programs.get if abandons else self._programs.trusted
        program = await find(claimed.run.workflow_id)
        before = claimed.saga(program.plan)
        if act.outputs is not None:
            self._check_outputs(act, before, program)
        now = await self._store.now()
        decision = self._decide(before, act, escalation, now)
        write = self._write(claimed, before, decision, act, now)
        if (
            act.confirmed is None
            and act.wants_four_eyes
            and await self._four_eyes.holds(claimed.run)
        ):
            wish = proposed_act(act, escalation.id)
            proposal = await self._four_eyes.propose(
                claimed.run, wish, item=_item(job_id, escalation.id, PROPOSED)
            )
            return Settled(
                escalation_id=escalation.id, status=claimed.run.status, wake=None, proposal=proposal
            )
        parts = await self._close(
            escalation.id, write, claimed.run.epoch, act,
            _item(job_id, escalation.id, decision.saga.status),
        )  # fmt: skip
        ended = isinstance(decision.command, Finish)
        return Settled(
            escalation_id=escalation.id, status=decision.saga.status,
            wake=None if ended else _wake_up(claimed, decision.saga), parts=parts,
        )  # fmt: skip

    async def _close(
        self, known: str, write: RunWrite, epoch: int, act: Act, item: JobItem | None
    ) -> Sequence[Redelivery]:
        said = {"resolution": act.resolution, "by": act.by, "reason": act.reason}
        if act.confirmed is None:
            return await self._store.act(
                known, write, expected_epoch=epoch, seen=act.seen, item=item, **said
            )
        closing = ActWrite(escalation_id=known, write=write, expected_epoch=epoch, **said)
        return await self._four_eyes.act(act.confirmed, closing, item=item)

    def _check_outputs(self, act: Act, saga: Saga, program: Program) -> None:
        """Raises InvalidInput unless they are outputs of the forward step that is stuck."""
        at = stuck(saga)
        if at is None or at[1] is not Direction.FORWARD or act.event != e.Resolved(landed=True):
            found = "no step" if at is None else f"a step going {at[1]}, {act.resolution}"
            problem = Problem(
                place="outputs", found=found, wanted="a forward step that is resolved as done"
            )
            raise InvalidInput("only a step that was done gives outputs", problems=[problem])
        size = len(msgspec.json.encode(dict(act.outputs or {})))
        if size > self._max_output_bytes:
            problem = Problem(
                place="outputs", found=f"{size:,} bytes as JSON",
                wanted=f"at most {self._max_output_bytes:,}",
            )  # fmt: skip
            raise InvalidInput("the outputs are too large", problems=[problem])
        declared = program.output_names(saga.path.steps[at[0]])
        unknown = [] if declared is None else sorted((act.outputs or {}).keys() - declared)
        if unknown:
            wanted = "one of " + ", ".join(sorted(declared or ())) if declared else "none"
            problems = [
                Problem(place=f"outputs /{name}", found="it", wanted=wanted) for name in unknown
            ]
            raise InvalidInput("the step declares no such outputs", problems=problems)

    def _decide(
        self, saga: Saga, act: Act, escalation: EscalationRecord, now: datetime
    ) -> Decision:
        try:
            return decide(saga, act.event, now)
        except IllegalTransition as error:
            raise Conflict(
                f"an escalation of this kind cannot be {act.resolution}",
                problems=[
                    Problem(
                        place=f"escalation {escalation.id}, step {escalation.step_id or '-'}",
                        found=f"{escalation.reason} going {escalation.direction}",
                        wanted=str(error),
                    )
                ],
            ) from error

    def _write(
        self, claimed: ClaimedRun, before: Saga, decision: Decision, act: Act, now: datetime
    ) -> RunWrite:
        """The run's guarded write; its new epoch makes every older hint stale."""
        run = claimed.run
        at = stuck(before)
        data: dict[str, Any] = {
            "reason": act.reason, "run": decision.saga.status,
            "events": [journal.entry(act.event, now, decision.command)],
        }  # fmt: skip
        if act.confirmed is not None:
            data["confirmed_by"] = act.confirmed.by
        if at is not None:
            data["step"] = before.plan_step(at[0]).id
        if isinstance(act.event, e.Resolved):
            data["landed"] = act.event.landed
        links = _changed_links(before, decision.saga, now)
        if act.corrections:
            data["corrected"] = sorted(act.corrections)
            request = _corrected(act.corrections, before, claimed)
            links = tuple(
                replace(each, request=request) if (each.step, each.direction) == at else each
                for each in links
            )
        if act.outputs is not None:
            data["outputs"] = sorted(act.outputs)
            links = tuple(
                replace(each, outputs=act.outputs) if (each.step, each.direction) == at else each
                for each in links
            )
        kind = f"operator.{act.resolution}"
        audit = [AuditRecord(seq=run.audit_seq + 1, at=now, kind=kind, actor=act.by, data=data)]
        if isinstance(decision.command, Finish):
            audit.append(AuditRecord(
                seq=run.audit_seq + 2, at=now, kind=f"run.{decision.saga.status}", actor=act.by,
                data={"cause": decision.saga.cause},
            ))  # fmt: skip
        return RunWrite(
            run_id=run.id,
            owner="",
            epoch=run.epoch + 1,
            saga=decision.saga,
            links=links,
            audit=tuple(audit),
            progressed=True,
            release=True,
            withdraws=stops_waiting(decision.saga),
            stops_parts=isinstance(act.event, e.Abandoned) and _waits_for_parts(before),
            hinted=not isinstance(decision.command, Finish),
        )


_EVENTS: Mapping[str, Callable[[Mapping[str, Any]], e.Event]] = {
    "retried": lambda _: e.Retried(),
    "resolved": lambda given: e.Resolved(landed=given["landed"]),
    "skipped": lambda _: e.Skipped(),
    "abandoned": lambda _: e.Abandoned(),
}


def proposed_act(act: Act, escalation_id: str) -> Wish:
    """As it is kept until it is confirmed."""
    given = {
        "landed": act.event.landed if isinstance(act.event, e.Resolved) else None,
        "outputs": act.outputs, "corrections": act.corrections,
    }  # fmt: skip
    return Wish(
        subject=Subject.ESCALATION, subject_id=escalation_id, act=act.resolution,
        arguments={name: value for name, value in given.items() if value is not None},
        reason=act.reason, by=act.by, via=act.via,
    )  # fmt: skip


def confirmed_act(proposal: Proposal, confirmation: Confirmation) -> Act:
    """Inverse of `proposed_act`, with the second person's word."""
    given = proposal.arguments
    return Act(
        resolution=proposal.act, event=_EVENTS[proposal.act](given), by=proposal.proposed_by,
        reason=proposal.reason, outputs=given.get("outputs"), corrections=given.get("corrections"),
        confirmed=confirmation, via=proposal.via,
    )  # fmt: skip


def _item(job_id: str | None, escalation_id: str, outcome: str) -> JobItem | None:
    return None if job_id is None else JobItem(job_id=job_id, item=escalation_id, outcome=outcome)


async def reconcile_dead_letters(store: EscalationStore, queue: DeadLetterQueue) -> None:
    """Make the broker's queue equal to the open, unclaimed escalations.

    The queue is read before the table, so that one opened in between is at worst published twice,
    and the next pass removes the second message.
    """
    listed = Counter(await queue.listed())
    oldest_first = await store.open_unclaimed()
    wanted = set(oldest_first)
    surplus = [known for known, times in listed.items() if known not in wanted or times > 1]
    if surplus:
        await queue.remove(surplus)
    missing = [known for known in oldest_first if known not in listed or listed[known] > 1]
    for start in range(0, len(missing), BATCH_PUBLISHED):
        batch = missing[start : start + BATCH_PUBLISHED]
        await queue.publish([await store.escalation(known) for known in batch])


def _corrected(corrections: Mapping[str, Any], saga: Saga, claimed: ClaimedRun) -> FrozenRequest:
    """The stuck request with other values. Raises InvalidInput where there is none, Conflict
    where the first may have had its effect."""
    at = stuck(saga)
    record = None if at is None else claimed.steps[at[0]]
    if at is None or record is None:
        problem = Problem(place="corrections", found="no stuck call", wanted="a stuck call")
        raise InvalidInput("there is nothing to correct", problems=[problem])
    link = record.forward if at[1] is Direction.FORWARD else record.undo
    if saga.link(*at).doubt:
        problem = Problem(
            place=f"step {record.step_id}, {at[1]}", found="a call that may have had its effect",
            wanted="one that certainly had none: look, and resolve it",
        )  # fmt: skip
        raise Conflict("another request might do it twice", problems=[problem])
    if link.request is None:
        problem = Problem(
            place=f"step {record.step_id}, {at[1]}", found="a call that could not be made",
            wanted="a request that was sent",
        )  # fmt: skip
        raise InvalidInput("there is nothing to correct", problems=[problem])
    return corrected(link.request, corrections)


def _wake_up(claimed: ClaimedRun, saga: Saga) -> Redelivery:
    run, (hop_id, parent_hop_id) = claimed.run, hop_ids(claimed.run.id, saga)
    return Redelivery(
        run_id=run.id, epoch=run.epoch + 1, hop_id=hop_id, parent_hop_id=parent_hop_id,
        lane=run.lane, direction=saga.direction, step=_current_step(saga),
        workflow_id=run.workflow_id, why="operator",
    )  # fmt: skip


def _require_words(text: str, place: str, wanted: str) -> None:
    if not text.strip():
        problem = Problem(place=place, found="nothing", wanted=wanted)
        raise InvalidInput("something is missing", problems=[problem])


def _require_open(escalation: EscalationRecord) -> None:
    if escalation.closed_at is not None:
        problem = Problem(
            place=f"escalation {escalation.id}",
            found=f"closed ({escalation.resolution}) by {escalation.closed_by} at"
            f" {escalation.closed_at}",
            wanted="open",
        )
        raise Conflict("somebody has decided already", problems=[problem])


def require_reason(reason: str) -> None:
    """Raises InvalidInput without one."""
    if not reason.strip():
        problem = Problem(place="--reason", found="nothing", wanted="why, in words for an auditor")
        raise InvalidInput("an act needs a reason", problems=[problem])


def _current_step(saga: Saga) -> int | None:
    at = current(saga)
    return None if at is None else saga.path.steps[at[0]]


def _changed_links(before: Saga, after: Saga, now: datetime) -> tuple[LinkWrite, ...]:
    """Links that the decision changed; their payloads stay as they are. A person never jumps."""
    return tuple(
        LinkWrite(step=step, direction=direction, link=after.link(step, direction), finished_at=now)
        for step in range(len(after.steps))
        for direction in Direction
        if before.link(step, direction) != after.link(step, direction)
    )


def _waits_for_parts(saga: Saga) -> bool:
    """Whether runs that it has begun and waits for stop with it: not those that undo something,
    nor those that go on by themselves whatever becomes of it."""
    at = current(saga)
    if at is None or at[1] is Direction.BACKWARD:
        return False
    return saga.call(*at).on_cancel is not OnCancel.LEAVE
