"""What a run would come to, played to its end: nothing is sent, and nothing kept.

The real engine drives it in virtual time. APIs answer as their documents say, or as they have
answered a run that has ended; functions are not called either. What people and programs would be
asked for is supposed to be given. Which request went out, and what would be undone if a step were
refused, stands in the answer without what is secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import plan_to_json
from orchestrator.core.redaction import HIDDEN, Rules
from orchestrator.core.states import FINAL, HAPPENED, Direction
from orchestrator.definitions.children import children_of
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import Conflict, InvalidInput, NotFound, Problem
from orchestrator.ports import Store, WorkflowVersion
from orchestrator.ports.dry_runs import Simulation
from orchestrator.ports.simulating import Ending, Simulated, SimulatedCall, Simulator, Visited
from orchestrator.telemetry import redact

MOST_PLANS = 20
LONGEST_BODY = 2000
LONGEST_TEXT = 500
OF_THE_RUN = "(made for the run)"


class Simulating:
    """Plays runs for those who plan them. `folder`: where documents of APIs are looked for."""

    def __init__(
        self, store: Store, programs: Programs, simulator: Simulator,
        open_tasks: Callable[[], TaskRegistry], *, folder: str,
    ) -> None:  # fmt: skip
        self._store, self._programs, self._simulator = store, programs, simulator
        self._open_tasks, self._folder = open_tasks, folder

    async def simulated(
        self, version: WorkflowVersion, program: Program, inputs: Mapping[str, Any], tenant: str,
        wanted: Simulation, where: Callable[[str], str],
    ) -> dict[str, Any]:  # fmt: skip
        """Its requests in their order, how it ends, and what is undone; plain JSON.

        Raises InvalidInput for a step that cannot fail, and where it comes to no end; NotFound for
        a run of another tenant; Conflict for one that has not ended.
        """
        recorded = await self._recorded(wanted.recorded, version, tenant)
        found = await self._simulator.play(
            Simulated(
                plans=[plan_to_json(each) for each in await self._plans(program.plan)],
                document=version.document, folder=self._folder, inputs=inputs,
                results={task.name: task.signature.result for task in self._open_tasks()},
                fail_at=wanted.fail_at, recorded=recorded,
            )
        )  # fmt: skip
        rules = redact.rules() | program.secrets.of_run(inputs, {**found.gave, **_gave(recorded)})
        return _Told(program, rules, where).of(found)

    async def _plans(self, plan: Plan) -> list[Plan]:
        """It, and all that its runs begin. Raises NotFound, InvalidInput, Untrusted."""
        found, ahead = {plan.workflow: plan}, list(children_of(plan))
        while ahead:
            workflow, digest = ahead.pop()
            if workflow in found:
                continue
            versions = await self._store.versions(workflow)
            child = next((each for each in versions if each.plan.digest == digest), None)
            if child is None or len(found) == MOST_PLANS:
                found_there = "not there" if child is None else "too many"
                problem = Problem(
                    place=f"workflow {workflow}", found=found_there,
                    wanted=f"the version that is begun, one of {MOST_PLANS} workflows at most",
                )  # fmt: skip
                raise InvalidInput("the run could not be simulated", problems=[problem])
            found[workflow] = (await self._programs.trusted(child.id)).plan
            ahead += children_of(found[workflow])
        return list(found.values())

    async def _recorded(
        self, run_id: str | None, version: WorkflowVersion, tenant: str
    ) -> dict[str, list[Visited]]:
        if run_id is None:
            return {}
        try:
            run = await self._store.run(run_id)
        except NotFound:
            raise _no_run(run_id) from None
        if run.tenant != tenant or run.workflow != version.workflow:
            raise _no_run(run_id)
        if run.status not in FINAL:
            problem = Problem(place=f"run {run.id}", found=run.status, wanted="one that has ended")
            raise Conflict("this run cannot be taken as a recording", problems=[problem])
        statuses = {
            (each.step, each.direction): each.status_code
            for each in await self._store.attempts(run.id)
        }
        visits: dict[str, list[Visited]] = {}
        for step in await self._store.steps(run.id):
            outputs = step.forward.outputs
            if step.forward.link.status in HAPPENED and outputs is not None:
                status = statuses.get((step.index, Direction.FORWARD))
                seen = Visited(outputs=outputs, status=status)
                visits.setdefault(step.step_id, []).append(seen)
        return visits


def _gave(recorded: Mapping[str, Sequence[Visited]]) -> dict[str, Mapping[str, Any]]:
    return {step: visits[-1].outputs for step, visits in recorded.items()}


def _no_run(run_id: str) -> NotFound:
    problem = Problem(
        place=f"run {run_id}", found="no such run of this workflow and tenant",
        wanted="a whole id, or a unique part of at least 6 characters",
    )  # fmt: skip
    return NotFound(f"there is no run {run_id}", problems=[problem])


class _Told:
    """An ending in plain JSON, without what is secret in it."""

    def __init__(self, program: Program, rules: Rules, where: Callable[[str], str]) -> None:
        self._program, self._rules, self._where = program, rules, where

    def of(self, found: Ending) -> dict[str, Any]:
        """Without what is empty."""
        told: dict[str, Any] = {
            "steps": [self._step(call) for call in found.calls],
            "ends": found.status, "seconds": found.seconds,
        }  # fmt: skip
        return told | {name: value for name, value in self._more(found) if value}

    def _more(self, found: Ending) -> Iterator[tuple[str, Any]]:
        names = self._program.secrets.output_names
        outputs = {n: HIDDEN if n in names else v for n, v in found.outputs.items()}
        yield "outputs", self._short(self._rules.value(outputs))
        yield "because", self._rules.text(found.cause)[:LONGEST_TEXT]
        yield "undone", list(found.undone)
        yield "stands", list(found.stays) if found.status != "succeeded" else []
        yield "escalated", self._rules.text(found.escalated)[:LONGEST_TEXT]
        yield "supposed", list(found.supposed)
        yield "left_out", found.left_out

    def _step(self, call: SimulatedCall) -> dict[str, Any]:
        told: dict[str, Any] = {"step": call.step}
        if call.way != "do":
            told["way"] = call.way
        target = self._rules.text(unquote(call.target))
        if call.method == "TASK":
            told["calls"] = target
        else:
            told["sends"] = f"{call.method} {self._where(call.api) or f'({call.api})'}{target}"
            headers = {n: self._header(n, v, call.key) for n, v in call.headers.items()}
            headers.pop("Content-Type", None)
            if headers:
                told["headers"] = headers
        if call.body is not None:
            told["body"] = self._short(self._rules.value(call.body))
        source = "as recorded" if call.recorded else "made up"
        told["answer"] = "none" if call.status is None else f"{call.status}, {source}"
        return told | {"after_seconds": call.seconds}

    def _header(self, name: str, value: str, key: str) -> str:
        if value == key:
            return OF_THE_RUN
        return HIDDEN if self._rules.is_secret(name) else self._rules.text(value)

    def _short(self, value: Any) -> Any:
        text = json.dumps(value, ensure_ascii=False)
        if len(text) <= LONGEST_BODY:
            return value
        return f"{text[:LONGEST_BODY]} … of {len(text)} characters"
