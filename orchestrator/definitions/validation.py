"""Rules that every plan keeps, whichever front end it came from.

Every reference resolves; what a call consumes is known when it is made; every effect can be
undone, or somebody has written why not, or it lies at or after the pivot; what follows the pivot is
never undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum

from orchestrator.core.plan import Call, Effects, Plan, PlanStep
from orchestrator.definitions.conditions import parse_condition
from orchestrator.definitions.expressions import (
    BEFORE_SENDING,
    Expression,
    Root,
    compile_value,
)
from orchestrator.definitions.inputs import declared_inputs
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


class _Validation:
    def __init__(self, plan: Plan, place: Place, findings: Findings) -> None:
        self._plan, self._place, self._findings = plan, place, findings
        self._inputs = declared_inputs(plan.inputs_schema)
        self._index = {step.id: index for index, step in enumerate(plan.steps)}

    def run(self) -> None:
        self._size()
        self._pivot()
        for index, step in enumerate(self._plan.steps):
            self._undoable(index, step)
            for part, call in _calls(step):
                self._call(index, part, call)
        self._outputs()

    # --- the chain --------------------------------------------------------------------------------

    def _size(self) -> None:
        steps = len(self._plan.steps)
        if not 0 < steps <= MAX_STEPS:
            place = self._place(None, Part.FORWARD, ("steps",))
            self._findings.add(place, f"{steps} steps", f"1 to {MAX_STEPS} steps")
        if len(self._index) != steps:
            ids = [step.id for step in self._plan.steps]
            for index, step_id in enumerate(ids):
                if step_id in ids[:index]:
                    place = self._place(index, Part.FORWARD, ())
                    self._findings.add(place, f"the step {step_id} again", "each step id once")

    def _pivot(self) -> None:
        pivots = [index for index, step in enumerate(self._plan.steps) if step.pivot]
        for index in pivots[1:]:
            place = self._place(index, Part.FORWARD, ("x-pivot",))
            first = self._plan.steps[pivots[0]].id
            self._findings.add(place, "a second pivot", f"one pivot; it is {first}")

    def _undoable(self, index: int, step: PlanStep) -> None:
        pivot = self._plan.pivot_index
        has_effect = step.call.effects is not Effects.NONE
        after = pivot is not None and index > pivot
        if after and step.compensation is not None:
            self._findings.add(
                self._place(index, Part.FORWARD, ("x-compensation",)),
                f"a compensation after the pivot {self._plan.steps[pivot or 0].id}",
                "none: from the pivot on a run only goes forward",
            )
        if after or not has_effect or step.compensation or step.no_compensation_reason:
            return
        if pivot is not None and index == pivot:
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
        try:
            compiled = compile_call(call)
        except ExpressionError as error:
            if not self._findings.problems:  # a front end that did not look at each text itself
                self._findings.add(self._place(index, part, ()), error.found, error.wanted)
            return
        for path, expression in _expressions_of(compiled):
            self._reference(index, part, path, expression)
        self._already_done(index, part, compiled)
        self._warn(index, part, call)

    def _reference(self, index: int, part: Part, path: Path, expression: Expression) -> None:
        place = self._place(index, part, path)
        if path[0] in _REQUEST_PARTS and expression.root not in BEFORE_SENDING:
            self._findings.add(
                place, f"{expression.text} before there is an answer",
                "$inputs.NAME or $steps.ID.outputs.NAME",
            )  # fmt: skip
        elif expression.root is Root.INPUTS:
            self._input(place, expression)
        elif expression.root is Root.STEPS:
            self._output(place, expression, before=index + 1 if part.is_undo else index)

    def _input(self, place: str, expression: Expression) -> None:
        whole = ".".join([expression.name, *map(str, expression.accessors)])
        if expression.name not in self._inputs and whole not in self._inputs:
            known = ", ".join(sorted(self._inputs)) or "none is declared"
            self._findings.add(place, expression.text, f"a declared input: {known}")

    def _output(self, place: str, expression: Expression, *, before: int) -> None:
        """A step's output that exists by the time step number `before` begins."""
        produced = self._index.get(expression.step)
        if produced is None:
            known = ", ".join(self._index)
            self._findings.add(place, expression.text, f"a step of this workflow: {known}")
        elif produced >= before:
            earlier = ", ".join(step.id for step in self._plan.steps[:before]) or "there is none"
            self._findings.add(
                place, f"{expression.text}, which is not known yet", f"an earlier step: {earlier}"
            )
        else:
            self._output_name(place, expression, self._plan.steps[produced].call)

    def _output_name(self, place: str, expression: Expression, call: Call) -> None:
        names = output_names(call)
        whole = ".".join([expression.name, *map(str, expression.accessors)])
        if names is not None and expression.name not in names and whole not in names:
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
                if expression.root is Root.INPUTS:
                    self._input(place, expression)
                elif expression.root is Root.STEPS:
                    self._output(place, expression, before=len(self._plan.steps))
                else:
                    wanted = "$inputs.NAME or $steps.ID.outputs.NAME"
                    self._findings.add(place, expression.text, wanted)


def output_names(call: Call) -> frozenset[str] | None:
    """Names of a call's outputs, None when only its run tells."""
    template: Mapping[str, object] = call.template
    if template.get("kind") == "unread":
        return None
    if template.get("resultIsOutputs"):
        names = template.get("resultNames")
        return frozenset(names) if isinstance(names, list) else None
    outputs = template.get("outputs", {})
    return frozenset(outputs) if isinstance(outputs, Mapping) else frozenset()


def _calls(step: PlanStep) -> Iterator[tuple[Part, Call]]:
    yield Part.FORWARD, step.call
    if step.call.verify is not None:
        yield Part.VERIFY, step.call.verify
    if step.compensation is not None:
        yield Part.UNDO, step.compensation.call
        if step.compensation.call.verify is not None:
            yield Part.VERIFY_UNDO, step.compensation.call.verify


def _expressions_of(compiled: CompiledCall) -> Iterator[tuple[Path, Expression]]:
    yield from compiled.request.expressions()
    yield from compiled.answers.expressions()
    for number, item in enumerate(compiled.call.template.get("onlyIf", ())):
        for expression in parse_condition(item["condition"]).expressions():
            yield ("onlyIf", number, "condition"), expression
