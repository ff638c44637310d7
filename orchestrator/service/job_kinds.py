"""All kinds of jobs. Whoever starts jobs and whoever works on them knows the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.definitions.programs import Programs
from orchestrator.ports import HintPublisher, Store
from orchestrator.service.escalation_jobs import escalation_jobs
from orchestrator.service.escalations import Escalations
from orchestrator.service.jobs import JobKind
from orchestrator.service.moving import Moving
from orchestrator.service.pausing import Pausing
from orchestrator.service.redelivery import Redeliverer
from orchestrator.service.rerunning import Rerunning
from orchestrator.service.run_jobs import run_jobs
from orchestrator.service.runs import Runs


def job_kinds(
    store: Store,
    programs: Programs,
    publisher: HintPublisher,
    redeliverer: Redeliverer,
    escalations: Escalations,
    *,
    new_id: Callable[[], str],
) -> Mapping[str, JobKind]:
    """The kinds by their names."""
    runs = run_jobs(
        Runs(store, programs, redeliverer),
        Pausing(store, redeliverer, new_id=new_id),
        Rerunning(store, programs, publisher, new_id=new_id),
        Moving(store, programs, redeliverer),
    )
    return {**escalation_jobs(escalations), **runs}
