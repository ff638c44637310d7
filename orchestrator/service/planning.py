"""What a run would do, as far as its inputs decide: nothing is sent, and nothing is kept.

What only a step's answer tells stands there by its name, as `{$steps.reserve.outputs.id}`. Requests
are made by the same program that makes those of a run, so a plan cannot differ from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from orchestrator.core.exchange import Facts, FrozenRequest, NothingToUndo
from orchestrator.core.guarding import amount_told
from orchestrator.core.plan import PlanStep
from orchestrator.core.redaction import HIDDEN, Rules
from orchestrator.core.states import Direction
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.errors import RefusedError
from orchestrator.ports import Agent, WorkflowVersion
from orchestrator.service.guarding import Guards
from orchestrator.service.submitting import charge_of
from orchestrator.telemetry import redact

LONGEST_BODY = 2000
FORM = "application/x-www-form-urlencoded"
OF_THE_RUN = "(made for the run)"
"""In place of an idempotency key: it depends on the run, which there is none of."""
_MARK = re.compile(r"zq(\d{4})qz")


class Planning:
    """Makes plans of runs. `base_url`: where an API is by its configuration, if that says so."""

    def __init__(
        self, programs: Programs, base_url: Callable[[str], str | None], guards: Guards
    ) -> None:
        self._programs, self._base_url, self._guards = programs, base_url, guards

    async def plan(
        self, version: WorkflowVersion, inputs: Mapping[str, Any], agent: Agent
    ) -> dict[str, Any]:
        """Its steps with their requests and undos, what it spends, and what its policy refuses.

        Plain JSON, without what is empty. Raises InvalidInput, Untrusted.
        """
        program = await self._programs.trusted(version.id)
        checked = program.check_inputs(inputs)
        charge = charge_of(program, checked)
        judged = await self._guards.judged(charge, agent)
        told: dict[str, Any] = {"steps": list(_Draft(program, checked, self._where).steps())}
        if charge.currency:
            told["spends"] = f"{amount_told(charge.amount)} {charge.currency}"
        if judged.refused:
            told["refused"] = [
                f"{p.place}: found {p.found}; wanted {p.wanted}" for p in judged.refused
            ]
        elif judged.asked:
            told["approval"] = [f"found {q.found}; wanted {q.wanted}" for q in judged.asked]
        return told

    def _where(self, api: str) -> str:
        return (self._base_url(api) or self._programs.base_url(api) or "").rstrip("/")


class _Draft:
    """One plan in the making."""

    def __init__(
        self, program: Program, inputs: Mapping[str, Any], where: Callable[[str], str]
    ) -> None:
        self._program, self._where, self._marks = program, where, _Marks()
        self._rules: Rules = redact.rules() | program.secrets.of_run(inputs, {})
        self._facts = Facts(run_id="", inputs=inputs)

    def steps(self) -> Iterator[dict[str, Any]]:
        """In the straight order: where jumps lead is told by answers."""
        for index, step in enumerate(self._program.plan.steps):
            if step.call.is_local:
                self._know(step, self._given(index, step))
                continue
            told = {"step": step.id, **self._link(index, step)}
            self._know(step, _Later(step.id, self._marks))
            yield told | self._undo(index, step)

    def _know(self, step: PlanStep, outputs: Mapping[str, Any]) -> None:
        known = {**self._facts.outputs, step.id: outputs}
        self._facts = Facts(run_id="", inputs=self._facts.inputs, outputs=known)

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
