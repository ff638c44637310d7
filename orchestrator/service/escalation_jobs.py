"""Acts on many escalations, as kinds of jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from orchestrator.core import events as e
from orchestrator.errors import Conflict, InvalidInput, Problem
from orchestrator.ports import EscalationFilter, EscalationRecord, JobRecord, Which
from orchestrator.service.escalations import Act, Escalations
from orchestrator.service.jobs import Aftermath, JobKind, require_arguments


@dataclass(frozen=True, kw_only=True, slots=True)
class EscalationJob:
    """Implements JobKind: one act on each escalation."""

    escalations: Escalations
    resolution: str
    event: Callable[[Mapping[str, Any]], e.Event]
    takes: Mapping[str, type]  # arguments

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raises InvalidInput for what the act cannot be told."""
        require_arguments(arguments, self.takes)

    def chosen(self, which: Which) -> EscalationFilter:
        """See `_free_ones`."""
        return _free_ones(which)

    async def act(self, job: JobRecord, item: str) -> Aftermath:
        """Close it and let its run go on, or propose that under the rule of four eyes.

        Raises Conflict, JobHeld, NotFound.
        """
        seen = await self.escalations.show(item)
        _require_free(seen, job)
        act = Act(
            resolution=self.resolution, event=self.event(job.arguments), by=job.by,
            reason=job.reason, seen=seen, via="job",
        )  # fmt: skip
        settled = await self.escalations.settle(item, act, job_id=job.id)
        return Aftermath(wake=settled.wake, closed=settled.closed)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfirmingJob:
    """Implements JobKind: a second person confirms what is proposed about each escalation."""

    escalations: Escalations

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raises InvalidInput: it cannot be told anything."""
        require_arguments(arguments, {})

    def chosen(self, which: Which) -> EscalationFilter:
        """See `_free_ones`."""
        return _free_ones(which)

    async def act(self, job: JobRecord, item: str) -> Aftermath:
        """Do what is proposed. Raises Conflict, JobHeld, NotFound."""
        _require_free(await self.escalations.show(item), job)
        settled = await self.escalations.settle_proposed(
            item, by=job.by, reason=job.reason, job_id=job.id
        )
        return Aftermath(wake=settled.wake, closed=settled.closed)


def escalation_jobs(escalations: Escalations) -> Mapping[str, JobKind]:
    """The kinds, by their names: `escalations.retry` and so on."""

    def kind(
        resolution: str, event: Callable[[Mapping[str, Any]], e.Event], **takes: type
    ) -> JobKind:
        return EscalationJob(
            escalations=escalations, resolution=resolution, event=event, takes=takes
        )

    return {
        "escalations.retry": kind("retried", lambda _: e.Retried()),
        "escalations.confirm": ConfirmingJob(escalations=escalations),
        "escalations.skip": kind("skipped", lambda _: e.Skipped()),
        "escalations.abandon": kind("abandoned", lambda _: e.Abandoned()),
        "escalations.resolve": kind(
            "resolved", lambda given: e.Resolved(landed=given.get("landed", True)), landed=bool
        ),
    }


def _free_ones(which: Which) -> EscalationFilter:
    """All that fit and are open; what somebody has taken only when the filter says whose.

    Raises InvalidInput for a filter that would also choose closed ones.
    """
    assert isinstance(which, EscalationFilter), which
    if not which.open_only:
        problem = Problem(place="where", found="closed ones as well", wanted="open ones")
        raise InvalidInput("only open escalations can be acted on", problems=[problem])
    free = which.claimed is None and which.claimed_by is None
    return msgspec.structs.replace(
        which, claimed=False if free else which.claimed, limit=None, after=None
    )


def _require_free(seen: EscalationRecord, job: JobRecord) -> None:
    """Somebody may have taken it since the job was accepted, and then it is theirs to decide."""
    which = msgspec.convert(job.where, EscalationFilter)
    if seen.closed_at is None and seen.claimed_by not in (None, job.by, which.claimed_by) and (
        which.claimed is not True
    ):  # fmt: skip
        problem = Problem(
            place=f"escalation {seen.id}", found=f"claimed by {seen.claimed_by}",
            wanted=f"claimed by nobody, or by {job.by}",
        )  # fmt: skip
        raise Conflict("somebody else has taken it", problems=[problem])
