"""The guard rails of software agents, where their runs are submitted.

Whoever has a policy is under it, by whichever face it comes; the policy of a whole tenant is for
those who come as agents, and for those with a policy of their own. People without one are not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.guarding import EVERYBODY, Charge, Policy
from orchestrator.errors import NotAllowed, Problem
from orchestrator.ports import Accepted, Agent, GuardStore, Judged, NewRun, PolicyRecord
from orchestrator.service.gathering import Gathered

KNOWN_SECONDS = 1.0
"""A first policy for somebody who does not come as an agent holds after so long at the latest."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The policies that one agent is under."""

    policies: Sequence[Policy] = ()

    def allow(self, workflow: str) -> bool:
        """Whether all of them do."""
        return all(policy.allows(workflow) for policy in self.policies)


NO_RULES = Rules()


class Guards:
    """Who may begin what. What is counted is counted by the store, as it accepts the run."""

    def __init__(self, store: GuardStore, *, monotonic: Callable[[], float]) -> None:
        self._store, self._monotonic = store, monotonic
        self._known: frozenset[Agent] = frozenset()
        self._known_until = 0.0
        self._fresh = Gathered(self._read_policies)

    async def admitted(self, agent: Agent) -> Rules:
        """What holds for an agent at this moment. Raises NotAllowed where it was stopped."""
        found = await self._policies_of(agent)
        for each in found:
            if (stop := each.policy.stopped) is not None:
                problem = Problem(
                    place=f"agent {each.agent} of tenant {each.tenant}",
                    found=f"stopped by {stop.by} at {stop.at}: {stop.reason}",
                    wanted="a person who allows it again",
                )  # fmt: skip
                raise NotAllowed("this agent was stopped", problems=[problem])
        return Rules(tuple(each.policy for each in found))

    async def under(
        self, wanted: Iterable[tuple[str, Agent, bool]]
    ) -> Mapping[str, Sequence[Agent]]:
        """Of (run id, who wants it, whether it comes as an agent): whose policies each is under."""
        known = await self._policed()
        found = dict[str, Sequence[Agent]]()
        fresh: dict[Agent, Sequence[Agent]] = {}
        for run_id, agent, is_agent in wanted:
            if is_agent and agent not in fresh:
                records = await self._policies_of(agent)
                fresh[agent] = [Agent(p.tenant, p.agent) for p in records]
            if is_agent:
                scopes = fresh[agent]
            else:
                scopes = [s for s in _scopes(agent) if s in known] if agent in known else ()
            if scopes:
                found[run_id] = scopes
        return found

    async def judged(self, charge: Charge, agent: Agent) -> Judged:
        """What the policies that an agent is under say of such a run, at this moment."""
        return await self._store.judged(charge, _scopes(agent))

    async def accept(
        self,
        runs: Sequence[NewRun],
        charges: Sequence[Charge],
        under: Mapping[str, Sequence[Agent]],
    ) -> list[Accepted]:
        """See GuardStore.accept_guarded."""
        return await self._store.accept_guarded(runs, charges, under)

    async def _policies_of(self, agent: Agent) -> list[PolicyRecord]:
        """That of its tenant and its own, as they are at this moment."""
        if agent.tenant.isprintable() and agent.name.isprintable():
            found = list((await self._fresh.of(*_scopes(agent))).values())
        else:  # what the database cannot hold is kept in other letters than it is asked for
            found = await self._store.policies_of(_scopes(agent))
        return [each for each in found if not each.removed]

    async def _read_policies(self, agents: Collection[Agent]) -> Mapping[Agent, PolicyRecord]:
        found = await self._store.policies_of(agents)
        return {Agent(each.tenant, each.agent): each for each in found}

    async def _policed(self) -> frozenset[Agent]:
        """Who has a policy, as of the last second."""
        if self._monotonic() >= self._known_until:
            found = await self._store.policies()
            self._known = frozenset(Agent(each.tenant, each.agent) for each in found)
            self._known_until = self._monotonic() + KNOWN_SECONDS
        return self._known


def _scopes(agent: Agent) -> list[Agent]:
    return [Agent(agent.tenant, EVERYBODY), agent]
