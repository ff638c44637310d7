"""Turns runs that must be woken again into hints on the broker."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from orchestrator.core.plan import Plan
from orchestrator.core.states import Direction
from orchestrator.definitions.programs import Programs
from orchestrator.errors import Unavailable
from orchestrator.ports import (
    COMPENSATE_TASK,
    FORWARD_TASK,
    Hint,
    HintPublisher,
    Redelivery,
    WorkerStore,
    queue_name,
)

log = structlog.get_logger(__name__)


class Redeliverer:
    """Publishes wake-ups for redeliveries. A failed publish is left to the next sweep."""

    def __init__(self, publisher: HintPublisher, programs: Programs) -> None:
        self._publisher, self._programs = publisher, programs

    async def publish(self, redeliveries: Sequence[Redelivery]) -> int:
        """The number published; 0 while the broker is away."""
        if not redeliveries:
            return 0
        hints = [await self._hint(redelivery) for redelivery in redeliveries]
        try:
            await self._publisher.publish(hints)
        except Unavailable as error:
            log.warning("hints.postponed", hints=len(hints), why=str(error))
            return 0
        return len(hints)

    async def _hint(self, redelivery: Redelivery) -> Hint:
        forward = redelivery.direction is Direction.FORWARD
        label, task = await self._shown_as(redelivery)
        return Hint(
            run_id=redelivery.run_id,
            epoch=redelivery.epoch,
            hop_id=redelivery.hop_id,
            parent_hop_id=redelivery.parent_hop_id,
            label=label,
            task=task or (FORWARD_TASK if forward else COMPENSATE_TASK),
            queue=queue_name(redelivery.lane, redelivery.direction, urgent=redelivery.urgent),
        )

    async def _shown_as(self, redelivery: Redelivery) -> tuple[str, str | None]:
        """The label, and the name of the Python function if it is one.

        A plan that cannot be read here, or has no such step, must not keep the others of its batch
        from being woken.
        """
        try:
            plan = (await self._programs.get(redelivery.workflow_id)).plan
            return _label_and_task(plan, redelivery)
        except Exception:
            log.exception("plan.unreadable", workflow_id=redelivery.workflow_id)
            return redelivery.workflow_id, None


class Recaller:
    """Brings parked runs back to an API's gate before the time that they were told."""

    def __init__(self, store: WorkerStore, redeliverer: Redeliverer) -> None:
        self._store, self._redeliverer = store, redeliverer

    async def __call__(self, run_ids: Sequence[str]) -> None:
        try:
            found = await self._store.recall(run_ids)
        except Unavailable as error:  # they come when they were told
            log.warning("runs.not_recalled", runs=len(run_ids), why=str(error))
            return
        await self._redeliverer.publish(found)


def _label_and_task(plan: Plan, redelivery: Redelivery) -> tuple[str, str | None]:
    if redelivery.step is None:
        return plan.workflow, None
    step = plan.steps[redelivery.step]
    if redelivery.direction is Direction.FORWARD:
        return step.call.label, step.call.task_name
    if step.compensation is None:
        return plan.workflow, None
    return step.compensation.call.label, step.compensation.call.task_name
