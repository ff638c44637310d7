"""Accept runs: one INSERT and one round trip to the broker for many."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from orchestrator.core.saga import Saga
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.errors import InvalidInput, Problem, Unavailable
from orchestrator.ports import (
    Accepted,
    Hint,
    HintPublisher,
    NewRun,
    RunStore,
    WorkflowStore,
    WorkflowVersion,
)

log = structlog.get_logger(__name__)

LARGEST_INSERT = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A run that somebody wants. Without a key it gets its own, so nothing is deduplicated."""

    workflow: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None  # None: the latest
    idempotency_key: str | None = None
    tenant: str = "default"
    actor: str = "unknown"
    priority: int = 0
    deadline_seconds: float | None = None  # None: the workflow's own


class Submitter:
    """Checks, accepts and wakes. Commit first, publish after; the sweep covers a failed publish."""

    def __init__(
        self,
        store: RunStore,
        workflows: WorkflowStore,
        programs: Programs,
        publisher: HintPublisher,
        *,
        new_id: Callable[[], str],
        max_input_bytes: int,
    ) -> None:
        self._store, self._workflows = store, workflows
        self._programs, self._publisher = programs, publisher
        self._new_id, self._max_input_bytes = new_id, max_input_bytes
        self._latest: dict[tuple[str, int | None], WorkflowVersion] = {}

    async def submit(self, submissions: Sequence[Submission]) -> list[Accepted]:
        """Accept all, in chunks of one transaction each; answers in the order given.

        Raises InvalidInput (naming the submission by its place, 0-based), NotFound, Conflict or
        Unavailable. Of the chunk that raised nothing is written; repeat with the same keys.
        """
        self._latest.clear()
        prepared = [await self._prepare(place, wish) for place, wish in enumerate(submissions)]
        answers: list[Accepted] = []
        for start in range(0, len(prepared), LARGEST_INSERT):
            answers += await self._accept(prepared[start : start + LARGEST_INSERT])
        return answers

    async def _accept(self, prepared: Sequence[tuple[NewRun, Program]]) -> list[Accepted]:
        accepted = await self._store.accept([run for run, _ in prepared])
        hints = [
            self._hint(run, program)
            for (run, program), answer in zip(prepared, accepted, strict=True)
            if not answer.repeated
        ]
        try:
            await self._publisher.publish(hints)
        except Unavailable as error:
            log.warning("hints.postponed", hints=len(hints), why=str(error))
        return accepted

    async def _prepare(self, place: int, wish: Submission) -> tuple[NewRun, Program]:
        version = await self._version(wish)
        program = await self._programs.get(version.id)
        self._check_size(place, wish)
        inputs = _checked(program, place, wish)
        run_id = self._new_id()
        return NewRun(
            id=run_id,
            workflow_id=version.id,
            workflow=version.workflow,
            version=version.version,
            inputs=inputs,
            inputs_digest=hashlib.sha256(_json(inputs)).hexdigest(),
            idempotency_key=wish.idempotency_key or run_id,
            tenant=wish.tenant,
            actor=wish.actor,
            lane=program.plan.lane,
            priority=wish.priority,
            deadline_seconds=(
                program.plan.deadline_seconds
                if wish.deadline_seconds is None
                else wish.deadline_seconds
            ),
        ), program

    async def _version(self, wish: Submission) -> WorkflowVersion:
        at = (wish.workflow, wish.version)
        if at not in self._latest:
            self._latest[at] = await self._workflows.workflow(*at)
        return self._latest[at]

    def _check_size(self, place: int, wish: Submission) -> None:
        size = len(_json(wish.inputs))
        if size > self._max_input_bytes:
            problem = Problem(
                place=f"submission {place}, inputs of {wish.workflow}",
                found=f"{size} bytes",
                wanted=f"at most {self._max_input_bytes} bytes (setting max_input_bytes)",
            )
            raise InvalidInput("the inputs are too large", problems=[problem])

    def _hint(self, run: NewRun, program: Program) -> Hint:
        return Hint.at(Saga.new(program.plan), run_id=run.id, epoch=0, lane=run.lane)


def _checked(program: Program, place: int, wish: Submission) -> dict[str, Any]:
    """The inputs with their defaults. Raises InvalidInput naming the submission."""
    try:
        return dict(program.check_inputs(wish.inputs))
    except InvalidInput as error:
        problems = [
            replace(problem, place=f"submission {place}, {problem.place}")
            for problem in error.problems
        ]
        raise InvalidInput(error.message, problems=problems) from None


def _json(value: object) -> bytes:
    """Canonical form: the same inputs always have the same digest."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")  # the schema check refuses what is not UTF-8
