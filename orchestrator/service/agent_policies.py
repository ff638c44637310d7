"""Set, stop and look at the policies of software agents. Every change is kept, with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.core.guarding import EVERYBODY, Budget, Policy, Stop, left
from orchestrator.definitions.agent_policies import Named
from orchestrator.errors import Conflict, InvalidInput, NotFound, Problem
from orchestrator.ports import (
    Agent,
    GuardStore,
    JobRecord,
    NewPolicyChange,
    PolicyChange,
    PolicyChangeKind,
    PolicyRecord,
    RunFilter,
    UnderWay,
)
from orchestrator.service.jobs import Jobs

LONGEST_NAME = 200
MOST_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyView:
    """A policy with what is left of its budgets."""

    record: PolicyRecord
    left: Sequence[tuple[Budget, int]]  # runs, or millionths
    spent: Mapping[tuple[str, str], int]  # by what and name of period, those of now
    now: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """An agent that begins nothing more, and the job that cancels its runs, if there are any."""

    record: PolicyRecord
    job: JobRecord | None


class AgentPolicies:
    """Policies, for people."""

    def __init__(self, store: GuardStore, jobs: Jobs) -> None:
        self._store, self._jobs = store, jobs

    async def list(self, tenant: str | None = None) -> Sequence[PolicyRecord]:
        """All that hold, by tenant and name."""
        found = await self._store.policies()
        return [each for each in found if tenant is None or each.tenant == tenant]

    async def show(self, agent: Agent) -> PolicyView:
        """One, with what is left now. Raises NotFound."""
        return await self._view(await self._known(agent))

    async def _view(self, record: PolicyRecord) -> PolicyView:
        uses = await self._store.uses(Agent(record.tenant, record.agent))
        return PolicyView(
            record=record, left=left(record.policy, uses.spent, uses.now), spent=uses.spent,
            now=uses.now,
        )  # fmt: skip

    async def overview(self, tenant: str | None = None) -> Sequence[PolicyView]:
        """The first MOST_AT_ONCE of them with what is left, by tenant and name."""
        found = (await self.list(tenant))[:MOST_AT_ONCE]
        return [await self._view(each) for each in found]

    async def history(self, agent: Agent) -> Sequence[PolicyChange]:
        """What was changed, newest first."""
        return await self._store.policy_changes(agent)

    async def set(
        self, agent: Agent, policy: Policy, *, by: str, reason: str, seen: int | None = None
    ) -> PolicyRecord:
        """Have these rules hold from now on; an agent that is stopped stays stopped.

        Raises InvalidInput; Conflict where somebody else changes it at the same time, or it is not
        at the version that was `seen` (0: it has none).
        """
        before = await self._record(agent)
        if seen is not None and seen != (0 if before is None else before.version):
            found = "no policy" if before is None else f"change {before.version}"
            raise _not_so(agent, found, f"change {seen}")
        kept = None if before is None else before.policy.stopped
        policy = replace(policy, stopped=kept)
        return await self._change(agent, before, PolicyChangeKind.SET, policy, by, reason)

    async def apply(
        self, named: Sequence[Named], *, by: str, reason: str
    ) -> Sequence[PolicyRecord]:
        """Set those that are not so already; they are answered. Raises as `set` does."""
        changed = list[PolicyRecord]()
        for each in named:
            agent = Agent(each.tenant, each.agent)
            before = await self._record(agent)
            if before is not None and not before.removed:
                as_now = replace(each.policy, stopped=before.policy.stopped)
                if as_now == before.policy:
                    continue
            changed.append(await self.set(agent, each.policy, by=by, reason=reason))
        return changed

    async def stop(
        self, agent: Agent, *, by: str, reason: str, runs: UnderWay = UnderWay.LEAVE
    ) -> Stopped:
        """Let it begin nothing and find nothing, from this moment on, until it is allowed again.

        With CANCEL its runs that are under way are undone, by a job of workers; those of an agent
        that was stopped before, too. Raises InvalidInput; Conflict when it is stopped already, and
        its runs are to be left.
        """
        before = await self._record(agent)
        if before is None or before.policy.stopped is None or runs is UnderWay.LEAVE:
            before = await self._stop(agent, before, by=by, reason=reason)
        cancels = runs is UnderWay.CANCEL
        job = await self._cancel_runs(agent, by=by, reason=reason) if cancels else None
        return Stopped(record=before, job=job)

    async def _cancel_runs(self, agent: Agent, *, by: str, reason: str) -> JobRecord | None:
        which = (
            RunFilter(tenant=agent.tenant, under=EVERYBODY) if agent.name == EVERYBODY
            else RunFilter(tenant=agent.tenant, actor=agent.name)
        )  # fmt: skip
        try:
            return await self._jobs.start("runs.cancel", which, by=by, reason=reason)
        except NotFound:  # it has none
            return None

    async def _stop(
        self, agent: Agent, before: PolicyRecord | None, *, by: str, reason: str
    ) -> PolicyRecord:
        policy = Policy() if before is None else before.policy
        if policy.stopped is not None:
            raise _not_so(agent, f"stopped by {policy.stopped.by}", "an agent that may work")
        at = (await self._store.uses(agent)).now.isoformat(timespec="seconds")
        policy = replace(policy, stopped=Stop(by=by, reason=reason.strip(), at=at))
        return await self._change(agent, before, PolicyChangeKind.STOP, policy, by, reason)

    async def allow(self, agent: Agent, *, by: str, reason: str) -> PolicyRecord:
        """End its stop; its rules hold again. Raises NotFound, InvalidInput, Conflict."""
        before = await self._known(agent)
        if before.policy.stopped is None:
            raise _not_so(agent, "not stopped", "an agent that is stopped")
        policy = replace(before.policy, stopped=None)
        return await self._change(agent, before, PolicyChangeKind.ALLOW, policy, by, reason)

    async def remove(self, agent: Agent, *, by: str, reason: str) -> PolicyRecord:
        """Take its rules away. Raises NotFound, InvalidInput; Conflict for one that is stopped."""
        before = await self._known(agent)
        if before.policy.stopped is not None:
            raise _not_so(agent, "stopped", "that it is allowed again first")
        return await self._change(agent, before, PolicyChangeKind.REMOVE, Policy(), by, reason)

    async def _change(
        self,
        agent: Agent,
        before: PolicyRecord | None,
        kind: PolicyChangeKind,
        policy: Policy,
        by: str,
        reason: str,
    ) -> PolicyRecord:
        problems = []
        if not reason.strip():
            problems.append(Problem(place="reason", found="nothing", wanted="why, for the record"))
        for place, name in (("agent", agent.name), ("tenant", agent.tenant)):
            if not name.strip() or len(name) > LONGEST_NAME:
                wanted = f"1 to {LONGEST_NAME} characters"
                problems.append(Problem(place=place, found=repr(name[:50]), wanted=wanted))
        if problems:
            raise InvalidInput("the policy cannot be changed so", problems=problems)
        return await self._store.change_policy(
            NewPolicyChange(
                agent=agent, expected_version=0 if before is None else before.version, kind=kind,
                by=by, reason=reason.strip(), policy=policy,
            )
        )  # fmt: skip

    async def _record(self, agent: Agent) -> PolicyRecord | None:
        """The latest, removed or not."""
        found = await self._store.policies_of([agent])
        return found[0] if found else None

    async def _known(self, agent: Agent) -> PolicyRecord:
        record = await self._record(agent)
        if record is None or record.removed:
            names = ", ".join(each.agent for each in (await self.list(agent.tenant))[:20])
            problem = Problem(
                place=f"agent {agent.name} of tenant {agent.tenant}", found="no policy",
                wanted=f"one of: {names or 'none has one yet'}",
            )  # fmt: skip
            raise NotFound(f"there is no policy for {agent.name}", problems=[problem])
        return record


def _not_so(agent: Agent, found: str, wanted: str) -> Conflict:
    problem = Problem(
        place=f"agent {agent.name} of tenant {agent.tenant}", found=found, wanted=wanted
    )
    return Conflict("this cannot be done to the agent as it stands", problems=[problem])
