"""The rule of four eyes, as decisions meet it: is a second person needed, and what is proposed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.core.exchange import Facts
from orchestrator.definitions.programs import Programs
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import (
    ActWrite,
    Confirmation,
    Decision,
    JobItem,
    NewProposal,
    Proposal,
    ProposalFilter,
    ProposalStore,
    Redelivery,
    RunRecord,
    Subject,
    WaitRecord,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What somebody wants done; without a second person it is a proposal."""

    subject: Subject
    subject_id: str
    act: str
    arguments: Mapping[str, Any]
    reason: str
    by: str
    via: str


class FourEyes:
    """Keeps proposals, and writes what a second person has confirmed."""

    def __init__(
        self, store: ProposalStore | None, programs: Programs, *, new_id: Callable[[], str]
    ) -> None:
        """Without a store nothing under the rule can be decided at all."""
        self._kept, self._programs, self._new_id = store, programs, new_id

    async def holds(self, run: RunRecord) -> bool:
        """Whether decisions about this run need a second person."""
        program = await self._programs.get(run.workflow_id)
        return program.four_eyes.applies(Facts(run_id=run.id, inputs=run.inputs))

    async def propose(self, run: RunRecord, wish: Wish, *, item: JobItem | None = None) -> Proposal:
        """Keep it until a second person has looked at it. Raises as `ProposalStore.propose`."""
        program = await self._programs.get(run.workflow_id)
        new = NewProposal(
            id=self._new_id(), run_id=run.id, subject=wish.subject, subject_id=wish.subject_id,
            act=wish.act, arguments=wish.arguments, reason=wish.reason, by=wish.by, via=wish.via,
            seconds=program.four_eyes.seconds,
        )  # fmt: skip
        return await self._store.propose(new, item=item)

    async def open_on(self, run_id: str, subject_id: str) -> Proposal | None:
        """What is proposed about it now."""
        found = await self._store.proposals(
            ProposalFilter(run_id=run_id, subject_id=subject_id, limit=1)
        )
        return found[0] if found else None

    async def act(
        self, confirmation: Confirmation, act: ActWrite, *, item: JobItem | None = None
    ) -> list[Redelivery]:
        """See `ProposalStore.confirm_act`."""
        return await self._store.confirm_act(confirmation, act, item=item)

    async def decide(
        self, confirmation: Confirmation, wait_id: str, decision: Decision, data: Mapping[str, Any]
    ) -> tuple[WaitRecord, Redelivery | None]:
        """See `ProposalStore.confirm_decision`."""
        return await self._store.confirm_decision(confirmation, wait_id, decision, data=data)

    @property
    def _store(self) -> ProposalStore:
        if self._kept is None:
            problem = Problem(place="proposals", found="no place for them", wanted="a store")
            raise InvalidSetting("a second person is needed here", problems=[problem])
        return self._kept
