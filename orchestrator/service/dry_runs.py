"""Dry runs for whoever may submit: what a run would do, under the rules that its submission is."""

from __future__ import annotations

from orchestrator.errors import InvalidInput, NotAllowed, Problem
from orchestrator.ports import Agent, WorkflowVersion
from orchestrator.ports.dry_runs import DryRun, Mode, Simulation
from orchestrator.service.guarding import Guards
from orchestrator.service.planning import Planning, meaning_of
from orchestrator.service.submitting import Submission
from orchestrator.service.workflows import Workflows


class DryRuns:
    """What agents are told by `execute`, for wishes that come over REST or from a command."""

    def __init__(self, workflows: Workflows, planning: Planning, guards: Guards) -> None:
        self._workflows, self._planning, self._guards = workflows, planning, guards

    async def of(
        self, wish: Submission, mode: Mode, simulation: Simulation | None = None
    ) -> DryRun:
        """Nothing is kept or counted, and nothing with an effect is sent.

        Whoever has a policy is under it. Raises NotFound, InvalidInput, Untrusted; NotAllowed for
        one that was stopped, for a workflow that its policy denies, and where dry runs may not
        read. `simulation` is for Mode.SIMULATE alone; see `Simulating.simulated` for what else
        that raises.
        """
        played = how_played(mode, simulation)
        version = await self._workflows.wanted(wish.workflow, wish.version)
        agent = wish.agent
        is_policed = bool(await self._guards.under([("", agent, wish.is_agent)]))
        if is_policed:
            await self._admit(agent, version)
        plan = await self._planning.plan(
            version,
            wish.inputs,
            agent,
            reads=mode is Mode.READS,
            is_policed=is_policed,
            simulation=played,
        )
        return DryRun(
            workflow=version.workflow,
            version=version.version,
            plan=plan,
            meaning=meaning_of(plan, then="Submit it to have it done."),
        )

    async def _admit(self, agent: Agent, version: WorkflowVersion) -> None:
        rules = await self._guards.admitted(agent)
        if not rules.allow(version.workflow):
            problem = Problem(
                place=f"policy of agent {agent.name} of tenant {agent.tenant}",
                found=f"workflow {version.workflow}", wanted="one that it allows",
            )  # fmt: skip
            raise NotAllowed("this workflow is not for you", problems=[problem])


def how_played(mode: Mode, simulation: Simulation | None) -> Simulation | None:
    """None where nothing is played. Raises InvalidInput for what is said of another mode."""
    if mode is Mode.SIMULATE:
        return simulation or Simulation()
    if simulation is not None and simulation != Simulation():
        problem = Problem(
            place="mode", found=f"{mode}, with fail_at or recorded", wanted=f"{Mode.SIMULATE}"
        )
        raise InvalidInput("only a simulation can be told so", problems=[problem])
    return None
