"""Proposals: what one person wants done and a second one confirms.

Everybody locks the run's row first, so of those who confirm, refuse or let it lapse one comes
first and the others find it closed. Confirming and doing what was proposed is one transaction: an
act that is refused (its escalation was settled meanwhile) leaves the proposal as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import Conflict, Problem
from orchestrator.ports import (
    ActWrite,
    Confirmation,
    Decision,
    JobItem,
    JobItemState,
    NewProposal,
    Proposal,
    ProposalFilter,
    ProposalOutcome,
    Redelivery,
    Subject,
    WaitRecord,
)
from orchestrator.store import codec, rows
from orchestrator.store.escalations import Escalations
from orchestrator.store.finding import Finder
from orchestrator.store.jobs import Marks
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.tables import OPEN
from orchestrator.store.transactions import Tx
from orchestrator.store.waiting import Waiting

_FROM = "FROM proposals AS p JOIN runs ON runs.id = p.run_id"
_IS_OPEN: Mapping[Subject, str] = {
    Subject.ESCALATION: "EXISTS (SELECT 1 FROM escalations AS e"
    " WHERE e.id = {subject_id} AND e.run_id = {run_id} AND e.closed_at IS NULL)",
    Subject.APPROVAL: "EXISTS (SELECT 1 FROM waits AS w WHERE w.id = {subject_id}"
    " AND w.run_id = {run_id} AND w.closed_at IS NULL"
    " AND (w.expires_at IS NULL OR w.expires_at > {now}))",
    Subject.EDIT: "EXISTS (SELECT 1 FROM runs AS r WHERE r.id = {run_id}"
    " AND r.direction = 'forward' AND r.status NOT IN"
    " ('succeeded', 'compensated', 'abandoned', 'escalated'))",
}
"""Whether what a proposal is about can still be decided."""


class Proposals(Part):
    """Implements ports.ProposalStore."""

    def __init__(self, shared: Shared, escalations: Escalations, waiting: Waiting) -> None:
        super().__init__(shared)
        self._escalations, self._waiting = escalations, waiting
        self._notes, self._marks = Notes(shared), Marks(shared)
        self._read = f"SELECT {rows.PROPOSAL} {_FROM}"
        self._find = Finder(
            self._dialect, what="proposal", select=self._read, table="proposals", column="p.id",
            unfinished=[OPEN],
        )  # fmt: skip
        self._exact = self._sql(f"{self._read} WHERE p.id = :id")
        self._lock = self._sql("SELECT id FROM runs WHERE id = :run_id {for_update}")
        self._live = {
            subject: self._sql(
                "SELECT 1 WHERE " + self._is_open(subject, ":subject_id", ":run_id")
            )
            for subject in Subject
        }  # fmt: skip
        lapsed = self._lapsed = f"(p.expires_at <= {{now}} OR NOT ({self._subject_is_open()}))"
        self._same = self._sql(
            f"{self._read} WHERE p.run_id = :run_id AND p.subject_id = :subject_id"
            " AND p.closed_at IS NULL"
        )
        lapsed_ones = (
            "SELECT p.id FROM proposals AS p {join_then} runs ON runs.id = p.run_id"
            f" WHERE p.closed_at IS NULL AND {lapsed}"
        )
        self._lapsed_ones = self._sql(f"{lapsed_ones} ORDER BY p.id LIMIT :most")
        self.looks = {"lapsed": lapsed_ones}
        self._has_lapsed = self._sql(
            f"SELECT p.expires_at <= {{now}} {_FROM} WHERE p.id = :id AND p.closed_at IS NULL"
            f" AND {lapsed}"
        )
        until = self._dialect.later("{now}", "CAST(:seconds AS {real})")
        self._add = self._sql(
            "INSERT INTO proposals (id, run_id, subject, subject_id, act, arguments, reason,"
            " proposed_by, via, proposed_at, expires_at) VALUES (:id, :run_id, :subject,"
            f" :subject_id, :act, :arguments, :reason, :by, :via, {{now}}, {until})"
        )
        self._close = self._sql(
            "UPDATE proposals SET closed_at = {now}, outcome = :outcome, closed_by = :by,"
            " closing_reason = :reason WHERE id = :id AND closed_at IS NULL"
        )

    def _is_open(self, subject: Subject, subject_id: str, run_id: str) -> str:
        words = _IS_OPEN[subject].replace("{subject_id}", subject_id)
        return words.replace("{run_id}", run_id)

    def _subject_is_open(self) -> str:
        cases = (
            f"p.subject = '{subject}' AND {self._is_open(subject, 'p.subject_id', 'p.run_id')}"
            for subject in Subject
        )
        return " OR ".join(f"({case})" for case in cases)

    # --- look -------------------------------------------------------------------------------------

    async def proposal(self, proposal_id: str) -> Proposal:
        """One. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""
        return rows.proposal_of(await self._db.read(lambda tx: self._find.find(tx, proposal_id)))

    async def proposals(self, which: ProposalFilter) -> list[Proposal]:
        """Oldest first. What has lapsed is not open, whether or not that is written down yet."""
        given = {
            "runs.tenant = :tenant": which.tenant, "p.run_id = :run_id": which.run_id,
            "p.subject = :subject": which.subject, "p.subject_id = :subject_id": which.subject_id,
            "p.id > :after": which.after,
        }  # fmt: skip
        chosen = [words for words, value in given.items() if value is not None]
        if which.open_only:
            chosen += ["p.closed_at IS NULL", f"NOT {self._lapsed}"]
        where = " AND ".join(chosen or ["true"])
        page = self._sql(f"{self._read} WHERE {where} ORDER BY p.id LIMIT :most")
        parameters = {
            words.rpartition(":")[2]: str(value)
            for words, value in given.items() if value is not None
        }  # fmt: skip
        found = await self._db.rows(page, **parameters, most=which.limit)
        return [rows.proposal_of(row) for row in found]

    # --- make and refuse --------------------------------------------------------------------------

    async def propose(self, new: NewProposal, *, item: JobItem | None = None) -> Proposal:
        """Make it, audited. See the port."""

        async def work(tx: Tx) -> Proposal:
            await self._locked(tx, new.run_id)
            subject = {"run_id": new.run_id, "subject_id": new.subject_id}
            if await tx.row(self._live[new.subject], **subject) is None:
                raise _settled(new)
            known = await tx.row(self._same, **subject)
            if known is not None and not await self._lapse(tx, rows.proposal_of(known)):
                raise _proposed_already(rows.proposal_of(known))
            await tx.change(
                self._add, id=new.id, run_id=new.run_id, subject=str(new.subject),
                subject_id=new.subject_id, act=new.act, arguments=codec.dump_payload(new.arguments),
                reason=codec.storable(new.reason), by=codec.storable(new.by), via=new.via,
                seconds=new.seconds,
            )  # fmt: skip
            made = await self._record(tx, new.id)
            more = {"reason": new.reason, "via": new.via, "until": made.expires_at.isoformat()}
            await self._note(tx, made, "proposal.made", new.by, **more)
            if item is not None:
                await self._marks.mark(tx, item, JobItemState.DONE)
            return made

        return await self._db.write(work)

    async def refuse_proposal(self, proposal_id: str, *, by: str, reason: str) -> Proposal:
        """Close it unconfirmed, audited. Raises Conflict when it is over, NotFound."""

        async def work(tx: Tx) -> Proposal:
            before = await self._open_one(tx, proposal_id)
            await self._closed(tx, before, ProposalOutcome.REFUSED, by, reason)
            return await self._record(tx, before.id)

        return await self._db.write(work)

    async def lapse_proposals(self, *, limit: int = 100) -> list[str]:
        """Close those whose time is over, or whose subject is settled, audited. Their ids."""
        found = [row[0] for row in await self._db.rows(self._lapsed_ones, most=limit)]

        async def lapse(known: str) -> bool:
            async def work(tx: Tx) -> bool:
                before = await self._record(tx, known)
                await self._locked(tx, before.run_id)
                return await self._lapse(tx, await self._record(tx, known))

            return await self._db.write(work)

        return [known for known in found if await lapse(known)]

    # --- confirm ----------------------------------------------------------------------------------

    async def confirm_act(
        self, confirmation: Confirmation, act: ActWrite, *, item: JobItem | None = None
    ) -> list[Redelivery]:
        """Close the proposal and do what it proposes. See the port."""

        async def work(tx: Tx) -> list[Redelivery]:
            await self.confirm_in(tx, confirmation, act.escalation_id)
            return await self._escalations.act_in(tx, act, item=item)

        return await self._db.write(work)

    async def confirm_decision(
        self,
        confirmation: Confirmation,
        wait_id: str,
        decision: Decision,
        *,
        data: Mapping[str, Any],
    ) -> tuple[WaitRecord, Redelivery | None]:
        """Close the proposal and decide. See the port."""

        async def work(tx: Tx) -> tuple[WaitRecord, Redelivery | None]:
            proposal = await self.confirm_in(tx, confirmation, wait_id)
            return await self._waiting.decide_in(
                tx, wait_id, decision, by=proposal.proposed_by, via=proposal.via,
                reason=proposal.reason, data=data, confirmed_by=confirmation.by,
            )  # fmt: skip

        return await self._db.write(work)

    async def confirm_in(self, tx: Tx, confirmation: Confirmation, subject_id: str) -> Proposal:
        """Close it as confirmed, its run locked. Raises Conflict, NotFound."""
        before = await self._open_one(tx, confirmation.proposal_id)
        if before.subject_id != subject_id:
            raise _moved_on(before, f"a proposal about {subject_id}")
        if same_person(before.proposed_by, confirmation.by):
            raise _by_the_same(before)
        await self._closed(
            tx, before, ProposalOutcome.CONFIRMED, confirmation.by, confirmation.reason
        )
        return before

    # --- parts ------------------------------------------------------------------------------------

    async def _locked(self, tx: Tx, run_id: str) -> None:
        if await tx.row(self._lock, run_id=run_id) is None:
            raise not_found("run", run_id, "the whole id of a run")

    async def _record(self, tx: Tx, proposal_id: str) -> Proposal:
        return rows.proposal_of(await tx.row(self._exact, id=proposal_id))

    async def _open_one(self, tx: Tx, proposal_id: str) -> Proposal:
        """Its run is locked. Raises Conflict, NotFound."""
        found = rows.proposal_of(await self._find.find(tx, proposal_id))
        await self._locked(tx, found.run_id)
        found = await self._record(tx, found.id)
        if not found.is_open:
            raise _moved_on(found, "open")
        if await tx.row(self._has_lapsed, id=found.id) is not None:
            raise _moved_on(found, "one whose time is not over, about what is not settled")
        return found

    async def _lapse(self, tx: Tx, before: Proposal) -> bool:
        """Close it if it has lapsed. Its run is locked."""
        lapsed = await tx.row(self._has_lapsed, id=before.id)
        if lapsed is None:
            return False
        outcome = ProposalOutcome.EXPIRED if lapsed[0] else ProposalOutcome.OVERTAKEN
        await self._closed(tx, before, outcome, "engine", "")
        return True

    async def _closed(
        self, tx: Tx, before: Proposal, outcome: ProposalOutcome, by: str, reason: str
    ) -> None:
        await tx.change(
            self._close, id=before.id, outcome=str(outcome), by=codec.storable(by),
            reason=codec.storable(reason),
        )  # fmt: skip
        more = {"proposed_by": before.proposed_by, "reason": reason}
        await self._note(tx, before, f"proposal.{outcome}", by, **more)

    async def _note(self, tx: Tx, about: Proposal, kind: str, by: str, **more: str) -> None:
        data = {
            "proposal": about.id, "subject": about.subject, "of": about.subject_id,
            "act": about.act, **more,
        }  # fmt: skip
        await self._notes.note(tx, about.run_id, kind, by=by, data=data)


def same_person(left: str, right: str) -> bool:
    """Whether two names are one, however they are written."""
    return left.strip().casefold() == right.strip().casefold()


def _settled(new: NewProposal) -> Conflict:
    problem = Problem(
        place=f"{new.subject} {new.subject_id}", found="settled, or its time is over",
        wanted="what can still be decided",
    )  # fmt: skip
    return Conflict("there is nothing to propose any more", problems=[problem])


def _proposed_already(known: Proposal) -> Conflict:
    problem = Problem(
        place=f"{known.subject} {known.subject_id}",
        found=f"proposal {known.id} of {known.proposed_by}: {known.act}",
        wanted="nothing proposed: confirm that, or refuse it first",
    )
    return Conflict("somebody has proposed something", problems=[problem])


def _moved_on(found: Proposal, wanted: str) -> Conflict:
    state = (
        f"open until {found.expires_at}" if found.is_open
        else f"{found.outcome} by {found.closed_by} at {found.closed_at}"
    )  # fmt: skip
    problem = Problem(place=f"proposal {found.id}", found=state, wanted=wanted)
    return Conflict("the proposal is over", problems=[problem])


def _by_the_same(found: Proposal) -> Conflict:
    problem = Problem(
        place=f"proposal {found.id}", found=f"{found.proposed_by}, who proposed it",
        wanted="another person",
    )  # fmt: skip
    return Conflict("nobody confirms what they have proposed", problems=[problem])
