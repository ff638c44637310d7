"""Wake-ups: what a message says, its ids, and the queues that it travels on."""

from __future__ import annotations

from uuid import NAMESPACE_OID

import msgspec
from uuid_utils import UUID, uuid5

from orchestrator.core.saga import Saga, current, previous
from orchestrator.core.states import Direction


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """A wake-up for one run. Losing, doubling or delaying it is harmless.

    Becomes one Celery message: `task` its name, `hop_id` its id, `run_id` its root_id,
    `parent_hop_id` its parent_id, `label` its shadow. A wake-up that is given again (its time has
    come, the first was lost, its worker died, a person wants a retry) has the same ids again, as
    Celery's own retries have, so that a run's chain has one task for each link.
    """

    run_id: str
    epoch: int
    hop_id: str
    parent_hop_id: str | None
    label: str  # "checkout.charge"
    task: str  # "orchestrator.forward", "orchestrator.compensate" or a Python function's name
    queue: str  # "default.forward"

    @staticmethod
    def at(saga: Saga, *, run_id: str, epoch: int, lane: str, urgent: bool = False) -> Hint:
        """The wake-up for the link at which a run stands."""
        at = current(saga)
        hop_id, parent_hop_id = hop_ids_at(run_id, saga, at)
        call = None if at is None or not saga.has_call(*at) else saga.call(*at)
        forward = saga.direction is Direction.FORWARD
        return Hint(
            run_id=run_id,
            epoch=epoch,
            hop_id=hop_id,
            parent_hop_id=parent_hop_id,
            label=saga.plan.workflow if call is None else call.label,
            task=(call and call.task_name) or (FORWARD_TASK if forward else COMPENSATE_TASK),
            queue=queue_name(lane, saga.direction, urgent=urgent),
        )


_NAMESPACE = UUID(bytes=NAMESPACE_OID.bytes)


def hop_id_of(run_id: str, at: tuple[int, Direction] | None) -> str:
    """The id of a link's message, the same whoever works it out (`at` None: the chain's end).

    The first link's is the run's own: in Celery's terms a root's root_id is its own id.
    """
    if at is None:
        return str(uuid5(_NAMESPACE, f"{run_id}/end"))
    step, direction = at
    if step == 0 and direction is Direction.FORWARD:
        return run_id
    return str(uuid5(_NAMESPACE, f"{run_id}/{direction}/{step}"))


def hop_ids(run_id: str, saga: Saga) -> tuple[str, str | None]:
    """Ids of the message for the link at which a run stands, and of the one before it."""
    return hop_ids_at(run_id, saga, current(saga))


def hop_ids_at(run_id: str, saga: Saga, at: tuple[int, Direction] | None) -> tuple[str, str | None]:
    """The same where it is known at which link the run stands."""
    before = previous(saga, at)
    return hop_id_of(run_id, at), None if before is None else hop_id_of(run_id, before)


FORWARD_TASK = "orchestrator.forward"
COMPENSATE_TASK = "orchestrator.compensate"
JOB_TASK = "orchestrator.job"
"""Its messages wake a job: the job's id and turn stand where a run's id and epoch stand else."""
DEAD_LETTER_QUEUE = "dead_letter"
MAINTENANCE_QUEUE = "maintenance"


URGENT_WITHIN_SECONDS = 60.0
"""A run whose deadline is nearer than this is urgent whatever its priority."""


def is_urgent(priority: int, seconds_left: float | None) -> bool:
    """Whether a run goes ahead of others of its lane; `seconds_left` to its deadline, if any."""
    return priority > 0 or (seconds_left is not None and seconds_left < URGENT_WITHIN_SECONDS)


def queue_name(lane: str, direction: Direction, *, urgent: bool = False) -> str:
    """The queue of a lane in one direction; undoing goes ahead of all else, urgent or not."""
    if direction is Direction.BACKWARD:
        return f"{lane}.compensation"
    return f"{lane}.{'urgent' if urgent else 'forward'}"


def queue_names(lane: str, direction: Direction) -> tuple[str, ...]:
    """All queues of a lane in one direction, the ordinary one first."""
    names = (queue_name(lane, direction, urgent=urgent) for urgent in (False, True))
    return tuple(dict.fromkeys(names))


def job_hint(job_id: str, turn: int, label: str) -> Hint:
    """The wake-up for a job's next batch. Its batches are one chain of tasks."""
    return Hint(
        run_id=job_id, epoch=turn, hop_id=_job_hop_id(job_id, turn),
        parent_hop_id=_job_hop_id(job_id, turn - 1) if turn else None,
        label=label, task=JOB_TASK, queue=MAINTENANCE_QUEUE,
    )  # fmt: skip


def _job_hop_id(job_id: str, turn: int) -> str:
    return str(uuid5(_NAMESPACE, f"{job_id}/turn/{turn}")) if turn else job_id


class Redelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose hint must be published (again): due, lost, or its worker is dead."""

    run_id: str
    epoch: int
    hop_id: str
    parent_hop_id: str | None
    lane: str
    direction: Direction
    step: int | None  # current step, None when unknown
    workflow_id: str
    why: str  # "due", "recalled", "lost", "worker dead"
    urgent: bool = False  # by its priority, or because its deadline is near (`is_urgent`)
