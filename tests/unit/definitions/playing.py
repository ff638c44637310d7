"""A run of a plan without anything around it: the core, the program, and an API as a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.exchange import (
    Facts,
    FrozenRequest,
    Judgement,
    NothingToUndo,
    Outcome,
    Response,
)
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Command, Decision, Finish, Perform, Saga, Wait
from orchestrator.core.states import HAPPENED, Direction, RunStatus
from orchestrator.definitions.program import Program
from orchestrator.engine.answering import action_taken, event_of
from orchestrator.errors import NotLanded, RefusedError

Api = Callable[[FrozenRequest], Response]


@dataclass
class Played:
    """What became of a run."""

    saga: Saga
    outputs: dict[str, Any]
    sent: list[str] = field(default_factory=list)  # "GET /things/1", in order
    keys: list[str] = field(default_factory=list)  # of each
    visits: list[str] = field(default_factory=list)  # ids of steps, an undo with a "'"
    waits: int = 0
    actions: list[str] = field(
        default_factory=list
    )  # "STEP: ON TYPE NAME TO", as the audit tells it

    @property
    def status(self) -> RunStatus:
        return self.saga.status


def play(plan: Plan, api: Api, inputs: Mapping[str, Any] | None = None) -> Played:
    """Run it to its end. What the API raises as NotLanded never reached it."""
    return _Player(plan, api, inputs or {}).run()


class _Player:
    def __init__(self, plan: Plan, api: Api, inputs: Mapping[str, Any]) -> None:
        self.program, self.api = Program(plan), api
        self.inputs = self.program.check_inputs(inputs)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.played = Played(Saga.new(plan), {})
        self.given: dict[int, Mapping[str, Any]] = {}  # outputs by position
        self.command: Command | None = None

    def run(self) -> Played:
        self.on(e.Resumed())
        for _ in range(2000):
            match self.command:
                case Perform(step=step, direction=direction):
                    self.attempt(step, direction)
                case Wait(until=until):
                    self.now, self.played.waits = until, self.played.waits + 1
                    self.on(e.Resumed())
                case Finish():
                    self.played.outputs = self.program.outputs(self.facts(len(self.given_up_to())))
                    return self.played
                case _:
                    return self.played
        raise AssertionError("it does not end")

    def on(self, event: e.Event) -> Decision:
        decision = decide(self.played.saga, event, self.now)
        self.played.saga, self.command = decision.saga, decision.command
        return decision

    def attempt(self, position: int, direction: Direction) -> None:
        saga = self.played.saga
        step, forward = saga.path.steps[position], direction is Direction.FORWARD
        name = saga.plan.steps[step].id
        self.played.visits.append(name if forward else f"{name}'")
        facts = self.facts(len(saga.steps) if forward else position + 1)
        judgement = self.judged(step, position, direction, facts)
        if judgement is None:
            self.on(e.NotNeeded())
            return
        self.on(e.Began())
        decision = self.on(event_of(judgement, 0.5))
        link = self.played.saga.link(position, direction)
        action = action_taken(judgement, decision, link.status)
        if action is not None:
            parts = (action.get(part) for part in ("on", "type", "name", "to"))
            self.played.actions.append(f"{name}: {' '.join(part for part in parts if part)}")
        if forward and link.status in HAPPENED:
            self.given[position] = judgement.outputs

    def judged(
        self, step: int, position: int, direction: Direction, facts: Facts
    ) -> Judgement | None:
        if self.played.saga.plan.steps[step].call.is_local:
            return self.program.judge_local(step, facts)
        iteration = self.played.saga.iteration(position)
        try:
            request = self.program.prepare(step, direction, facts, iteration=iteration)
        except RefusedError as error:
            failed = Judgement(outcome=Outcome.NOT_LANDED, reason=str(error))
            return self.program.without_answer(step, direction, facts, failed)
        if isinstance(request, NothingToUndo):
            return None
        self.played.sent.append(f"{request.method} {request.target}")
        self.played.keys.append(request.key)
        try:
            response = self.api(request)
        except NotLanded as error:
            failed = Judgement(outcome=Outcome.NOT_LANDED, reason=error.reason)
            return self.program.without_answer(step, direction, facts, failed)
        return self.program.judge(step, direction, facts, request, response)

    def given_up_to(self) -> range:
        return range(len(self.played.saga.steps))

    def facts(self, before: int) -> Facts:
        """What visits before this position gave."""
        path = self.played.saga.path.steps
        steps = self.played.saga.plan.steps
        outputs = {
            steps[path[position]].id: self.given[position]
            for position in range(min(before, len(path))) if position in self.given
        }  # fmt: skip
        return replace(Facts(run_id="run-1", inputs=self.inputs), outputs=outputs)
