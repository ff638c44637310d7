"""What a step's actions say to its outcome: the same request again, other steps, or the end.

A template keeps Arazzo's names; targets are ids of plan steps, worked out when it was read:

    onSuccess: [{type: goto, step: ID}, {type: end}, {type: return, step: ID}]
    onFailure: [{retryLimit: 2, retryAfter: 1}, {retryLimit: 1, via: ID, again: ID}, {type: end}]
    outerFailure: [[…], …]     of the steps that call the workflow in which this one is, inner first

The first action whose criteria hold counts. A retry whose limit is reached does not any more, so
that the actions after it have their turn. `end` hands a failure of a called workflow to the step
that called it; where nobody called, the run turns back. `return` leads to the end of that step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core.events import Move
from orchestrator.core.exchange import Facts, Judgement, Outcome
from orchestrator.core.plan import Plan
from orchestrator.definitions.criteria import Criterion, parse_criterion
from orchestrator.definitions.expressions import Expression
from orchestrator.definitions.problems import Path
from orchestrator.definitions.scope import Scope

INPUTS_OF = "/$inputs"
"""After the id of a step that calls a workflow: the id of the local step which makes the inputs."""


class Places:
    """Where the steps of a plan stand: a step that calls a workflow is all its steps together."""

    def __init__(self, plan: Plan) -> None:
        self._last = {step.id: index for index, step in enumerate(plan.steps)}

    def first(self, step_id: str) -> int:
        """Where the step begins. Raises KeyError."""
        return self._last.get(step_id + INPUTS_OF, self._last[step_id])

    def last(self, step_id: str) -> int:
        """Where it ends. Raises KeyError."""
        return self._last[step_id]


@dataclass(frozen=True, slots=True)
class Action:
    """One action, read."""

    criteria: tuple[Criterion, ...]
    is_retry: bool  # of the same request
    after_seconds: float | None
    move: Move | None  # None: a retry of the same request, or the end of a failure

    def holds(self, scope: Scope) -> bool:
        """Whether it applies."""
        return all(condition.holds(scope) for condition in self.criteria)


class Actions:
    """The actions of one call."""

    def __init__(self, template: Mapping[str, Any], places: Places | None) -> None:
        self._template, self._places = template, places
        self._success = tuple(self._action(one) for one in template.get("onSuccess", ()))
        levels = [template.get("onFailure", ()), *template.get("outerFailure", ())]
        self._failure = tuple(tuple(self._action(one) for one in level) for level in levels)
        self._retries = any(action.is_retry for action in self._failure[0])
        self._is_silent = not any(self._failure)

    def landed(self, scope: Scope) -> tuple[Move, ...]:
        """Where to go on after a step that went as wanted; nothing: with the next one."""
        for action in self._success:
            if action.holds(scope):
                return (action.move or Move(),)
        return ()

    def failed(self, judgement: Judgement, scope: Scope) -> Judgement:
        """A failure, with what the actions say to it.

        What may go better by itself (the API asks to come back later) is tried again first, as it
        is where no action applies; but at once for an action with criteria that name this failure.
        A step that names its retries itself has no others.
        """
        if self._is_silent:
            return judgement
        retry, moves, is_named = self._of_failure(scope)
        if judgement.outcome is not Outcome.NOT_LANDED:
            return replace(judgement, moves=moves)
        after = judgement.retry_after_seconds
        if retry is not None and after is None:
            after = retry.after_seconds
        if is_named or self._retries:
            judgement = replace(judgement, retryable=retry is not None, retry_after_seconds=after)
        return replace(judgement, moves=moves)

    def without_answer(self, judgement: Judgement, facts: Facts) -> Judgement:
        """Of a call that was not answered: only criteria that need no answer can hold."""
        if self._is_silent:
            return judgement
        _, moves, _ = self._of_failure(Scope(facts))
        return replace(judgement, moves=moves)

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression of the step's own actions, with its place in the template."""
        for name in ("onSuccess", "onFailure"):
            for index, one in enumerate(self._template.get(name, ())):
                for number, item in enumerate(one.get("criteria", ())):
                    for expression in parse_criterion(item).expressions():
                        yield (name, index, "criteria", number, "condition"), expression

    # --- parts ------------------------------------------------------------------------------------

    def _of_failure(self, scope: Scope) -> tuple[Action | None, tuple[Move, ...], bool]:
        """A retry of the request, the moves to try in turn after it.

        And whether the first action that applies has criteria, which then name this failure.
        """
        retry: Action | None = None
        moves: list[Move] = []
        is_named: bool | None = None
        for level in self._failure:
            for action in level:
                if not action.holds(scope):
                    continue
                is_named = bool(action.criteria) if is_named is None else is_named
                if action.is_retry:
                    retry = retry if retry or moves else action
                elif action.move is None:
                    break  # the end, at this level
                else:
                    moves.append(action.move)
                    if action.move.limit is None:
                        return retry, tuple(moves), bool(is_named)
            if scope.facts.outer is None:
                break
            scope = Scope(scope.facts.outer)
        return retry, tuple(moves), bool(is_named)

    def _action(self, data: Mapping[str, Any]) -> Action:
        kind = data.get("type", "retry")
        is_retry = kind == "retry" and "again" not in data
        return Action(
            criteria=tuple(parse_criterion(item) for item in data.get("criteria", ())),
            is_retry=is_retry, after_seconds=data.get("retryAfter"),
            move=None if is_retry or kind == "end" else self._move(data),
        )  # fmt: skip

    def _move(self, data: Mapping[str, Any]) -> Move | None:
        places = self._places
        if places is None:  # a call by itself, outside of any plan
            return None
        if data.get("type") == "goto":
            return Move(to=places.first(data["step"]))
        if data.get("type") == "return":
            return Move(to=places.last(data["step"]))
        via = data.get("via")
        return Move(
            to=places.first(data["again"]), limit=data["retryLimit"],
            via=None if via is None else (places.first(via), places.last(via)),
            after_seconds=data.get("retryAfter"),
        )  # fmt: skip


def lead_elsewhere(template: Mapping[str, Any]) -> bool:
    """Whether a template has actions other than retries of the same request."""
    return bool(template.get("onSuccess") or template.get("outerFailure")) or any(
        "type" in action or "again" in action for action in template.get("onFailure", ())
    )


def levels_of(template: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
    """The failure actions of a template by level, its own first."""
    return [template.get("onFailure", ()), *template.get("outerFailure", ())]
