"""Workflows in Python: the same plan as a document's, from functions that are tasks.

    order = (
        Workflow("order", inputs={"item": str, "amount": int})
        .step(reserve, compensate=release)
        .step(charge, compensate=refund)
        .step(ship, pivot=True)
    )

Each parameter of a function is filled by its name: from `with_` if that names it, else from the
workflow's inputs, else from the latest earlier step that returns it. A compensation's parameters
are filled from what its own step returned, then from what that step was given, then as above.
Without `inputs` the workflow asks for whatever no earlier step is known to return.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from orchestrator.core.plan import Call, Compensation, CompensationKind, Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.retry import RetryPolicy
from orchestrator.definitions.attributes import attribute_problems
from orchestrator.definitions.escalation_rules import escalation_of, escalation_problems
from orchestrator.definitions.expressions import FIRST_OF, OPTIONAL
from orchestrator.definitions.four_eyes import rule_of, rule_problems
from orchestrator.definitions.inputs import declared_inputs, schema_problems
from orchestrator.definitions.problems import Findings, Path, pointer
from orchestrator.definitions.signatures import Parameter, schema_of
from orchestrator.definitions.slo_rules import slo_of, slo_problems
from orchestrator.definitions.sources import TASKS_API
from orchestrator.definitions.spending import budget_problems, intent_problems
from orchestrator.definitions.tasks import Task, TaskRegistry, task_of
from orchestrator.definitions.validation import Part, validate
from orchestrator.definitions.waiting import (
    APPROVAL,
    SIGNAL,
    SLEEP,
    Asking,
    argument_problems,
    wait_call,
)

Function = Callable[..., Any]

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step as its author wrote it; made by `step`."""

    function: Function
    id: str
    compensate: Function | None = None
    kind: CompensationKind = CompensationKind.REVERSE
    no_compensation: str | None = None
    pivot: bool = False
    with_: Mapping[str, Any] | None = None
    compensate_with: Mapping[str, Any] | None = None
    verify: Function | None = None
    verify_with: Mapping[str, Any] | None = None
    retry: RetryPolicy | None = None
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """A step that waits; made by `Workflow.wait_for`, `approval`, `sleep` and `until`."""

    id: str
    asking: Asking
    given: Mapping[str, Any]
    pivot: bool = False


def step(
    function: Function,
    *,
    id: str | None = None,  # noqa: A002 - the word that authors expect
    compensate: Function | None = None,
    kind: CompensationKind | str = CompensationKind.REVERSE,
    no_compensation: str | None = None,
    pivot: bool = False,
    with_: Mapping[str, Any] | None = None,
    compensate_with: Mapping[str, Any] | None = None,
    verify: Function | None = None,
    verify_with: Mapping[str, Any] | None = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
) -> Step:
    """A step that calls a task.

    `compensate` undoes it, or `no_compensation` says why nothing can; `kind` is "reverse" or
    "follow-up". After the `pivot` a run only goes forward. `with_`, `compensate_with` and
    `verify_with` map parameters to values or runtime expressions (`$inputs.amount`,
    `$steps.charge.outputs.id`). `verify` is a task without effects that is asked when the step's
    outcome is unknown: it returns the step's result, or None when there is no effect.
    `timeout` in seconds.
    """
    name = id or str(getattr(function, "__name__", ""))
    return Step(
        function=function, id=name, compensate=compensate, kind=CompensationKind(kind),
        no_compensation=no_compensation, pivot=pivot, with_=with_, compensate_with=compensate_with,
        verify=verify, verify_with=verify_with, retry=retry, timeout=timeout,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow in the making. Immutable: each `step` gives a new one.

    `inputs` is a mapping of names to types (all required), a TypedDict, a dataclass, or a JSON
    schema. `outputs` maps names to runtime expressions. `deadline` in seconds from submission.
    `four_eyes`: decisions need a second person, of all runs or `{"when": CONDITION, "hours": N}`.
    `attributes`: by what its runs are looked up, `{"customer": "$inputs.customer_id"}`.
    `escalation`: how bad one is, `{"severity": "high", "minutes": 30}`, or a list with `when`.
    `budget`: what a run spends, `{"amount": "$inputs.amount", "currency": "EUR"}`, and `intent`: by
    what it is the same wish as another, `{"order": "$inputs.order_id"}`; for agents' policies.
    `slo`: what it promises, `{"success": {"target": 0.995}}`.
    """

    name: str
    inputs: Any = None
    outputs: Mapping[str, str] | None = None
    title: str = ""
    deadline: float | None = None
    lane: str = "default"
    four_eyes: bool | Mapping[str, Any] = False
    attributes: Mapping[str, str] | None = None
    escalation: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    budget: Mapping[str, Any] | None = None
    intent: Mapping[str, str] | None = None
    slo: Mapping[str, Any] | None = None
    steps: tuple[Step | Wait, ...] = ()

    def step(self, function: Function | Step, **options: Any) -> Workflow:
        """The workflow with one more step; options as of `orchestrator.step`."""
        added = function if isinstance(function, Step) else step(function, **options)
        return replace(self, steps=(*self.steps, added))

    def wait_for(
        self,
        signal: str,
        *,
        id: str | None = None,  # noqa: A002 - the word that authors expect
        timeout: float | str | None = None,
        default: Mapping[str, Any] | None = None,
    ) -> Workflow:
        """One step more, that waits until somebody sends the run this signal.

        Its outputs are the fields of what was sent. After `timeout` seconds without it the step has
        failed, or has `default` as its outputs. Both may be runtime expressions.
        """
        given = {"signal": signal, "timeout": timeout, "default": default}
        name = id or signal
        return replace(self, steps=(*self.steps, Wait(id=name, asking=SIGNAL, given=_said(given))))

    def approval(
        self,
        message: str,
        *,
        id: str = "approval",  # noqa: A002 - the word that authors expect
        show: Mapping[str, Any] | None = None,
        roles: Sequence[str] | None = None,
        timeout: float | str | None = None,
        remind: float | None = None,
        requester: bool = False,
        default: Mapping[str, Any] | None = None,
        pivot: bool = False,
    ) -> Workflow:
        """One step more, that waits until a person approves. A rejection fails the step.

        `show`: what they see beside the message, JSON with runtime expressions in it. `roles`: who
        may decide; with `requester` also whoever the run is for, through the agent that began it.
        After `timeout` seconds without a decision the step has failed, or `default` is
        its outputs; a reminder goes out every `remind` seconds. Outputs: decision, by, via, at (ISO
        8601), reason, data.
        """
        given = {
            "message": message, "show": show, "roles": None if roles is None else list(roles),
            "timeout": timeout, "remind": remind, "requester": requester or None,
            "default": default,
        }  # fmt: skip
        added = Wait(id=id, asking=APPROVAL, given=_said(given), pivot=pivot)
        return replace(self, steps=(*self.steps, added))

    def sleep(
        self,
        seconds: float | timedelta | str,
        *,
        id: str = "sleep",  # noqa: A002 - the word that authors expect
    ) -> Workflow:
        """One step more, that lets so much time pass, from when the run comes to it.

        May be a runtime expression (`$inputs.pause`). Nothing is held meanwhile, for up to ten
        years. Output: until, the time (ISO 8601) at which it was over.
        """
        given = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        return self._asleep(id, {"for": given})

    def until(
        self,
        time: datetime | str,
        *,
        id: str = "until",  # noqa: A002 - the word that authors expect
    ) -> Workflow:
        """One step more, that waits until a time, which has its zone; none once it is over.

        A text is ISO 8601 or a runtime expression (`$inputs.at`). Output as of `sleep`.
        """
        given = time.isoformat() if isinstance(time, datetime) else time
        return self._asleep(id, {"until": given})

    def _asleep(self, name: str, given: Mapping[str, Any]) -> Workflow:
        return replace(self, steps=(*self.steps, Wait(id=name, asking=SLEEP, given=given)))


def plan_of(workflow: Workflow, *, tasks: TaskRegistry | None = None) -> Plan:
    """The validated plan. With `tasks`, its functions must be among them.

    Raises InvalidDefinition with everything that is wrong.
    """
    return plan_and_warnings(workflow, tasks=tasks)[0]


def plan_and_warnings(
    workflow: Workflow, *, tasks: TaskRegistry | None = None
) -> tuple[Plan, tuple[str, ...]]:
    """The validated plan, and what its author should know."""
    findings = Findings()
    plan = _Builder(workflow, tasks, findings).build()
    if not findings.problems:
        validate(plan, _placer(workflow), findings)
    findings.raise_if_any(f"workflow {workflow.name} does not validate")
    return with_digest(plan), tuple(findings.warnings)


def _placer(workflow: Workflow) -> Callable[[int | None, Part, Path], str]:
    def place(index: int | None, part: Part, path: Path) -> str:
        where = f"workflow {workflow.name}"
        if index is not None:
            where += f", step {workflow.steps[index].id}"
        if part is not Part.FORWARD:
            where += f", {_PART_WORDS[part]}"
        return f"{where} {pointer(path)}".rstrip()

    return place


_PART_WORDS = {
    Part.UNDO: "compensate", Part.VERIFY: "verify", Part.VERIFY_UNDO: "verify of compensate",
}  # fmt: skip


class _Builder:
    """Wires the steps of one workflow."""

    def __init__(self, workflow: Workflow, tasks: TaskRegistry | None, findings: Findings) -> None:
        self._workflow, self._tasks, self._findings = workflow, tasks, findings
        self._schema = inputs_schema_of(workflow.inputs)
        self._inferred: dict[str, Mapping[str, Any]] = {}
        self._required: list[str] = []
        self._done: list[tuple[str, Task]] = []  # steps that come before the one being wired

    def build(self) -> Plan:
        workflow = self._workflow
        if not _ID.fullmatch(workflow.name):
            self._bad("", repr(workflow.name), "a name of letters, digits, - and _")
        if self._schema is not None:
            for path, found, wanted in schema_problems(self._schema):
                self._bad(f", inputs {pointer(path)}", found, wanted)
        steps = tuple(plan_step for item in workflow.steps for plan_step in self._step(item))
        schema = self._inputs_schema()
        for path, found, wanted in rule_problems(workflow.four_eyes, schema):
            self._bad(f", four_eyes {pointer(path)}", found, wanted)
        for name, said, problems in (
            ("escalation", workflow.escalation, escalation_problems),
            ("budget", workflow.budget, budget_problems),
            ("intent", workflow.intent, intent_problems),
            ("slo", workflow.slo, lambda said, _: slo_problems(said)),
        ):
            for path, found, wanted in () if said is None else problems(said, schema):
                self._bad(f", {name} {pointer(path)}", found, wanted)
        plan = Plan(
            workflow=workflow.name, steps=steps, title=workflow.title, lane=workflow.lane,
            inputs_schema=schema, outputs=dict(workflow.outputs or {}),
            four_eyes=rule_of(workflow.four_eyes), escalation=escalation_of(workflow.escalation),
            deadline_seconds=workflow.deadline, budget=dict(workflow.budget or {}),
            intent=dict(workflow.intent or {}), slo=slo_of(workflow.slo),
            waits=any(step.call.is_wait for step in steps),
        )  # fmt: skip
        for path, found, wanted in attribute_problems(workflow.attributes or {}, plan):
            self._bad(f", attributes {pointer(path)}", found, wanted)
        return replace(plan, attributes=dict(workflow.attributes or {}))

    def _inputs_schema(self) -> Mapping[str, Any]:
        if self._schema is not None:
            return self._schema
        return {
            "type": "object", "properties": self._inferred, "required": self._required,
            "additionalProperties": False,
        }  # fmt: skip

    def _bad(self, where: str, found: str, wanted: str) -> None:
        self._findings.add(f"workflow {self._workflow.name}{where}", found, wanted)

    # --- steps ------------------------------------------------------------------------------------

    def _step(self, item: Step | Wait) -> Iterator[PlanStep]:
        where = f", step {item.id}"
        if not _ID.fullmatch(item.id):
            self._bad(where, repr(item.id), "an id of letters, digits, - and _")
        if isinstance(item, Wait):
            yield self._wait(item, where)
        else:
            yield from self._calling(item, where)

    def _wait(self, item: Wait, where: str) -> PlanStep:
        for problem in argument_problems(item.asking, item.given):
            self._bad(f"{where} {problem.place}", problem.found, problem.wanted)
        label = f"{self._workflow.name}.{item.id}"
        call = wait_call(item.asking, label, item.given)
        return PlanStep(id=item.id, call=call, pivot=item.pivot)

    def _calling(self, item: Step, where: str) -> Iterator[PlanStep]:
        made = self._task(item.function, where)
        if made is None:
            return
        label = f"{self._workflow.name}.{item.id}"
        arguments = self._arguments(made, item.with_, where, self._forward_source)
        call = _call(made, label, arguments, retry=item.retry, timeout=item.timeout)
        call = self._with_verify(call, item, where, made)
        compensation = self._compensation(item, made, arguments, f"{label}.undo")
        self._done.append((item.id, made))
        yield PlanStep(
            id=item.id, call=call, compensation=compensation, pivot=item.pivot,
            no_compensation_reason=item.no_compensation,
        )  # fmt: skip

    def _with_verify(self, call: Call, item: Step, where: str, made: Task) -> Call:
        if item.verify is None:
            return call
        asked = self._task(item.verify, f"{where}, verify")
        if asked is None:
            return call
        given = call.template["arguments"]
        arguments = self._arguments(
            asked, item.verify_with, f"{where}, verify",
            lambda parameter: given.get(parameter.name, self._forward_source(parameter)),
        )  # fmt: skip
        if asked.effects != "none":
            self._bad(f"{where}, verify", f"effects {asked.effects}", "a task with effects none")
        return replace(call, verify=_call(asked, f"{call.label}.verify", arguments))

    def _compensation(
        self, item: Step, made: Task, given: Mapping[str, Any], label: str
    ) -> Compensation | None:
        if item.compensate is None:
            return None
        where = f", step {item.id}, compensate"
        undo = self._task(item.compensate, where)
        if undo is None:
            return None

        def source(parameter: Parameter) -> Any:
            own = _output_source(parameter.name, [(item.id, made)], given.get(parameter.name))
            return self._earlier_source(parameter.name) if own is None else own

        arguments = self._arguments(undo, item.compensate_with, where, source)
        return Compensation(call=_call(undo, label, arguments), kind=item.kind)

    def _task(self, function: Function, where: str) -> Task | None:
        found = task_of(function)
        if found is None:
            name = getattr(function, "__qualname__", repr(function))
            self._bad(where, f"{name}, which is no task", "a function decorated with @task")
        elif self._tasks is not None and self._tasks.get(found.name) is None:
            self._bad(
                where, f"{found.name}, which no worker would know",
                "a task of the modules in the setting task_modules",
            )  # fmt: skip
        return found

    # --- wiring -----------------------------------------------------------------------------------

    def _arguments(
        self,
        made: Task,
        given: Mapping[str, Any] | None,
        where: str,
        source: Callable[[Parameter], Any],
    ) -> dict[str, Any]:
        arguments = dict(given or {})
        for name in arguments:
            if made.signature.parameter(name) is None and not made.signature.takes_any:
                names = ", ".join(p.name for p in made.signature.parameters)
                self._bad(where, f"the argument {name}", f"arguments of {made.name}: {names}")
        for parameter in made.signature.parameters:
            if parameter.name in arguments:
                continue
            value = source(parameter)
            if value is not None:
                arguments[parameter.name] = value if parameter.required else _optional(value)
            elif parameter.required:
                self._bad(
                    where, f"nothing that gives {parameter.name}",
                    "an input or an earlier step's output of that name, or with_={…}",
                )  # fmt: skip
        return arguments

    def _forward_source(self, parameter: Parameter) -> Any:
        return self._earlier_source(parameter.name) or self._infer(parameter)

    def _earlier_source(self, name: str) -> Any:
        declared = self._inferred if self._schema is None else declared_inputs(self._schema)
        if name in declared:
            return f"$inputs.{name}"
        certain = [
            (step_id, made) for step_id, made in self._done
            if self._schema is not None or made.signature.result_names is not None
        ]  # fmt: skip
        return _output_source(name, certain)

    def _infer(self, parameter: Parameter) -> Any:
        """Without declared inputs, what nothing returns becomes an input."""
        if self._schema is not None:
            return None
        self._inferred[parameter.name] = parameter.schema
        if parameter.required:
            self._required.append(parameter.name)
        untold = [step_id for step_id, made in self._done if made.signature.result_names is None]
        if untold and parameter.required:
            self._findings.warn(
                f"workflow {self._workflow.name}",
                f"{parameter.name} becomes an input, since {', '.join(untold)} does not say what "
                "it returns (a TypedDict would), and with_ does not name it",
            )
        return f"$inputs.{parameter.name}"


def _output_source(name: str, steps: list[tuple[str, Task]], otherwise: Any = None) -> Any:
    """The latest of the steps that returns `name`; where only the run tells, the first that did."""
    choices = []
    for step_id, made in reversed(steps):
        names = made.signature.result_names
        if names is None or name in names:
            choices.append(f"$steps.{step_id}.outputs.{name}")
        if names is not None and name in names:
            break
    else:
        if otherwise is not None and not (choices and isinstance(otherwise, str)):
            return otherwise
        if otherwise is not None:
            choices.append(otherwise)
    if len(choices) == 1:
        return choices[0]
    return {FIRST_OF: choices} if choices else None


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _optional(value: Any) -> Any:
    """What a parameter with a default is given: where it leads nowhere, the default holds."""
    if isinstance(value, str) and value.startswith("$"):
        return {FIRST_OF: [value], OPTIONAL: True}
    return {**value, OPTIONAL: True} if isinstance(value, Mapping) and FIRST_OF in value else value


def _call(
    made: Task,
    label: str,
    arguments: Mapping[str, Any],
    *,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
) -> Call:
    names = made.signature.result_names
    template: dict[str, Any] = {
        "kind": "task", "arguments": dict(arguments), "resultIsOutputs": True,
    }  # fmt: skip
    if names is not None:
        template["resultNames"] = sorted(names)
    return Call(
        label=label, api=TASKS_API, effects=made.effects, template=template,
        retry=retry or made.retry or RetryPolicy(), task_name=made.name,
        timeout_seconds=timeout or made.timeout_seconds,
    )  # fmt: skip


def inputs_schema_of(inputs: Any) -> Mapping[str, Any] | None:
    """A JSON schema from a mapping of types, a TypedDict, a dataclass, or a schema itself."""
    if inputs is None:
        return None
    if isinstance(inputs, type):
        return schema_of(inputs)
    if isinstance(inputs, Mapping) and not _is_schema(inputs):
        return {
            "type": "object",
            "properties": {name: schema_of(hint) for name, hint in inputs.items()},
            "required": list(inputs),
            "additionalProperties": False,
        }
    return inputs if isinstance(inputs, Mapping) else {"type": "unknown"}


def _is_schema(inputs: Mapping[str, Any]) -> bool:
    return inputs.get("type") == "object" or "properties" in inputs or "$ref" in inputs
