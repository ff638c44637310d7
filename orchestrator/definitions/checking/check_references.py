"""Do references lead somewhere, and is what they name known by then?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from orchestrator.definitions.checking.noting import Notes
from orchestrator.definitions.checking.reading import (
    Call,
    Flow,
    Step,
    Use,
    action_uses,
    uses,
)
from orchestrator.definitions.checking.typing_of import inputs_of
from orchestrator.definitions.checking.ways import Ways
from orchestrator.definitions.expressions import Root

_FEW = 12


def check_references(flow: Flow, ways: Ways, notes: Notes) -> None:
    """Inputs, steps and outputs that expressions name."""
    _References(flow, ways, notes).run()


class _References:
    def __init__(self, flow: Flow, ways: Ways, notes: Notes) -> None:
        self._flow, self._ways, self._notes = flow, ways, notes

    def run(self) -> None:
        for step in self._flow.steps:
            before, perhaps = self._before(step)
            self._all(step.call.sent(), before, perhaps)
            after, perhaps_after = before | {step.index}, perhaps | {step.index}
            self._all(_seen(step), after, perhaps_after)
            self._undo(step, after)
            self._targets(step)
        self._end()

    def _before(self, step: Step) -> tuple[set[int], set[int]]:
        """Steps known before this one, and perhaps known; by order where no way leads to it."""
        if step.index in self._ways.reached:
            return self._ways.known_before(step.index), self._ways.perhaps_before(step.index)
        earlier = set(range(step.index))
        return earlier, earlier

    def _all(self, used: Iterable[Use], known: set[int], perhaps: set[int]) -> None:
        for use in used:
            match use.expression.root:
                case Root.INPUTS:
                    self._input(use)
                case Root.STEPS:
                    self._output(use, known, perhaps)

    def _end(self) -> None:
        known, perhaps = self._ways.known_at_end(), self._ways.perhaps_at_end()
        for value in self._flow.outputs().values():
            # An output that some ways do not give is left out on them; that is as intended.
            self._all(uses(value), known | perhaps, perhaps)

    # --- inputs and outputs -----------------------------------------------------------------------

    def _input(self, use: Use) -> None:
        schema = inputs_of(self._flow)
        if schema.fields():
            declared = schema.child(use.expression.name) is not None
            if declared or not use.expression.names.isdisjoint(schema.fields()):
                return
        elif self._flow.at.has("inputs") and not _names_nothing(self._flow):
            return  # a schema that does not say which inputs there are
        names = sorted(schema.fields())
        close = difflib.get_close_matches(use.expression.name, names, n=1)
        known = _few(names) or "none is declared"
        self._notes.add(
            "undeclared-input", use.at, use.expression.text, f"a declared input: {known}",
            fix=f"$inputs.{close[0]}" if close else "",
        )  # fmt: skip

    def _output(self, use: Use, known: set[int], perhaps: set[int]) -> None:
        step = self._flow.step(use.expression.step)
        text = use.expression.text
        if step is None:
            ids = [s.id for s in self._flow.steps]
            close = difflib.get_close_matches(use.expression.step, ids, n=1)
            fix = (
                text.replace(f"$steps.{use.expression.step}.", f"$steps.{close[0]}.", 1)
                if close
                else ""
            )
            self._notes.add(
                "unknown-step", use.at, text, f"a step of this workflow: {_few(ids)}", fix=fix
            )
            return
        if step.index not in perhaps:
            self._notes.add(
                "not-known-yet", use.at, f"{text}, which is not known yet",
                self._earlier(perhaps), fix=_later_fix(step),
            )  # fmt: skip
        elif step.index not in known and "x-first-of" not in use.at.path:
            self._notes.add(
                "perhaps-not-known", use.at,
                f"{text}, which is known only when {step.id} ran before and succeeded",
                "a value that every way through the workflow gives",
                fix=f"x-first-of: [{text}, …] with what stands for it on the other ways",
            )  # fmt: skip
        self._output_name(use, step)

    def _earlier(self, perhaps: set[int]) -> str:
        ids = [self._flow.steps[index].id for index in sorted(perhaps)]
        return (
            f"an output of a step before it: {_few(ids)}"
            if ids
            else "an input: no step is before it"
        )

    def _output_name(self, use: Use, step: Step) -> None:
        names = output_names(step.call, self._flow)
        name = use.expression.name
        if names is None or not use.expression.names.isdisjoint(names):
            return
        close = difflib.get_close_matches(name, sorted(names), n=1)
        self._notes.add(
            "unknown-output", use.at, use.expression.text,
            f"an output of step {step.id}: {_few(sorted(names)) or 'it has none'}",
            fix=f"$steps.{step.id}.outputs.{close[0]}" if close else "",
        )  # fmt: skip

    # --- undo and jumps ---------------------------------------------------------------------------

    def _undo(self, step: Step, known: set[int]) -> None:
        """An undo runs when what followed is undone: only what came before is sure."""
        for call in (*step.undos, *step.undo_verifies):
            if call is None:
                continue
            for use in (*call.sent(), *_only_if(call)):
                if use.expression.root is Root.INPUTS:
                    self._input(use)
                elif use.expression.root is Root.STEPS:
                    self._undo_output(use, step, known)

    def _undo_output(self, use: Use, undone: Step, known: set[int]) -> None:
        step = self._flow.step(use.expression.step)
        if step is None or step.index in known:
            self._output(use, known, known)
            return
        ids = ", ".join(self._flow.steps[index].id for index in sorted(known))
        self._notes.add(
            "undo-needs-unknown", use.at, f"{use.expression.text}, which is not known yet",
            f"what {undone.id} or a step before it gives: {ids}",
        )  # fmt: skip

    def _targets(self, step: Step) -> None:
        ids = [s.id for s in self._flow.steps]
        flows = [f.id for f in self._flow.document.flows]
        for action in (*step.on_success, *step.on_failure):
            if (
                action.step is not None
                and not action.step.startswith("$")
                and action.step not in ids
            ):
                self._unknown("unknown-step", action.at.path, "stepId", action.step, ids)
            self._workflow(action.at.path, action.workflow, flows)
        self._workflow(step.at.path, step.call.workflow, flows)

    def _workflow(self, path: tuple[str | int, ...], name: str | None, flows: list[str]) -> None:
        if name is not None and not name.startswith("$") and name not in flows:
            self._unknown("unknown-workflow", path, "workflowId", name, flows)

    def _unknown(
        self, rule: str, path: tuple[str | int, ...], field: str, name: str, known: list[str]
    ) -> None:
        close = difflib.get_close_matches(name, known, n=1)
        what = "step of this workflow" if field == "stepId" else "workflow of this document"
        self._notes.add(
            rule, (*path, field), repr(name), f"a {what}: {_few(known)}",
            fix=f"{field}: {close[0]}" if close else "",
        )  # fmt: skip


def output_names(call: Call, flow: Flow) -> set[str] | None:
    """Names of a step's outputs, those of the workflow that it calls among them; None: unknown."""
    names = set(call.outputs())
    if call.workflow is not None:
        called = flow.document.flow(call.workflow)
        return None if called is None else names | set(called.outputs())
    if call.target is not None and call.target.task is not None:
        return None
    return names


def _seen(step: Step) -> Iterator[Use]:
    yield from step.call.seen()
    for action in (*step.on_success, *step.on_failure):
        yield from action_uses(action)
    if step.verify is not None:
        yield from step.verify.sent()


def _only_if(call: Call) -> Iterator[Use]:
    for criterion in call.criteria("onlyIf"):
        if criterion.condition is not None:
            at = criterion.at.child("condition", criterion.condition.text)
            for expression in criterion.condition.expressions():
                yield Use(at, expression)


def _later_fix(step: Step) -> str:
    return f"move {step.id} before this step" if step.id else ""


def _names_nothing(flow: Flow) -> bool:
    """Whether the inputs' schema is of the usual kind and names none."""
    given = flow.at.value.get("inputs")
    return isinstance(given, dict) and set(given) <= {"type", "description", "title", "required"}


def _few(names: list[str]) -> str:
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")
