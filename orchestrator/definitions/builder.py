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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.core.plan import Call, Compensation, Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.retry import NO_RETRY, RetryPolicy
from orchestrator.definitions.attributes import attribute_problems
from orchestrator.definitions.authoring import (
    Child,
    ForEach,
    Function,
    Item,
    Parallel,
    Step,
    Wait,
    Workflow,
)
from orchestrator.definitions.blocks import block_step, head_step, is_block
from orchestrator.definitions.children import (
    DETACHED,
    child_call,
    forward_only,
    output_of_child,
    undo_of_child,
)
from orchestrator.definitions.escalation_rules import escalation_of, escalation_problems
from orchestrator.definitions.expressions import FIRST_OF, OPTIONAL
from orchestrator.definitions.four_eyes import rule_of, rule_problems
from orchestrator.definitions.giving import completed
from orchestrator.definitions.inputs import certain_inputs, declared_inputs, schema_problems
from orchestrator.definitions.maps import each_problems, is_map, map_call, undo_of_map
from orchestrator.definitions.problems import Findings, Path, pointer
from orchestrator.definitions.signatures import Parameter, schema_of
from orchestrator.definitions.slo_rules import slo_of, slo_problems
from orchestrator.definitions.sources import TASKS_API
from orchestrator.definitions.spending import budget_problems, intent_problems
from orchestrator.definitions.tasks import Task, TaskRegistry, task_of
from orchestrator.definitions.validation import Part, past_pivot, validate
from orchestrator.definitions.waiting import argument_problems, wait_call
from orchestrator.errors import InvalidDefinition

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


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
        validate(plan, _placer(plan), findings)
    findings.raise_if_any(f"workflow {workflow.name} does not validate")
    return with_digest(plan), tuple(findings.warnings)


def _placer(plan: Plan) -> Callable[[int | None, Part, Path], str]:
    def place(index: int | None, part: Part, path: Path) -> str:
        where = f"workflow {plan.workflow}"
        if index is not None:
            where += f", step {plan.steps[index].id}"
        if part is not Part.FORWARD:
            where += f", {_PART_WORDS[part]}"
        return f"{where} {pointer(path)}".rstrip()

    return place


_PART_WORDS = {
    Part.UNDO: "compensate", Part.VERIFY: "verify", Part.VERIFY_UNDO: "verify of compensate",
}  # fmt: skip


Giver = tuple[str, frozenset[str] | None]
"""A step, and the names of its outputs; None where only the run tells."""


class _Builder:
    """Wires the steps of one workflow."""

    def __init__(self, workflow: Workflow, tasks: TaskRegistry | None, findings: Findings) -> None:
        self._workflow, self._tasks, self._findings = workflow, tasks, findings
        self._schema = inputs_schema_of(workflow.inputs)
        self._inferred: dict[str, Mapping[str, Any]] = {}
        self._required: list[str] = []
        self._done: list[Giver] = []  # steps that come before the one being wired
        self._behind: list[PlanStep] = []  # the chains of branches

    def build(self) -> Plan:
        workflow = self._workflow
        if not _ID.fullmatch(workflow.name):
            self._bad("", repr(workflow.name), "a name of letters, digits, - and _")
        if self._schema is not None:
            for path, found, wanted in schema_problems(self._schema):
                self._bad(f", inputs {pointer(path)}", found, wanted)
        chain = self._chain(workflow.steps)
        if self._behind:
            chain[-1] = replace(chain[-1], last=True)
        steps = (*chain, *self._behind)
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
            children=any(step.call.is_child for step in steps),
            blocks=any(is_block(step.call) for step in steps),
            maps=any(is_map(step.call) for step in steps),
        )  # fmt: skip
        plan = completed(plan)
        if plan.children:
            plan = forward_only(plan, past_pivot(plan))
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

    def _chain(self, items: Sequence[Item]) -> list[PlanStep]:
        return [plan_step for item in items for plan_step in self._step(item)]

    def _parallel(self, item: Parallel, where: str) -> PlanStep:
        """The block; its branches are put behind, inner ones of blocks in them after these."""
        label = f"{self._workflow.name}.{item.id}"
        before, joined = list(self._done), list(self._done)
        for name, branch in item.branches.items():
            if not _ID.fullmatch(name):
                self._bad(where, f"the branch {name!r}", "a name of letters, digits, - and _")
            if not branch.steps:
                self._bad(where, f"the branch {name} without a step", "at least one")
            place, self._done = len(self._behind), list(before)
            head = head_step(item.id, name, f"{label}/{name}")
            steps = [head, *self._chain(branch.steps)]
            self._behind[place:place] = [*steps[:-1], replace(steps[-1], last=True)]
            joined += self._done[len(before) :]
        self._done = joined
        return block_step(item.id, label, list(item.branches), item.fail)

    def _step(self, item: Item) -> Iterator[PlanStep]:
        where = f", step {item.id}"
        if not _ID.fullmatch(item.id):
            self._bad(where, repr(item.id), "an id of letters, digits, - and _")
        if isinstance(item, Wait):
            yield self._wait(item, where)
        elif isinstance(item, Parallel):
            yield self._parallel(item, where)
        elif isinstance(item, ForEach):
            yield from self._each(item, where)
        elif isinstance(item, Child):
            yield from self._child(item, where)
        else:
            yield from self._calling(item, where)

    def _each(self, item: ForEach, where: str) -> Iterator[PlanStep]:
        for name, found, wanted in each_problems(item.each):
            self._bad(f"{where}, {name}", found, wanted)
        plan = self._begun(item, where)
        if plan is None:
            return
        self._check_named((item.each.item, item.each.index, *item.with_), plan, where)
        if plan.pivot_index is not None:
            found = f"{plan.workflow}, which has a pivot, {plan.steps[plan.pivot_index].id}"
            self._bad(where, found, "a workflow all of which can be undone")
        label = f"{self._workflow.name}.{item.id}"
        own = (item.each.item, item.each.index)
        given = self._given_to(plan, item.with_, own, where)
        yield PlanStep(
            id=item.id, call=map_call(label, plan, item.each, given),
            compensation=undo_of_map(f"{label}.undo", item.each),
        )  # fmt: skip

    def _child(self, item: Child, where: str) -> Iterator[PlanStep]:
        plan = self._begun(item, where)
        if plan is None:
            return
        self._check_named(item.with_, plan, where)
        waits, label = item.on_cancel is not None, f"{self._workflow.name}.{item.id}"
        if plan.pivot_index is not None and waits and not item.pivot:
            found = f"{plan.workflow}, which has a pivot, {plan.steps[plan.pivot_index].id}"
            self._bad(where, found, "pivot=True: what a run did past its pivot is not undone")
        theirs = {name: output_of_child(name) for name in plan.outputs} if waits else {}
        call = child_call(
            label, plan, self._given_to(plan, item.with_, (), where), on_cancel=item.on_cancel,
            retry=item.retry or NO_RETRY,
            more={"outputs": {"run": "$response.body#/run", **theirs}},
        )  # fmt: skip
        self._done.append((item.id, frozenset({"run", *theirs})))
        yield PlanStep(
            id=item.id, call=call, pivot=item.pivot,
            compensation=undo_of_child(f"{label}.undo") if waits else None,
            no_compensation_reason=None if waits else DETACHED,
        )  # fmt: skip

    def _begun(self, item: ForEach | Child, where: str) -> Plan | None:
        """The plan of the workflow that the step begins; None: what is wrong with it is noted."""
        try:
            return plan_of(item.workflow, tasks=self._tasks)
        except InvalidDefinition as error:
            for problem in error.problems:
                self._bad(f"{where}, {problem.place}", problem.found, problem.wanted)
            return None

    def _check_named(self, names: Iterable[str | None], plan: Plan, where: str) -> None:
        known = declared_inputs(plan.inputs_schema)
        for name in names:
            if name and name not in known:
                wanted = ", ".join(known) or "none is declared"
                self._bad(where, f"the input {name}", f"an input of {plan.workflow}: {wanted}")

    def _given_to(
        self, plan: Plan, said: Mapping[str, Any], own: Sequence[str | None], where: str
    ) -> dict[str, Any]:
        """Inputs of the runs that a step begins, but for those that are each item's `own`."""
        given = dict(said)
        for name in declared_inputs(plan.inputs_schema):
            source = None if name in own or name in given else self._earlier_source(name)
            if source is not None:
                given[name] = source
        for name in sorted(certain_inputs(plan.inputs_schema) - set(given) - set(own)):
            self._bad(
                where, f"nothing that gives {name}",
                "an input or an earlier step's output of that name, or with_={…}",
            )  # fmt: skip
        return given

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
        self._done.append((item.id, made.signature.result_names))
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
            own = _output_source(
                parameter.name, [(item.id, made.signature.result_names)], given.get(parameter.name)
            )
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
            (step_id, names) for step_id, names in self._done
            if self._schema is not None or names is not None
        ]  # fmt: skip
        return _output_source(name, certain)

    def _infer(self, parameter: Parameter) -> Any:
        """Without declared inputs, what nothing returns becomes an input."""
        if self._schema is not None:
            return None
        self._inferred[parameter.name] = parameter.schema
        if parameter.required:
            self._required.append(parameter.name)
        untold = [step_id for step_id, names in self._done if names is None]
        if untold and parameter.required:
            self._findings.warn(
                f"workflow {self._workflow.name}",
                f"{parameter.name} becomes an input, since {', '.join(untold)} does not say what "
                "it returns (a TypedDict would), and with_ does not name it",
            )
        return f"$inputs.{parameter.name}"


def _output_source(name: str, steps: Sequence[Giver], otherwise: Any = None) -> Any:
    """The latest of the steps that returns `name`; where only the run tells, the first that did."""
    choices = []
    for step_id, names in reversed(steps):
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
