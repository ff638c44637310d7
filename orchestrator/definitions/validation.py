"""Rules that every plan keeps, whichever front end it came from.

Every reference resolves; what a call consumes is known when it is made; every effect can be
undone, or somebody has written why not, or it lies at or after the pivot; what follows the pivot is
never undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from orchestrator.core.plan import Call, Effects, Plan, PlanStep
from orchestrator.definitions.actions import INPUTS_OF, Places
from orchestrator.definitions.block_rules import find_block_problems
from orchestrator.definitions.blocks import is_block
from orchestrator.definitions.criteria import parse_criterion
from orchestrator.definitions.expressions import (
    BEFORE_SENDING,
    Expression,
    Root,
    compile_value,
)
from orchestrator.definitions.flow import Flow
from orchestrator.definitions.inputs import declared_inputs, schema_problems
from orchestrator.definitions.local import LocalStep
from orchestrator.definitions.problems import ExpressionError, Findings, Path
from orchestrator.definitions.program import CompiledCall, compile_call

MAX_STEPS = 500


class Part(StrEnum):
    """Which call of a step."""

    FORWARD = "forward"
    UNDO = "undo"
    VERIFY = "verify"
    VERIFY_UNDO = "verify-undo"

    @property
    def verification(self) -> Part:
        """The call that verifies this one."""
        return Part.VERIFY if self is Part.FORWARD else Part.VERIFY_UNDO

    @property
    def is_undo(self) -> bool:
        """Whether it belongs to the compensation."""
        return self in (Part.UNDO, Part.VERIFY_UNDO)


Place = Callable[[int | None, Part, Path], str]
"""Names a part of the plan: step index (None: the workflow), which call, path in its template."""

_REQUEST_PARTS = frozenset({"parameters", "requestBody", "arguments", "onlyIf"})


def validate(plan: Plan, place: Place, findings: Findings) -> None:
    """Note everything wrong with a plan."""
    _Validation(plan, place, findings).run()


def stays_undeclared(plan: Plan, flow: Flow, index: int) -> bool:
    """Whether a step's effect would stay in a run that turns back, and nobody says why."""
    step = plan.steps[index]
    if step.call.effects is Effects.NONE or index == plan.pivot_index:
        return False
    if _is_after_the_pivot(plan, flow, index):
        return False
    return not (step.compensation or step.no_compensation_reason or step.undoes)


def past_pivot(plan: Plan) -> list[int]:
    """Indexes of steps that lie after the pivot on every way to them."""
    if plan.pivot_index is None:
        return []
    flow = Flow(plan)
    return [at for at in range(len(plan.steps)) if _is_after_the_pivot(plan, flow, at)]


def _is_after_the_pivot(plan: Plan, flow: Flow, index: int) -> bool:
    """On every way that leads to a step."""
    pivot = plan.pivot_index
    return pivot is not None and bool(flow.known_at(index) >> pivot & 1)


class _Validation:
    def __init__(self, plan: Plan, place: Place, findings: Findings) -> None:
        self._plan, self._place_of, self._findings = plan, place, findings
        self._case: Path = ()  # within a compensation, which one is looked at
        self._index = {step.id: index for index, step in enumerate(plan.steps)}
        self._places = Places(plan)

    def run(self) -> None:
        if not self._size():
            return
        self._flow = Flow(self._plan)
        self._pivot()
        if self._plan.blocks:
            find_block_problems(self._plan, self._flow, self._block_place, self._findings)
        self._ways()
        for index, step in enumerate(self._plan.steps):
            self._undoable(index, step)
            for part, call, case in calls_of(step):
                self._case = case
                self._call(index, part, call)
            self._case = ()
        self._outputs()

    def _place(self, index: int | None, part: Part, path: Path) -> str:
        return self._place_of(index, part, (*self._case, *path) if part.is_undo else path)

    def _block_place(self, index: int, path: Path) -> str:
        return self._place(index, Part.FORWARD, path)

    # --- the chain --------------------------------------------------------------------------------

    def _size(self) -> bool:
        """Whether there are steps, and not too many."""
        steps = len(self._plan.steps)
        if not 0 < steps <= MAX_STEPS:
            place = self._place(None, Part.FORWARD, ("steps",))
            self._findings.add(place, f"{steps} steps", f"1 to {MAX_STEPS} steps")
            return False
        if len(self._index) != steps:
            ids = [step.id for step in self._plan.steps]
            for index, step_id in enumerate(ids):
                if step_id in ids[:index]:
                    place = self._place(index, Part.FORWARD, ())
                    self._findings.add(place, f"the step {step_id} again", "each step id once")
        return True

    def _ways(self) -> None:
        """What leads nowhere, and what nothing leads to."""
        endless = self._flow.endless()
        if endless:
            names = ", ".join(self._plan.steps[index].id for index in endless[:5])
            self._findings.add(
                self._place(endless[0], Part.FORWARD, ("onSuccess",)),
                f"actions that lead from {names} to no end",
                "a way to the end: criteria on an action, or an action of type end",
            )
        for index in self._flow.unreached():
            step = self._plan.steps[index]
            if not step.call.is_local:
                self._findings.warn(
                    self._place(index, Part.FORWARD, ()), f"nothing leads to step {step.id}"
                )

    def _pivot(self) -> None:
        steps = self._plan.steps  # heads of branches behind it are forward only like their blocks
        pivots = [index for index, step in enumerate(steps) if step.pivot and not step.heads]
        for index in pivots[1:]:
            place = self._place(index, Part.FORWARD, ("x-pivot",))
            first = self._plan.steps[pivots[0]].id
            self._findings.add(place, "a second pivot", f"one pivot; it is {first}")

    def _undoable(self, index: int, step: PlanStep) -> None:
        pivot = self._plan.pivot_index
        after = _is_after_the_pivot(self._plan, self._flow, index)
        if after and step.undoes:
            self._findings.add(
                self._place(index, Part.FORWARD, ("x-undoes",)), "an undo after the pivot",
                "none: from the pivot on a run only goes forward",
            )  # fmt: skip
        if after and step.compensation is not None:
            self._findings.add(
                self._place(index, Part.FORWARD, ("x-compensation",)),
                f"a compensation after the pivot {self._plan.steps[pivot or 0].id}",
                "none: from the pivot on a run only goes forward",
            )
        if not stays_undeclared(self._plan, self._flow, index):
            return
        self._findings.add(
            self._place(index, Part.FORWARD, ()),
            f"step {step.id} with an effect and without a compensation",
            'x-compensation, or x-compensation: {none: "why it cannot be undone"}; '
            "or x-effects: none if it changes nothing",
        )

    # --- one call ---------------------------------------------------------------------------------

    def _call(self, index: int, part: Part, call: Call) -> None:
        if call.template.get("kind") == "unread":
            return
        if call.is_local:
            self._local(index, call)
            return
        self._undoes_by_hand(index, part, call)
        try:
            compiled = compile_call(call, self._places)
        except ExpressionError as error:
            if not self._findings.problems:  # a front end that did not look at each text itself
                self._findings.add(self._place(index, part, ()), error.found, error.wanted)
            return
        for path, expression in expressions_of(compiled):
            self._reference(index, part, path, expression)
        if call.template["kind"] == "nothing":
            return
        self._already_done(index, part, compiled)
        self._warn(index, part, call)

    def _local(self, index: int, call: Call) -> None:
        """A step that calls nothing speaks of two workflows."""
        step = self._plan.steps[index]
        if self._findings.problems and any(schema_problems(call.template.get("inputsSchema", {}))):
            return  # the called workflow's inputs are no schema, which is said where they stand
        try:
            compiled = LocalStep(call, step.id, self._places)
        except ExpressionError as error:
            if not self._findings.problems:
                self._findings.add(self._place(index, Part.FORWARD, ()), error.found, error.wanted)
            return
        returns = call.template["role"] == "return"
        known = self._flow.known_at(index) | (1 << index if returns else 0)
        for path, expression in compiled.expressions():
            self._refers(self._place(index, Part.FORWARD, path), expression, step.scope, known)
        inner = step.scope + call.template.get("inner", "")
        for path, expression in compiled.inner_expressions():
            place = self._place(index, Part.FORWARD, path)
            self._refers(place, expression, inner, self._everything)

    def _undoes_by_hand(self, index: int, part: Part, call: Call) -> None:
        """Say where an author seems to undo by hand what would be undone anyway."""
        step = self._plan.steps[index]
        if part is not Part.FORWARD or step.undoes or call.template.get("kind") != "http":
            return
        for other, earlier in enumerate(self._plan.steps):
            undos = earlier.compensation.calls if earlier.compensation else ()
            if other == index or not any(_same_operation(undo, call) for undo in undos):
                continue
            if _same_operation(earlier.call, call):
                continue  # one that writes whatever it is told: done again, it undoes nothing
            if self._flow.leads(other, index):
                self._findings.warn(
                    self._place(index, part, ()),
                    f"{step.id} does what undoes {earlier.id}, which would be undone once more when"
                    f" the run turns back; if it is meant to undo it: x-undoes: [{earlier.id}]",
                )

    def _reference(self, index: int, part: Part, path: Path, expression: Expression) -> None:
        place = self._place(index, part, path)
        if path[0] in _REQUEST_PARTS and expression.root not in BEFORE_SENDING:
            self._findings.add(
                place, f"{expression.text} before there is an answer",
                "$inputs.NAME or $steps.ID.outputs.NAME",
            )  # fmt: skip
        else:
            known = self._flow.known_at(index) | (1 << index if part.is_undo else 0)
            self._refers(place, expression, self._plan.steps[index].scope, known)

    def _refers(self, place: str, expression: Expression, scope: str, known: int) -> None:
        """An expression of a workflow whose steps' ids begin with `scope`.

        `known`: the steps that are certain to have landed when it is read.
        """
        if expression.root is Root.INPUTS:
            self._input(place, expression, scope)
        elif expression.root is Root.STEPS:
            self._output(place, expression, scope, known)
        elif expression.root is Root.WORKFLOWS:
            self._other(place, expression, scope, known)

    def _input(self, place: str, expression: Expression, scope: str) -> None:
        inputs = self._inputs_of(scope)
        if expression.names.isdisjoint(inputs):
            known = ", ".join(sorted(inputs)) or "none is declared"
            self._findings.add(place, expression.text, f"a declared input: {known}")

    def _inputs_of(self, scope: str) -> Mapping[str, object]:
        if not scope:
            return declared_inputs(self._plan.inputs_schema)
        enters = self._plan.steps[self._index[scope[:-1] + INPUTS_OF]]
        return declared_inputs(enters.call.template.get("inputsSchema", {}))

    def _output(self, place: str, expression: Expression, scope: str, known: int) -> None:
        """A step's output that exists by then on every way."""
        produced = self._index.get(scope + expression.step)
        if produced is None:
            names = ", ".join(self._names(scope, self._everything))
            self._findings.add(place, expression.text, f"a step of this workflow: {names}")
        elif not known >> produced & 1:
            earlier = ", ".join(self._names(scope, known)) or "there is none"
            self._findings.add(
                place, f"{expression.text}, which is not known yet", f"an earlier step: {earlier}"
            )
        else:
            self._output_name(place, expression, self._plan.steps[produced].call)

    def _other(self, place: str, expression: Expression, scope: str, known: int) -> None:
        """What a workflow in `dependsOn` took or gave."""
        produced = self._index.get(scope + expression.step)
        if produced is None or not known >> produced & 1:
            self._findings.add(
                place, expression.text,
                "a workflow that dependsOn names; of one that a step calls: $steps.ID.outputs.NAME",
            )  # fmt: skip
        else:
            self._output_name(place, expression, self._plan.steps[produced].call)

    @property
    def _everything(self) -> int:
        return (1 << len(self._plan.steps)) - 1

    def _names(self, scope: str, among: int) -> list[str]:
        """Ids of a workflow's own steps, as it speaks of them."""
        own = (
            step.id.removeprefix(scope)
            for index, step in enumerate(self._plan.steps)
            if step.scope == scope and among >> index & 1
        )
        return [name for name in own if "/" not in name and ":" not in name]

    def _output_name(self, place: str, expression: Expression, call: Call) -> None:
        names = output_names(call)
        if names is not None and expression.names.isdisjoint(names):
            known = ", ".join(sorted(names)) or "it has none"
            self._findings.add(
                place, expression.text, f"an output of step {expression.step}: {known}"
            )

    def _already_done(self, index: int, part: Part, compiled: CompiledCall) -> None:
        for status in compiled.answers.never_hold_for():
            self._findings.add(
                self._place(index, part, ("successCriteria",)),
                f"criteria that never hold for the status {status}, which alreadyDone names",
                f"criteria that count it as success, such as: … || $statusCode == {status}",
            )
        declared = compiled.call.template.get("outputs", {})
        for number, item in enumerate(compiled.call.template.get("alreadyDone", ())):
            for name in item.get("outputs", {}):
                if name not in declared:
                    place = self._place(index, part, ("alreadyDone", number, "outputs", name))
                    self._findings.add(place, f"the output {name}", "an output of this step")

    def _warn(self, index: int, part: Part, call: Call) -> None:
        if call.effects is Effects.UNKEYED and call.verify is None:
            self._findings.warn(
                self._place(index, part, ()),
                f"{call.label} is unkeyed and cannot be verified: in doubt it goes to a person",
            )

    # --- the workflow's outputs -------------------------------------------------------------------

    def _outputs(self) -> None:
        for name, value in self._plan.outputs.items():
            place = self._place(None, Part.FORWARD, ("outputs", name))
            try:
                expressions = list(compile_value(value).expressions())
            except ExpressionError as error:
                self._findings.add(place, error.found, error.wanted)
                continue
            for _, expression in expressions:
                if expression.root in BEFORE_SENDING:
                    self._refers(place, expression, "", self._everything)
                else:
                    wanted = "$inputs.NAME or $steps.ID.outputs.NAME"
                    self._findings.add(place, expression.text, wanted)


def output_names(call: Call) -> frozenset[str] | None:
    """Names of a call's outputs, None when only its run tells."""
    template: Mapping[str, Any] = call.template
    if template.get("kind") == "unread":
        return None
    if is_block(call):
        return frozenset()  # what its branches gave are outputs of their steps
    if call.is_local and template["role"] == "enter":
        return frozenset(declared_inputs(template.get("inputsSchema", {})))
    if call.is_local:
        return frozenset([*template.get("result", {}), *template.get("outputs", {})])
    if template.get("resultIsOutputs"):
        names = template.get("resultNames")
        return frozenset(names) if isinstance(names, list) else None
    outputs = template.get("outputs", {})
    return frozenset(outputs) if isinstance(outputs, Mapping) else frozenset()


def _same_operation(left: Call, right: Call) -> bool:
    return left.api == right.api and all(
        left.template.get(name) == right.template.get(name) for name in ("method", "path")
    )


def calls_of(step: PlanStep) -> Iterator[tuple[Part, Call, Path]]:
    """Each call, which it is, and where it stands among several that undo the step."""
    yield Part.FORWARD, step.call, ()
    if step.call.verify is not None:
        yield Part.VERIFY, step.call.verify, ()
    for number, call in enumerate(step.compensation.calls if step.compensation else ()):
        case: Path = ("otherwise", number - 1) if number else ()
        yield Part.UNDO, call, case
        if call.verify is not None:
            yield Part.VERIFY_UNDO, call.verify, case


def expressions_of(compiled: CompiledCall) -> Iterator[tuple[Path, Expression]]:
    """Every expression of a call, with its place in the template."""
    yield from compiled.request.expressions()
    yield from compiled.answers.expressions()
    for number, item in enumerate(compiled.call.template.get("onlyIf", ())):
        for expression in parse_criterion(item).expressions():
            yield ("onlyIf", number, "condition"), expression
