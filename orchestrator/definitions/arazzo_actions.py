"""Reads `onSuccess` and `onFailure` actions: where a workflow goes on after a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from orchestrator.definitions.arazzo_criteria import conditions
from orchestrator.definitions.arazzo_parts import filled, resolved
from orchestrator.definitions.cursor import Cursor

_FIELDS = {"name", "type", "criteria", "reference"}
_ELSEWHERE = {"stepId", "workflowId", "parameters"}
_AGAIN = {"retryAfter", "retryLimit"}
_SUCCESS = ("goto", "end")
_FAILURE = ("retry", "goto", "end")


@dataclass(frozen=True, slots=True)
class StepActions:
    """The actions of one step, as a template keeps them; see `actions`."""

    success: Sequence[Mapping[str, Any]] = ()
    failure: Sequence[Mapping[str, Any]] = ()
    outer: Sequence[Sequence[Mapping[str, Any]]] = field(default=())

    def retries_of_the_request(self) -> list[Mapping[str, Any]]:
        """Those that send it again as it is."""
        return [one for one in self.failure if "type" not in one and "again" not in one]

    def fields(self) -> dict[str, Any]:
        """What of them goes into a template."""
        outer = [list(level) for level in self.outer]
        return filled(
            onSuccess=list(self.success), onFailure=list(self.failure),
            outerFailure=outer if any(outer) else [],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ActionReader:
    """Reads the actions of one workflow's steps, wherever that workflow is called."""

    components: Cursor | None
    success: tuple[Cursor, ...]  # of the workflow: for all its steps
    failure: tuple[Cursor, ...]
    scope: str  # what its steps' ids begin with
    steps: frozenset[str]  # ids of its steps
    workflow: str  # its own id
    returns: str | None  # where it returns to, the id of a local step; None: it is the run itself
    begin: str  # id of its first step
    block: Callable[[Cursor, str], str | None]  # the steps of another workflow, by the action

    def read(self, step: Cursor, step_id: str, *, is_call: bool) -> StepActions:
        """All of a step. `is_call`: it calls a workflow."""
        success = [self._success(one) for one in self._all(step, "onSuccess", self.success)]
        failure = [
            self._failure(one, step_id, is_call=is_call)
            for one in self._all(step, "onFailure", self.failure)
        ]
        return StepActions(
            success=[action for action in success if action is not None],
            failure=[action for action in failure if action is not None],
        )

    def _all(self, step: Cursor, name: str, shared: Sequence[Cursor]) -> list[Cursor]:
        """The step's own, and those of the workflow that it does not override by name."""
        read = [resolved(item, self.components) for item in step.items(name)]
        own = [item for item in read if item is not None and item.is_object()]
        names = [item.value["name"] for item in own if item.has("name")]  # whatever they are
        return [*own, *(item for item in shared if item.value.get("name") not in names)]

    def _success(self, at: Cursor) -> dict[str, Any] | None:
        idle = _ELSEWHERE
        match self._kind(at, _SUCCESS):
            case "goto":
                _only(at, _ELSEWHERE, idle=idle)
                return self._goto(at)
            case "end":
                _only(at, set(), idle=idle)
                return self._end() | _more(at)
            case _:
                return None

    def _failure(self, at: Cursor, step_id: str, *, is_call: bool) -> dict[str, Any] | None:
        idle = _ELSEWHERE | _AGAIN
        match self._kind(at, _FAILURE):
            case "goto":
                _only(at, _ELSEWHERE, idle=idle)
                return self._goto(at)
            case "retry":
                return self._retry(at, step_id, is_call=is_call)
            case "end":
                _only(at, set(), idle=idle)
                return {"type": "end"} | _more(at)
            case _:
                return None

    def _kind(self, at: Cursor, kinds: tuple[str, ...]) -> str | None:
        if at.text("type", required=True) is None:
            return None
        return at.choice("type", kinds)

    def _end(self) -> dict[str, Any]:
        """The end of this workflow, which need not be that of the run."""
        return {"type": "end"} if self.returns is None else {"type": "return", "step": self.returns}

    def _goto(self, at: Cursor) -> dict[str, Any] | None:
        step = self._target(at)
        if step is None:
            if not (at.has("stepId") or at.has("workflowId")):
                at.bad("stepId or workflowId", found="neither")
            return None
        return {"type": "goto", "step": step} | _more(at)

    def _target(self, at: Cursor) -> str | None:
        """The step that an action names, or the first of the workflow that it names."""
        step, workflow = at.text("stepId"), at.text("workflowId")
        if step is not None and workflow is not None:
            at.bad("stepId or workflowId, not both")
            return None
        if workflow is not None:
            item = at.child("workflowId", workflow)
            return self.begin if workflow == self.workflow else self.block(at, item.value)
        if step is None:
            return None
        name = step.removeprefix("$steps.")
        if name not in self.steps:
            known = ", ".join(sorted(self.steps))
            at.child("stepId", step).bad(f"a step of this workflow: {known}")
            return None
        return self.scope + name

    def _retry(self, at: Cursor, step_id: str, *, is_call: bool) -> dict[str, Any] | None:
        _only(at, _ELSEWHERE | _AGAIN)
        limit = at.number("retryLimit", whole=True)
        action = (
            {"retryLimit": 1 if limit is None else int(limit)}
            | filled(retryAfter=at.number("retryAfter"))
            | _more(at)
        )
        via = self._target(at)
        if via is None and (at.has("stepId") or at.has("workflowId")):
            return None  # and noted
        if via == step_id:
            via = None  # the step itself: as if nothing were said
        if via is None and not is_call:
            return action
        if is_call:
            at.warn(
                "a retry begins the called workflow anew; what it has done stands until the run"
                " turns back, and is undone then"
            )
        return action | {"again": step_id} | filled(via=via)


def _more(at: Cursor) -> dict[str, Any]:
    """What every action may say: when it applies, and its name, which tells people of it."""
    return filled(criteria=conditions(at, "criteria"), name=at.text("name"))


def _only(at: Cursor, fields: set[str], *, idle: Set[str] = frozenset()) -> None:
    """Note what has no place in an action; of what has one in other types (`idle`), only warn."""
    at.only(_FIELDS | fields | idle)
    for name in sorted((set(at.value) & idle) - fields):
        at.warn(f"{name} says nothing in an action of type {at.value.get('type')}")
