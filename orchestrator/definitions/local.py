"""Steps that call nothing: where a workflow that another one calls begins, and where it ends.

    kind: local
    role: enter                         role: return
    workflow: refund                    inner: pay/          the called workflow's scope
    arguments: {amount: $inputs.a}      result: {id: $steps.x.outputs.id}   its outputs, seen inside
    inputsSchema: {…}                   outputs, successCriteria            of the calling step

The outputs of the first are the called workflow's inputs, defaults filled in. Those of the second
are the called workflow's outputs and the calling step's own, which may refer to them by the step's
name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.core.exchange import Facts, Judgement, Outcome
from orchestrator.core.plan import Call
from orchestrator.definitions.actions import Actions, Places
from orchestrator.definitions.answers import resolved
from orchestrator.definitions.criteria import parse_criterion
from orchestrator.definitions.expressions import Expression, compile_value
from orchestrator.definitions.inputs import InputsSchema
from orchestrator.definitions.problems import Path
from orchestrator.definitions.scope import Scope
from orchestrator.errors import RefusedError

KIND = "local"


class LocalStep:
    """One such step, compiled. Pure, and done at once."""

    def __init__(self, call: Call, step_id: str, places: Places | None = None) -> None:
        template = call.template
        self._name = step_id.rpartition("/")[2]
        self._enters = template["role"] == "enter"
        self._workflow = template.get("workflow", "")
        self._arguments = compile_value(template.get("arguments", {}), ("arguments",))
        self._schema = InputsSchema(template.get("inputsSchema", {}))
        self._inner = template.get("inner", "")
        self._result = _values(template.get("result", {}), ("result",))
        self._outputs = _values(template.get("outputs", {}), ("outputs",))
        criteria = template.get("successCriteria", ())
        self._criteria = [parse_criterion(item) for item in criteria]
        self.actions = Actions(template, places)

    def judge(self, facts: Facts) -> Judgement:
        """What becomes of it; `facts` are those of the calling workflow."""
        return self._enter(facts) if self._enters else self._return(facts)

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression that speaks of the calling workflow, with its place."""
        yield from self._arguments.expressions()
        for value in self._outputs.values():
            yield from value.expressions()
        for index, condition in enumerate(self._criteria):
            for expression in condition.expressions():
                yield ("successCriteria", index, "condition"), expression
        yield from self.actions.expressions()

    def inner_expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression that speaks of the called workflow."""
        for value in self._result.values():
            yield from value.expressions()

    def _enter(self, facts: Facts) -> Judgement:
        try:
            given = self._arguments.resolve(Scope(facts))
            inputs = self._schema.check(self._workflow, given)
        except RefusedError as error:
            failed = Judgement(outcome=Outcome.NOT_LANDED, reason=str(error))
            return self.actions.without_answer(failed, facts)
        return Judgement(outcome=Outcome.LANDED, outputs=inputs)

    def _return(self, facts: Facts) -> Judgement:
        result = resolved(self._result, Scope(facts.within(self._inner)))
        seen = replace(facts, outputs={**facts.outputs, self._name: result})
        scope = Scope(seen)
        outputs = {**result, **resolved(self._outputs, scope)}
        broken = next((c.said for c in self._criteria if not c.holds(scope)), None)
        if broken is None:
            returned = Judgement(outcome=Outcome.LANDED, outputs=outputs)
            return self.actions.landed(returned, scope)
        failed = Judgement(outcome=Outcome.NOT_LANDED, reason=f"not {broken}")
        return self.actions.failed(failed, scope)


def _values(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    return {name: compile_value(value, (*path, name)) for name, value in data.items()}
