"""A plan made executable: requests, judgements and outputs from the run's facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.core.exchange import (
    Facts,
    FrozenRequest,
    Judgement,
    NothingToUndo,
    Outcome,
    Response,
    idempotency_key,
)
from orchestrator.core.joining import JoinedPlan, own_steps
from orchestrator.core.plan import Call, Plan
from orchestrator.core.states import Direction
from orchestrator.definitions.actions import Places
from orchestrator.definitions.answers import AnswerRules, resolved
from orchestrator.definitions.attributes import Attributes
from orchestrator.definitions.criteria import Criterion, parse_criterion
from orchestrator.definitions.encoding import refused
from orchestrator.definitions.escalation_rules import EscalationRules
from orchestrator.definitions.expressions import compile_value
from orchestrator.definitions.four_eyes import FourEyes
from orchestrator.definitions.inputs import InputsSchema
from orchestrator.definitions.local import LocalStep
from orchestrator.definitions.requests import RequestMaker, request_maker
from orchestrator.definitions.scope import Exchange, Scope
from orchestrator.definitions.secrets import Secrets
from orchestrator.definitions.spending import Spending


@dataclass(frozen=True, slots=True)
class CompiledCall:
    """One call with all its expressions read."""

    call: Call
    request: RequestMaker
    answers: AnswerRules
    only_if: tuple[Criterion, ...]
    verify: CompiledCall | None


def compile_call(call: Call, places: Places | None = None) -> CompiledCall:
    """Read a call's template, its verification's too; `places` says where its actions lead.

    Raises ExpressionError.
    """
    return CompiledCall(
        call=call,
        request=request_maker(call),
        answers=AnswerRules(call, places),
        only_if=tuple(parse_criterion(c) for c in call.template.get("onlyIf", ())),
        verify=None if call.verify is None else compile_call(call.verify),
    )


class Program:
    """Each call of a plan, compiled once. Pure: the same facts always give the same bytes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        own, places = own_steps(plan), Places(plan)
        self._forward = [
            None if step.call.is_local else compile_call(step.call, places) for step in own
        ]
        self._local = {
            index: LocalStep(step.call, step.id, places)
            for index, step in enumerate(own) if step.call.is_local
        }  # fmt: skip
        self._backward = [
            () if step.compensation is None else tuple(map(compile_call, step.compensation.calls))
            for step in own
        ]
        if isinstance(plan, JoinedPlan):
            self._join(Program(plan.before))
        self.four_eyes = FourEyes(plan.four_eyes)
        self.escalation = EscalationRules(plan.escalation)
        self.secrets = Secrets(plan)
        self.spending = Spending(plan.budget, plan.intent)
        self.attributes = Attributes(plan.attributes, self.secrets)
        self._inputs = InputsSchema(plan.inputs_schema)
        self._outputs = {
            name: compile_value(value, ("outputs", name)) for name, value in plan.outputs.items()
        }

    def _join(self, before: Program) -> None:
        """With the calls of what the run followed before: they lead where they led there."""
        own = len(self._forward)
        self._forward += before._forward
        self._local |= {own + index: step for index, step in before._local.items()}
        self._backward += before._backward

    def check_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs with defaults filled in. Raises InvalidInput naming every field."""
        return self._inputs.check(self.plan.workflow, inputs)

    def base_urls(self) -> dict[str, str]:
        """The address of each API of which a document gives one."""
        undos = [one for calls in self._backward for one in calls]
        calls = [one for one in (*self._forward, *undos) if one is not None]
        calls += [one.verify for one in calls if one.verify is not None]
        found: dict[str, str] = {}
        for compiled in calls:
            if url := compiled.call.template.get("baseUrl"):
                found.setdefault(compiled.call.api, url)
        return found

    def output_names(self, step_index: int) -> frozenset[str] | None:
        """What a step's forward action may give; None: whatever its function returns."""
        compiled = self._forward[step_index]
        return frozenset() if compiled is None else compiled.answers.output_names

    def actions_of(self, step_index: int) -> list[Mapping[str, Any]]:
        """The actions that a step's author gave it, in words, as `Applied` has them."""
        compiled = self._forward[step_index]
        return [] if compiled is None else list(compiled.answers.actions.told())

    def prepare(
        self, step_index: int, direction: Direction, facts: Facts, *, iteration: int = 0
    ) -> FrozenRequest | NothingToUndo:
        """The request of a link, or why its undo is not needed. `step_index` is the plan's.

        Raises RequestRefused (UnresolvedExpression) when the facts do not yield a request.
        """
        scope = self._scope(step_index, facts)
        if direction is Direction.FORWARD:
            return self._make(self._ahead(step_index), step_index, direction, scope, iteration)
        compiled = self._undo(step_index, scope)
        if isinstance(compiled, NothingToUndo):
            return compiled
        return self._make(compiled, step_index, direction, scope, iteration)

    def undoing(self, step_index: int, facts: Facts) -> Call:
        """Which of its calls undoes a step as it went, once `prepare` has given its request."""
        return self._call(step_index, Direction.BACKWARD, self._scope(step_index, facts)).call

    def prepare_verify(
        self, step_index: int, direction: Direction, facts: Facts, *, iteration: int = 0
    ) -> FrozenRequest:
        """The request that asks whether a doubtful link landed. Raises RequestRefused."""
        scope = self._scope(step_index, facts)
        compiled = self._verify(step_index, direction, scope)
        return self._make(compiled, step_index, direction, scope, iteration)

    def judge(
        self,
        step_index: int,
        direction: Direction,
        facts: Facts,
        request: FrozenRequest,
        response: Response,
        *,
        verify: bool = False,
    ) -> Judgement:
        """What an answer means for its link. Never raises for what an API may answer."""
        call = self._verify if verify else self._call
        compiled = call(step_index, direction, self._scope(step_index, facts))
        exchange = Exchange(request, response, request_value=compiled.request.value_of)
        scope = self._scope(step_index, facts, exchange)
        if not verify:
            return compiled.answers.judge(scope, exchange)
        judgement = compiled.answers.judge_verification(scope, exchange)
        if judgement.outcome is Outcome.LANDED and direction is Direction.FORWARD:
            return self._ahead(step_index).answers.actions.landed(judgement, scope)
        return self.without_answer(step_index, direction, facts, judgement)

    def without_answer(
        self, step_index: int, direction: Direction, facts: Facts, judgement: Judgement
    ) -> Judgement:
        """The same judgement, with what the step's actions say to it without seeing an answer."""
        if direction is Direction.BACKWARD:
            return judgement
        actions = self._ahead(step_index).answers.actions
        return actions.without_answer(judgement, self._within(step_index, facts))

    def judge_local(self, step_index: int, facts: Facts) -> Judgement:
        """What becomes of a step that calls nothing."""
        return self._local[step_index].judge(self._within(step_index, facts))

    def outputs(self, facts: Facts) -> dict[str, Any]:
        """The workflow's outputs; those that lead nowhere in this run are left out."""
        return resolved(self._outputs, Scope(facts))

    def _ahead(self, step_index: int) -> CompiledCall:
        compiled = self._forward[step_index]
        assert compiled is not None, f"step {self.plan.steps[step_index].id} calls nothing there"
        return compiled

    def _call(self, step_index: int, direction: Direction, scope: Scope) -> CompiledCall:
        """What was called. It is found anew: what a step's undo depends on does not change."""
        if direction is Direction.FORWARD:
            return self._ahead(step_index)
        undos = self._backward[step_index]
        return undos[0] if len(undos) == 1 else self._case(undos, scope)

    def _undo(self, step_index: int, scope: Scope) -> CompiledCall | NothingToUndo:
        """What undoes a step as it went. Raises RequestRefused where no case of several holds."""
        undos = self._backward[step_index]
        if len(undos) > 1:
            due = self._case(undos, scope)
            reason = due.call.template.get("nothing")
            return due if reason is None else NothingToUndo(reason=reason)
        broken = _broken(undos[0], scope)
        return undos[0] if broken is None else NothingToUndo(reason=f"not {broken.said}")

    def _case(self, undos: Sequence[CompiledCall], scope: Scope) -> CompiledCall:
        """The first of several that holds. Raises RequestRefused."""
        said = []
        for one in undos:
            broken = _broken(one, scope)
            if broken is None:
                return one
            said.append(broken.said)
        # Whatever the step did, nobody has said what undoes it.
        found = "none of: " + "; ".join(said)
        raise refused(undos[0].call.label, found, "a case of x-compensation that holds")

    def _scope(self, step_index: int, facts: Facts, exchange: Exchange | None = None) -> Scope:
        return Scope(self._within(step_index, facts), exchange)

    def _within(self, step_index: int, facts: Facts) -> Facts:
        scope = self.plan.steps[step_index].scope
        return facts.within(scope) if scope else facts

    def _verify(self, step_index: int, direction: Direction, scope: Scope) -> CompiledCall:
        compiled = self._call(step_index, direction, scope)
        if compiled.verify is None and "nothing" in compiled.call.template:
            found = "a case in which nothing is undone"
            raise refused(compiled.call.label, found, "one with a verification")
        assert compiled.verify is not None, f"{compiled.call.label} has no verification"
        return compiled.verify

    def _make(
        self,
        compiled: CompiledCall,
        step_index: int,
        direction: Direction,
        scope: Scope,
        iteration: int,
    ) -> FrozenRequest:
        step_id = self.plan.steps[step_index].id
        key = idempotency_key(scope.facts.run_id, step_id, direction, iteration)
        try:
            return compiled.request.make(scope, key)
        except UnicodeEncodeError as error:
            found = f"a lone surrogate at character {error.start}"
            raise refused(compiled.call.label, found, "text that UTF-8 can hold") from None


def _broken(compiled: CompiledCall, scope: Scope) -> Criterion | None:
    """The first condition of an undo that does not hold."""
    return next((test for test in compiled.only_if if not test.holds(scope)), None)
