"""What a run would do, as far as its inputs decide: nothing with an effect is sent, nothing kept.

What only a step's answer tells stands there by its name, as `{$steps.reserve.outputs.id}`. Requests
are made by the same program that makes those of a run, so a plan cannot differ from them. Where it
is wanted, steps that only read are asked (GET and HEAD without effects, all of whose values are
known), and what they answer stands in the requests after them.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import structlog

from orchestrator.core.exchange import Facts, FrozenRequest, NothingToUndo, Outcome
from orchestrator.core.guarding import amount_told
from orchestrator.core.plan import Effects, PlanStep
from orchestrator.core.redaction import HIDDEN, Rules
from orchestrator.core.states import Direction
from orchestrator.definitions.blocks import in_sequence, is_block, is_head
from orchestrator.definitions.maps import is_map, is_undo_of_map, without_items
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.errors import NotAllowed, Problem, RefusedError, StepError
from orchestrator.ports import Agent, Judged, Reads, WorkflowVersion
from orchestrator.ports.dry_runs import Simulation
from orchestrator.service.guarding import Guards
from orchestrator.service.simulating import Simulating
from orchestrator.service.submitting import charge_of
from orchestrator.telemetry import redact

log = structlog.get_logger(__name__)

LONGEST_BODY = 2000
LONGEST_READ = 300
FORM = "application/x-www-form-urlencoded"
OF_THE_RUN = "(made for the run)"
"""In place of an idempotency key: it depends on the run, which there is none of."""
_MARK = re.compile(r"zq(\d{4})qz")


class Planning:
    """Makes plans of runs. `base_url`: where an API is by its configuration, if that says so.

    `reads` None: this deployment lets no dry run read.
    """

    def __init__(
        self, programs: Programs, base_url: Callable[[str], str | None], guards: Guards,
        reads: Reads | None = None, simulating: Simulating | None = None,
    ) -> None:  # fmt: skip
        self._simulating = simulating
        self._programs, self._base_url, self._guards = programs, base_url, guards
        self._reads = reads

    async def plan(
        self, version: WorkflowVersion, inputs: Mapping[str, Any], agent: Agent, *,
        reads: bool = False, is_policed: bool = True, simulation: Simulation | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Its steps with their requests and undos, what it spends, and what its policy refuses.

        `reads`: send what only reads, unless the policy refuses the run. `is_policed`: policies are
        for this agent. `simulation`: played to its end instead, see `service.simulating`. Plain
        JSON, without what is empty. Raises InvalidInput, Untrusted; NotAllowed where reading is not
        set.
        """
        program = await self._programs.trusted(version.id)
        checked = program.check_inputs(inputs)
        charge = charge_of(program, checked)
        judged = await self._guards.judged(charge, agent) if is_policed else Judged()
        if simulation is None:
            reader = _Reader(self._allowed(), agent) if reads and not judged.refused else None
            draft = _Draft(program, checked, self._where, reader)
            told: dict[str, Any] = {"steps": [step async for step in draft.steps()]}
        else:
            assert self._simulating is not None, "made without"
            told = await self._simulating.simulated(
                version, program, checked, agent.tenant, simulation, self._where
            )
        if charge.currency:
            told["spends"] = f"{amount_told(charge.amount)} {charge.currency}"
        if judged.refused:
            told["refused"] = [
                f"{p.place}: found {p.found}; wanted {p.wanted}" for p in judged.refused
            ]
        elif judged.asked:
            told["approval"] = [f"found {q.found}; wanted {q.wanted}" for q in judged.asked]
        return told

    def _allowed(self) -> Reads:
        if self._reads is None:
            problem = Problem(
                place="setting dry_run_reads", found="false", wanted="true, or mode dry_run"
            )
            raise NotAllowed("dry runs read nothing here", problems=[problem])
        return self._reads

    def _where(self, api: str) -> str:
        return (self._base_url(api) or self._programs.base_url(api) or "").rstrip("/")


class _Reader:
    """Asks for one dry run, and leaves a line in the log for each request."""

    def __init__(self, reads: Reads, agent: Agent) -> None:
        self._reads, self._agent = reads, agent

    async def read(
        self, program: Program, index: int, request: FrozenRequest, facts: Facts
    ) -> tuple[str, Mapping[str, Any] | None]:
        """What came of it, and the step's outputs where the answer is as the step wants it."""
        step = program.plan.steps[index]
        path = str(step.call.template["path"])
        try:
            response = await self._reads.read(
                step.call.api, request, operation=f"{request.method} {path}",
                tenant=self._agent.tenant, step=step.id, timeout_seconds=step.call.timeout_seconds,
            )  # fmt: skip
        except StepError as error:
            self._note(program, step, str(error))
            return str(error), None
        judged = program.judge(index, Direction.FORWARD, facts, request, response)
        good = judged.outcome is Outcome.LANDED and judged.accepted
        came = f"{response.status}" + ("" if good else f", not as wanted: {judged.reason}")
        self._note(program, step, came)
        return came, judged.outputs if good else None

    def _note(self, program: Program, step: PlanStep, came: str) -> None:
        log.info(
            "dry_run.read", workflow=program.plan.workflow, step=step.id, api=step.call.api,
            tenant=self._agent.tenant, actor=self._agent.name, came=came,
        )  # fmt: skip


class _Draft:
    """One plan in the making."""

    def __init__(
        self, program: Program, inputs: Mapping[str, Any], where: Callable[[str], str],
        reader: _Reader | None,
    ) -> None:  # fmt: skip
        self._program, self._where, self._marks = program, where, _Marks()
        self._reader = reader
        self._rules: Rules = redact.rules() | program.secrets.of_run(inputs, {})
        self._facts = Facts(run_id="", inputs=inputs)

    async def steps(self) -> AsyncIterator[dict[str, Any]]:
        """In the straight order: where jumps lead is told by answers."""
        plan = self._program.plan
        for index, step in ((at, plan.steps[at]) for at in in_sequence(plan)):
            if is_head(step.call):
                continue
            if step.call.is_local:
                self._know(step, self._given(index, step))
                continue
            told = {"step": step.id, **self._link(index, step)}
            outputs = await self._answered(index, step, told)
            self._know(step, _Later(step.id, self._marks) if outputs is None else outputs)
            yield told | self._undo(index, step)

    async def _answered(
        self, index: int, step: PlanStep, told: dict[str, Any]
    ) -> Mapping[str, Any] | None:
        """The outputs of a step that was asked, if it only reads and may be; told as `read`."""
        if self._reader is None or not only_reads(step) or "not_known_yet" in told:
            return None
        request = self._program.prepare(index, Direction.FORWARD, self._facts)
        assert isinstance(request, FrozenRequest), "only undos have conditions"
        if self._marks.is_in(request):
            told["read"] = "not asked: it needs what only another step's answer tells"
            return None
        came, outputs = await self._reader.read(self._program, index, request, self._facts)
        told["read"] = self._rules.text(came)[:LONGEST_READ]
        return outputs

    def _know(self, step: PlanStep, outputs: Mapping[str, Any]) -> None:
        known = {**self._facts.outputs, step.id: outputs}
        self._facts = Facts(run_id="", inputs=self._facts.inputs, outputs=known)
        if not isinstance(outputs, _Later):
            hidden = self._program.secrets.of_run(self._facts.inputs, {step.id: outputs})
            self._rules = self._rules | hidden

    def _given(self, index: int, step: PlanStep) -> Mapping[str, Any]:
        """What a called workflow is given, and gives."""
        try:
            return self._program.judge_local(index, self._facts).outputs or {}
        except RefusedError:
            return _Later(step.id, self._marks)

    def _link(self, index: int, step: PlanStep) -> dict[str, Any]:
        try:
            request = self._program.prepare(index, Direction.FORWARD, self._facts)
        except RefusedError as error:
            return {"calls": step.call.label, "not_known_yet": self._marks.named(str(error))}
        assert isinstance(request, FrozenRequest), "only undos have conditions"
        if is_block(step.call):
            return {"begins_branches": list(step.call.template["branches"])}
        if is_map(step.call):
            parallel = step.call.template["parallel"]
            asked = self._body(without_items(request))
            return {
                "begins_a_run_for_each_item_of": request.target, "parallel": parallel,
                "asked": asked,
            }  # fmt: skip
        if step.call.is_child:
            return {"begins_a_run_of": request.target, "inputs": self._body(request)}
        if step.call.is_wait:
            return {"waits_for": request.target, "asked": self._body(request)}
        if step.call.task_name is not None:
            return {"calls": step.call.task_name, "body": self._body(request)}
        told: dict[str, Any] = {"sends": self._line(step.call.api, request)}
        headers = {
            name: OF_THE_RUN if value == request.key else self._header(name, value)
            for name, value in request.headers
        }
        headers.pop("Content-Type", None)
        if headers:
            told["headers"] = headers
        if request.body:
            told["body"] = self._body(request)
        return told

    def _undo(self, index: int, step: PlanStep) -> dict[str, Any]:
        if step.compensation is None:
            why = step.no_compensation_reason
            return {"stays": why} if why else {}
        calls = step.compensation.calls
        if len(calls) > 1:
            return {"undo": "one of " + ", ".join(call.label for call in calls)}
        if is_block(step.call):
            return {"undo": "a run that undoes what all branches did, latest first"}
        if is_undo_of_map(calls[0]):
            return {"undo": "runs that undo what the items did, latest completion first"}
        if calls[0].is_child:
            return {"undo": "a run that undoes what that run did"}
        try:
            request = self._program.prepare(index, Direction.BACKWARD, self._facts)
        except RefusedError:
            return {"undo": calls[0].label}
        if isinstance(request, NothingToUndo):
            return {"undo": f"{calls[0].label}, if the answer asks for it"}
        if calls[0].task_name is not None:
            return {"undo": calls[0].task_name}
        return {"undo": self._line(calls[0].api, request)}

    def _line(self, api: str, request: FrozenRequest) -> str:
        target = self._marks.named(self._rules.text(unquote(request.target)))
        return f"{request.method} {self._where(api) or f'({api})'}{target}"

    def _header(self, name: str, value: str) -> str:
        return HIDDEN if self._rules.is_secret(name) else self._marks.named(self._rules.text(value))

    def _body(self, request: FrozenRequest) -> Any:
        """JSON, or a form's fields, if they are short; else the beginning, or the size."""
        kind = dict(request.headers).get("Content-Type", "")
        try:
            said = (
                dict(parse_qsl(request.body.decode(), keep_blank_values=True))
                if kind.startswith(FORM) else json.loads(request.body)
            )  # fmt: skip
        except ValueError:
            return f"{len(request.body)} bytes of {kind or 'no type'}"
        value = self._rules.value(said)
        text = json.dumps(value, ensure_ascii=False)
        if len(text) > LONGEST_BODY:
            return f"{self._marks.named(text[:LONGEST_BODY])} … of {len(text)} characters"
        return self._marks.named_in(value)


def meaning_of(plan: Mapping[str, Any], *, then: str) -> str:
    """What a plan comes to, in a sentence; `then`: how it is done in earnest."""
    if "refused" in plan:
        return "Nothing was done, and it would be refused now: see plan.refused."
    if "approval" in plan:
        return "Nothing was done. A person would be asked first: see plan.approval."
    if "ends" in plan:
        return f"Nothing was done: it was played, and ended {plan['ends']}. {then}"
    return f"Nothing was done. {then}"


def only_reads(step: PlanStep) -> bool:
    """Whether asking its API changes nothing: a GET or HEAD that its document gives no effect."""
    call = step.call
    if call.is_local or call.is_wait or call.task_name is not None:
        return False
    return call.effects is Effects.NONE and call.template.get("method") in {"GET", "HEAD"}


class _Marks:
    """Texts that stand in requests for what is not known yet, and what each stands for.

    A mark goes through every encoding as it is: it has letters and digits alone.
    """

    def __init__(self) -> None:
        self._names: list[str] = []

    def mark(self, name: str) -> str:
        """A text that stands for it."""
        if name not in self._names:
            self._names.append(name)
        return f"zq{self._names.index(name):04}qz"

    def is_in(self, request: FrozenRequest) -> bool:
        """Whether something in it is not known yet."""
        texts = [request.target, request.body.decode("utf-8", "replace")]
        texts += [value for _, value in request.headers]
        return any(_MARK.search(text) for text in texts)

    def named(self, text: str) -> str:
        """With names in place of marks."""
        return _MARK.sub(lambda found: self._name(found[0], int(found[1])), text)

    def named_in(self, value: Any) -> Any:
        """The same in all texts of a JSON value."""
        if isinstance(value, str):
            return self.named(value)
        if isinstance(value, list):
            return [self.named_in(each) for each in value]
        if isinstance(value, dict):
            return {self.named(name): self.named_in(each) for name, each in value.items()}
        return value

    def _name(self, mark: str, number: int) -> str:
        return f"{{{self._names[number]}}}" if number < len(self._names) else mark


class _Later(Mapping[str, Any]):
    """What a step will give: every name is there, and stands for itself."""

    def __init__(self, step: str, marks: _Marks) -> None:
        self._step, self._marks = step, marks

    def __getitem__(self, name: str) -> str:
        return self._marks.mark(f"$steps.{self._step}.outputs.{name}")

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
