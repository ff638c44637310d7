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
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.core.events import Move
from orchestrator.core.exchange import Applied, Facts, Judgement, Outcome
from orchestrator.core.joining import own_steps
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
        self._last = {step.id: index for index, step in enumerate(own_steps(plan))}

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
    most_attempts: int  # of a retry of the same request: with the first one
    move: Move | None  # None: a retry of the same request, or the end of a failure
    told: Mapping[str, Any]  # itself in words, see `Applied`

    def holds(self, scope: Scope) -> bool:
        """Whether it applies."""
        return all(condition.holds(scope) for condition in self.criteria)

    @property
    def is_end(self) -> bool:
        """Whether it ends the workflow in failure."""
        return not self.is_retry and self.move is None


@dataclass(slots=True)
class _Found:
    """The actions that apply to a failure."""

    retry: Action | None = None  # of the same request
    most_attempts: int = 1  # of all that want it again
    moves: list[Action] = field(default_factory=list)  # to try in turn after it
    end: Action | None = None
    first: Action | None = None

    @property
    def is_named(self) -> bool:
        """Whether the first one has criteria, which then name this failure."""
        return self.first is not None and bool(self.first.criteria)

    def add(self, action: Action) -> bool:
        """One more; True when none after it, at any level, has a turn."""
        self.first = self.first or action
        if action.is_retry:
            if not self.moves:
                self.retry = self.retry or action
                self.most_attempts = max(self.most_attempts, action.most_attempts)
        elif action.move is None:
            self.end = action
        else:
            self.moves.append(action)
            return action.move.limit is None
        return False

    def put_into(self, judgement: Judgement) -> Judgement:
        """A judgement with them."""
        if self.first is None:
            return judgement
        applied = Applied(
            retry=None if self.retry is None else self.retry.told,
            moves=tuple(action.told for action in self.moves),
            end=None if self.end is None else self.end.told,
        )
        moves = tuple(action.move for action in self.moves if action.move is not None)
        return replace(judgement, moves=moves, applied=applied)


class Actions:
    """The actions of one call."""

    def __init__(self, template: Mapping[str, Any], places: Places | None) -> None:
        self._template, self._places = template, places
        self._success = tuple(self._action(one, "success") for one in template.get("onSuccess", ()))
        levels = [template.get("onFailure", ()), *template.get("outerFailure", ())]
        self._failure = tuple(
            tuple(self._action(one, "failure") for one in level) for level in levels
        )
        self._retries = any(action.is_retry for action in self._failure[0])
        self._is_silent = not any(self._failure)

    def told(self) -> Iterator[Mapping[str, Any]]:
        """Each of the step's own actions in words, as `Applied` has them."""
        for action in (*self._success, *self._failure[0]):
            yield action.told

    def landed(self, judgement: Judgement, scope: Scope) -> Judgement:
        """A success, with where to go on; nothing: with the next step."""
        for action in self._success:
            if action.holds(scope):
                applied = Applied(moves=(action.told,))
                return replace(judgement, moves=(action.move or Move(),), applied=applied)
        return judgement

    def failed(self, judgement: Judgement, scope: Scope) -> Judgement:
        """A failure, with what the actions say to it.

        What may go better by itself (the API asks to come back later) is tried again first, as it
        is where no action applies; but at once for an action with criteria that name this failure.
        A step that names its retries itself has no others.
        """
        if self._is_silent:
            return judgement
        found = self._of_failure(scope)
        judgement = found.put_into(judgement)
        if judgement.outcome is not Outcome.NOT_LANDED:
            return judgement
        after, retry = judgement.retry_after_seconds, found.retry
        if retry is not None and after is None:
            after = retry.after_seconds
        if found.is_named or self._retries:
            return replace(
                judgement, retryable=retry is not None, retry_after_seconds=after,
                most_attempts=None if retry is None else found.most_attempts,
            )  # fmt: skip
        return judgement

    def without_answer(self, judgement: Judgement, facts: Facts) -> Judgement:
        """Of a call that was not answered: only criteria that need no answer can hold."""
        if self._is_silent:
            return judgement
        return self._of_failure(Scope(facts)).put_into(judgement)

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression of the step's own actions, with its place in the template."""
        for name in ("onSuccess", "onFailure"):
            for index, one in enumerate(self._template.get(name, ())):
                for number, item in enumerate(one.get("criteria", ())):
                    for expression in parse_criterion(item).expressions():
                        yield (name, index, "criteria", number, "condition"), expression

    # --- parts ------------------------------------------------------------------------------------

    def _of_failure(self, scope: Scope) -> _Found:
        """The actions that apply, in turn: those after one that is final have none."""
        found = _Found()
        for level in self._failure:
            for action in level:
                if not action.holds(scope):
                    continue
                if found.add(action):
                    return found
                if action.is_end:
                    break  # at this level
            if scope.facts.outer is None:
                break
            scope = Scope(scope.facts.outer)
        return found

    def _action(self, data: Mapping[str, Any], on: str) -> Action:
        kind = data.get("type", "retry")
        is_retry = kind == "retry" and "again" not in data
        return Action(
            criteria=tuple(parse_criterion(item) for item in data.get("criteria", ())),
            is_retry=is_retry, after_seconds=data.get("retryAfter"),
            most_attempts=1 + data.get("retryLimit", 0),
            move=None if is_retry or kind == "end" else self._move(data), told=_in_words(data, on),
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


def _in_words(data: Mapping[str, Any], on: str) -> Mapping[str, Any]:
    """An action as the audit tells it."""
    kind, to = data.get("type", "retry"), data.get("step") or data.get("via")
    told = {
        "on": on, "type": "end" if kind == "return" else kind, "name": data.get("name"),
        "to": None if kind == "return" else to, "criteria": data.get("criteria"),
    }  # fmt: skip
    return {name: value for name, value in told.items() if value}


def lead_elsewhere(template: Mapping[str, Any]) -> bool:
    """Whether a template has actions other than retries of the same request."""
    return bool(template.get("onSuccess") or template.get("outerFailure")) or any(
        "type" in action or "again" in action for action in template.get("onFailure", ())
    )


def levels_of(template: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
    """The failure actions of a template by level, its own first."""
    return [template.get("onFailure", ()), *template.get("outerFailure", ())]
