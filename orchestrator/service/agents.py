"""What a software agent may do: find a workflow, have it run, follow, read and cancel it.

Answers are small by design: an agent sees declared outputs and states, never payloads of steps.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from orchestrator.core.aliases import asked
from orchestrator.core.plan import PlanStep
from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.errors import Conflict, InvalidInput, NotAllowed, NotFound, Problem
from orchestrator.ports import Agent, Decision, RunRecord, WaitRecord, WorkflowVersion
from orchestrator.ports.dry_runs import Mode, Simulation
from orchestrator.service.catalogue import Catalogue, Entry
from orchestrator.service.dry_runs import how_played
from orchestrator.service.explaining import Explained, Explaining
from orchestrator.service.gathering import Gathered
from orchestrator.service.guarding import NO_RULES, Guards, Rules
from orchestrator.service.looking import Choice, Looks
from orchestrator.service.planning import Planning, meaning_of
from orchestrator.service.projection import Part, part_of
from orchestrator.service.runs import RunOutline, Runs
from orchestrator.service.standing import Progress, Standing, progress_of, standing_of
from orchestrator.service.submitting import Submission, Submitter
from orchestrator.service.waiting import Waiting
from orchestrator.service.watching import RunWatch
from orchestrator.service.wording import why
from orchestrator.service.workflows import Workflows
from orchestrator.telemetry.redact import hidden_text

MOST_OUTPUT_BYTES = 2048
"""Of all outputs together, as JSON, where nothing else is set: about 600 tokens."""
_MOST_KEY_CHARACTERS = 200
NOTHING_SAID = Choice()

# These two have no slots: what makes schemas of them looks for defaults at the class.


@dataclass(frozen=True, kw_only=True)
class Found:
    """A workflow that may be what is looked for."""

    workflow: str
    title: str
    inputs: Sequence[str]  # `name` of required ones, `name?` of others
    outputs: Sequence[str]
    why: str = ""  # which words of the question are where in it, and whether it is doubtful


@dataclass(frozen=True, kw_only=True)
class Described:
    """All that is needed to have a workflow run."""

    workflow: str
    version: int
    title: str
    inputs: Mapping[str, Any]  # JSON schema
    outputs: Sequence[str]
    steps: Sequence[str]  # `charge: payments, undone when a later step fails`


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """Whom the runs belong to, and which workflows may be used (names, with * and ?)."""

    name: str
    tenant: str = "default"
    allowed: Sequence[str] = ("*",)
    rules: Rules = NO_RULES  # of the policies that it is under


Seen = Callable[[Progress], Awaitable[None]]
"""Told each time that a run has come further while it is waited for."""


class Agents:
    """What agents do and read."""

    def __init__(
        self, workflows: Workflows, submitter: Submitter, runs: Runs, catalogue: Catalogue,
        watch: RunWatch, explaining: Explaining, waiting: Waiting, *,
        guards: Guards | None = None, planning: Planning | None = None,
        most_output_bytes: int = MOST_OUTPUT_BYTES, console: str = "",
    ) -> None:  # fmt: skip
        """`console`: its address, empty: not known."""
        self._workflows, self._submitter, self._runs = workflows, submitter, runs
        self._catalogue, self._watch, self._explaining = catalogue, watch, explaining
        self._waiting, self._guards, self._planning = waiting, guards, planning
        self._most_bytes, self._console = most_output_bytes, console
        self._clock = Gathered(self._read_clock)

    async def search(self, question: str, *, limit: int, actor: Actor, looks: Looks) -> list[Found]:
        """Workflows that fit, the best first, or none; some of all for no question.

        None that it may not use. Raises NotAllowed for an agent that was stopped.
        """
        actor = await self._admitted(actor)
        found = await self._search(question, limit, actor)
        looks.searched(question, [each.workflow for each in found], at=await self._now())
        return found

    async def _search(self, question: str, limit: int, actor: Actor) -> list[Found]:
        def allowed(workflow: str) -> bool:
            return _may(actor, workflow)

        if not question.strip():
            entries = await self._catalogue.some(limit=limit, allowed=allowed)
            return [_found(entry) for entry in entries]
        fits = await self._catalogue.find(
            question, limit=limit, allowed=allowed, tenant=actor.tenant
        )
        return [_found(entry, why(fit)) for entry, fit in fits]

    async def describe(self, workflow: str, *, actor: Actor, looks: Looks) -> Described:
        """One workflow. Raises NotFound; NotAllowed for an agent that was stopped."""
        version = await self._version(workflow, actor)
        looks.described(asked(workflow).workflow, at=await self._now())
        return _all_of(version)

    async def offered(self, question: str, *, limit: int, actor: Actor) -> list[Described]:
        """What `search` finds, each with all that is needed to have it run. Raises NotAllowed."""
        actor = await self._admitted(actor)
        found = await self._search(question, limit, actor)
        return [_all_of(await self._workflows.trusted(each.workflow)) for each in found]

    async def execute(
        self,
        workflow: str,
        inputs: Mapping[str, Any],
        *,
        key: str,
        wait_seconds: float,
        actor: Actor,
        looks: Looks,
        attributes: Mapping[str, str] | None = None,
        choice: Choice = NOTHING_SAID,
        traceparent: str | None = None,
        tracestate: str | None = None,
        seen: Seen | None = None,
    ) -> Standing:
        """Have a workflow run; the same key again is the same run. Waits a while for its end.

        Raises NotFound, InvalidInput, NotAllowed (its policy), Conflict (the key belongs to other
        inputs), Overloaded, Unavailable.
        """
        _check_key(key)
        await self._version(workflow, actor)
        wish = Submission(
            workflow=workflow,
            inputs=inputs,
            idempotency_key=key,
            tenant=actor.tenant,
            actor=actor.name,
            attributes=attributes or {},
            traceparent=traceparent,
            tracestate=tracestate,
            looked=looks.choice_of(asked(workflow).workflow, choice, at=await self._now()),
            is_agent=True,
        )
        (accepted,) = await self._submitter.submit([wish])
        looks.has_run()
        found = await self._wait(accepted.run_id, wait_seconds, seen)
        standing = self._standing(found, repeated=accepted.repeated)
        if accepted.like is None:
            return standing
        before = f"Run {accepted.like} was the same wish under another key: was this meant twice?"
        return replace(standing, meaning=f"{standing.meaning} {before}")

    async def plan(
        self, workflow: str, inputs: Mapping[str, Any], *, actor: Actor, mode: Mode = Mode.DRY_RUN,
        simulation: Simulation | None = None,
    ) -> Standing:  # fmt: skip
        """What a run would do, as far as the inputs decide. Nothing is kept, and nothing sent.

        But with Mode.READS what only reads; with Mode.SIMULATE it is played. Raises NotFound,
        InvalidInput; NotAllowed for one that was stopped, and where dry runs may not read.
        """
        version = await self._version(workflow, actor)
        played = how_played(mode, simulation)
        assert self._planning is not None, "made without"
        plan = await self._planning.plan(
            version,
            inputs,
            Agent(actor.tenant, actor.name),
            reads=mode is Mode.READS,
            simulation=played,
        )
        return Standing(
            run="", workflow=workflow, status="planned" if played is None else "simulated",
            meaning=meaning_of(plan, then="Call execute without mode to have it done."),
            outputs={}, plan=plan, done=f"0 of {len(plan['steps'])} steps",
        )  # fmt: skip

    async def status(
        self, run: str, *, wait_seconds: float, actor: Actor, seen: Seen | None = None
    ) -> Standing:
        """How a run of this tenant stands. Raises NotFound."""
        found = await self._visible(run, actor)
        return self._standing(await self._wait(found.id, wait_seconds, seen))

    async def cancel(
        self, run: str, *, reason: str, wait_seconds: float, actor: Actor, seen: Seen | None = None
    ) -> Standing:
        """Have a run undone that this actor has begun; waits a while for its end.

        Raises NotFound; NotAllowed for a run of another; Conflict when it has settled, or is past
        the step after which it only goes forward.
        """
        found = await self._visible(run, actor)
        if found.actor != actor.name:
            problem = Problem(
                place=f"run {run}", found="begun by another", wanted="one that you have begun"
            )
            raise NotAllowed("this run is not yours to cancel", problems=[problem])
        await self._runs.cancel(found.id, reason=hidden_text(reason), by=actor.name)
        return self._standing(await self._wait(found.id, wait_seconds, seen, ends=True))

    async def decide(
        self, run: str, approval: str, decision: Decision, *, reason: str, wait_seconds: float,
        actor: Actor, seen: Seen | None = None,
    ) -> Standing:  # fmt: skip
        """As the person whom this actor works for, in a run that it has begun.

        Raises NotFound, InvalidInput; NotAllowed unless the approval is for them to decide;
        Conflict when somebody was faster, or it is too late.
        """
        found = await self._visible(run, actor)
        await self._waiting.decide_for_requester(
            approval, decision, by=actor.name, reason=hidden_text(reason)
        )
        return self._standing(await self._wait(found.id, wait_seconds, seen))

    async def get_output(
        self, run: str, path: str, *, offset: int, most_bytes: int | None, actor: Actor
    ) -> Part:
        """A part of what a run of this tenant has given; most_bytes None: as many as are usual.

        Raises NotFound; Conflict when it has not succeeded; InvalidInput for a path or an offset
        where nothing is.
        """
        view = await self._runs.outline((await self._visible(run, actor)).id)
        if view.run.status is not RunStatus.SUCCEEDED:
            problem = Problem(place=f"run {run}", found=view.run.status, wanted="succeeded")
            raise Conflict("the run has no outputs", problems=[problem])
        return part_of(view.run.outputs or {}, path, offset, most_bytes or self._most_bytes)

    async def document(self, workflow: str, *, actor: Actor) -> str:
        """A published workflow as it was written. Raises NotFound; NotAllowed, see `describe`."""
        return (await self._version(workflow, actor)).document

    async def story(self, run: str, *, actor: Actor) -> Explained:
        """What happened to a run of this tenant. Raises NotFound."""
        return await self._explaining.explain((await self._visible(run, actor)).id)

    async def _admitted(self, actor: Actor) -> Actor:
        """With the rules that hold now. Raises NotAllowed for an agent that was stopped."""
        if self._guards is None:
            return actor
        return replace(actor, rules=await self._guards.admitted(Agent(actor.tenant, actor.name)))

    async def _now(self) -> datetime:
        """The database's clock."""
        return (await self._clock.of(None))[None]

    async def _read_clock(self, _: object) -> Mapping[None, datetime]:
        return {None: await self._runs.now()}

    async def _visible(self, run: str, actor: Actor) -> RunRecord:
        """Raises NotFound, for those of others too."""
        found = await self._runs.get(run)
        if found.tenant != actor.tenant or not _may(actor, found.workflow):
            raise _no_run(run)
        return found

    async def _version(self, workflow: str, actor: Actor) -> WorkflowVersion:
        """Raises NotFound, which names no workflow that the actor may not use, and NotAllowed."""
        actor = await self._admitted(actor)
        try:
            if _may(actor, asked(workflow).workflow):
                return await self._workflows.trusted(workflow)
        except NotFound:
            pass  # said below, without the names of all workflows
        problem = Problem(
            place=f"workflow {workflow}", found="no such workflow for you",
            wanted="one that search finds",
        )  # fmt: skip
        raise NotFound(f"there is no workflow {workflow}", problems=[problem])

    async def _wait(
        self, run_id: str, seconds: float, seen: Seen | None, *, ends: bool = False
    ) -> _Looked:
        """Until it has settled, waits for somebody outside, or the time is over.

        `ends`: its end is wished, so what it waits for is soon not waited for any more.
        `seen` hears of it when it has come on. All who wait cost the database one look at a time,
        and each its run when that has changed.
        """
        until, told = time.monotonic() + seconds, -1
        while True:
            view = await self._runs.outline(run_id)
            if seen is not None and (now := progress_of(view)).done > told:
                told = now.done
                await seen(now)
            wait = await self._open_wait(view.run)
            if view.run.status in SETTLED or (wait is not None and not ends):
                return _Looked(view, wait)
            if not await self._comes_on(view, until, seen):
                return _Looked(view, wait)

    async def _open_wait(self, run: RunRecord) -> WaitRecord | None:
        if run.status not in (RunStatus.WAITING, RunStatus.PAUSED):
            return None
        waits = await self._waiting.waits_of(run.id)
        return next((each for each in reversed(waits) if each.is_open), None)

    async def _comes_on(self, view: RunOutline, until: float, seen: Seen | None) -> bool:
        """Whether, before then, anything happens to it that is worth another look."""
        after = view.run.audit_seq
        while (left := until - time.monotonic()) > 0:
            found = await self._watch.changed(view.run.id, after=after, seconds=left)
            if found is None:
                return False
            if seen is not None or found.status in SETTLED or found.status is RunStatus.WAITING:
                return True
            after = found.audit_seq
        return False

    def _standing(self, found: _Looked, *, repeated: bool = False) -> Standing:
        return standing_of(
            found.view, wait=found.wait, console=self._console,
            most_output_bytes=self._most_bytes, repeated=repeated,
        )  # fmt: skip


class _Looked(NamedTuple):
    view: RunOutline
    wait: WaitRecord | None  # what it waits for, if it is open


def _may(actor: Actor, workflow: str) -> bool:
    named = any(fnmatchcase(workflow, pattern) for pattern in actor.allowed)
    return named and actor.rules.allow(workflow)


def _check_key(key: str) -> None:
    if not key.strip() or len(key) > _MOST_KEY_CHARACTERS:
        wanted = f"a text of 1 to {_MOST_KEY_CHARACTERS} characters, new for each thing to be done"
        problem = Problem(place="idempotency_key", found=f"{len(key)} characters", wanted=wanted)
        raise InvalidInput("the idempotency key cannot be used", problems=[problem])


def _no_run(run: str) -> NotFound:
    problem = Problem(place=f"run {run}", found="no such run of yours", wanted="a run of execute")
    return NotFound(f"there is no run {run}", problems=[problem])


# --- what is said about workflows -----------------------------------------------------------------


def _found(entry: Entry, told: str = "") -> Found:
    return Found(
        workflow=entry.workflow, title=entry.title, inputs=entry.inputs, outputs=entry.outputs,
        why=told,
    )  # fmt: skip


def _all_of(version: WorkflowVersion) -> Described:
    plan = version.plan
    return Described(
        workflow=plan.workflow, version=version.version, title=plan.title,
        inputs=plan.inputs_schema, outputs=sorted(plan.outputs),
        steps=[_described(step) for step in plan.steps],
    )  # fmt: skip


def _described(step: PlanStep) -> str:
    undone = ", undone when a later step fails" if step.compensation else ""
    stays = f", stays: {step.no_compensation_reason}" if step.no_compensation_reason else ""
    return f"{step.id}: {step.call.api}{undone}{stays}"
