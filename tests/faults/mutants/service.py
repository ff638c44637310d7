"""Faults of the use cases: submitting, and the recovery passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.definitions.programs import Programs
from orchestrator.errors import Unavailable
from orchestrator.ports import Accepted
from orchestrator.service import recovery
from orchestrator.service.due import DueRuns
from orchestrator.service.recovery import Recovery
from orchestrator.service.submitting import Submitter
from tests.faults.mutants.patching import replaced, strike
from tests.faults.mutants.planting import World, planted


async def _nothing(*_: Any) -> None:
    strike()


@planted("P1")
def lost_sweep() -> Iterator[None]:
    """Nobody looks for hints that have vanished."""
    with replaced(Recovery, "_publish_lost", _nothing):
        yield


@planted("P1")
def due_waits_forgotten() -> Iterator[None]:
    """Nobody wakes the runs whose time has come."""
    with replaced(DueRuns, "publish", _nothing):
        yield


@planted("P1")
def dead_workers_never_found() -> Iterator[None]:
    """Nobody takes over what a dead worker had in hand."""
    with replaced(Recovery, "_recover_dead", _nothing):
        yield


@planted("P8")
def dead_letters_not_reconciled() -> Iterator[None]:
    """The dead-letter queue is not brought in line with the open escalations."""
    with replaced(recovery, "reconcile_dead_letters", _nothing):
        yield


@planted("P1")
def acknowledged_before_the_commit() -> Iterator[None]:
    """A submit is acknowledged although the database could not take it."""

    async def accept(self: Submitter, prepared: Any) -> list[Accepted]:
        try:
            return await original(self, prepared)
        except Unavailable:
            strike()
            return [Accepted(run_id=run.id, repeated=False) for run, _ in prepared]

    original = Submitter._accept
    with replaced(Submitter, "_accept", accept):
        yield


@planted("P3", world=World.VERSIONS)
def stale_plan_from_the_cache() -> Iterator[None]:
    """Compiled workflows are kept by name, so that a run is driven by another version's."""

    async def get(self: Programs, workflow_id: str) -> Any:
        program = await original(self, workflow_id)
        by_name = vars(self).setdefault("by_name", {})
        kept = by_name.setdefault(program.plan.workflow, program)
        if kept is not program:
            strike()
        return kept

    original = Programs.get
    with replaced(Programs, "get", get):
        yield
