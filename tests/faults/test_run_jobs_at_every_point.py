"""A job on many runs, cut off anywhere: each run is acted on once, and all are in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.errors import Unavailable
from orchestrator.ports import JobRecord, JobState, RunFilter, RunWrite
from orchestrator.service import jobs as service
from orchestrator.service.jobs import Jobs
from tests.faults.test_jobs_at_every_point import BATCH, THINGS, WHY, Killed, Line, Office
from tests.integration.engine.world import Kind, shop_plan
from tests.store.making import ME, new_run, registered

_LONG = timedelta(seconds=10)


@dataclass(frozen=True, kw_only=True)
class Kindly:
    """A kind of jobs, and what it leaves in the audit of each run."""

    kind: str
    leaves: str
    arguments: Mapping[str, Any]
    ended: bool = False
    waiting: bool = False


CANCEL = Kindly(kind="runs.cancel", leaves="run.cancel_requested", arguments={"mode": "undo"})
PAUSE = Kindly(kind="runs.pause", leaves="run.paused", arguments={"seconds": 60.0})
RERUN = Kindly(
    kind="runs.rerun", leaves="run.rerun_as", arguments={"step": "s1", "repeat_effects": True},
    ended=True,
)  # fmt: skip
MIGRATE = Kindly(kind="runs.migrate", leaves="run.migrated", arguments={"version": 2}, waiting=True)


async def _runs(office: Office, *, ended: bool, waiting: bool) -> list[str]:
    plan = shop_plan([(Kind.KEYED, Kind.KEYED)] * 2, name="order")
    version, _ = await office.store.publish(plan, document="", by="test")
    runs = [new_run(version, inputs={"order": "o-1"}) for _ in range(THINGS)]
    await office.store.accept(runs)
    if ended or waiting:
        status = RunStatus.COMPENSATED if ended else RunStatus.PARKED
        wake_at = None if ended else await office.store.now() + timedelta(days=1)
        await registered(office.store, ME)
        taken = await office.store.claim([(run.id, 0) for run in runs], owner=ME)
        await office.store.record([
            RunWrite(
                run_id=each.run.id, owner=ME, epoch=each.run.epoch, release=True,
                saga=replace(each.saga(plan), status=status, wake_at=wake_at),
            )
            for each in taken
        ])  # fmt: skip
    if waiting:
        more = shop_plan([(Kind.KEYED, Kind.KEYED)] * 3, name="order")
        await office.store.publish(more, document="", by="test")
    return [run.id for run in runs]


async def _start(jobs: Jobs, act: Kindly) -> JobRecord:
    which = RunFilter(workflow="order")
    return await jobs.start(act.kind, which, by="ada", reason=WHY, key="k", arguments=act.arguments)


async def _goes_well(act: Kindly, cut: Line) -> None:
    """One process works until the line is cut; another one has to end it."""
    office = Office()
    ids = await _runs(office, ended=act.ended, waiting=act.waiting)
    jobs, worker = office.parts(cut)
    try:
        await _start(jobs, act)
        await office.work(worker)
    except (Killed, Unavailable):
        pass
    calm, heir = office.parts()
    job = await _start(calm, act)  # the same key: whoever heard no answer asks again
    for _ in range(2 * THINGS):
        await office.work(heir)
        job = await office.store.job(job.id)
        if job.state is not JobState.RUNNING:
            break
        await office.sweep(heir)
    told = await office.store.job_items(job.id)
    assert (job.state, job.done, job.refused) == (JobState.DONE, THINGS, 0), told
    for known in ids:
        kinds = Counter(each.kind for each in await office.store.audit(known))
        assert kinds[act.leaves] == 1
    runs = await office.store.runs(RunFilter(limit=None))
    assert len(runs) == THINGS * (1 + act.ended)
    office.now += _LONG
    going = {run.id for run in runs if run.status in (RunStatus.PENDING, RunStatus.RUNNING)}
    lost = await office.store.take_lost(silent_seconds=5, limit=100)
    hinted = {hint.run_id for hint in office.broker.hints} | {each.run_id for each in lost}
    assert going <= hinted, "a run that nobody wakes"


def _unavailable() -> BaseException:
    return Unavailable("database", "here", "connection reset")


ACTS = [
    *(pytest.param(act, id=act.kind) for act in (CANCEL, PAUSE, RERUN)),
    pytest.param(MIGRATE, id=MIGRATE.kind, marks=pytest.mark.long),
]


@pytest.mark.parametrize("how", [Killed, _unavailable], ids=["killed", "cut off"])
@pytest.mark.parametrize("act", ACTS)
async def test_a_job_on_runs_cut_off_at_any_point_does_all_once(
    monkeypatch: pytest.MonkeyPatch, act: Kindly, how: Callable[[], BaseException]
) -> None:
    monkeypatch.setattr(service, "LARGEST_BATCH", BATCH)
    line = Line()
    await _goes_well(act, line)
    assert line.passed > 6 * THINGS
    for at in range(1, line.passed + 1):
        await _goes_well(act, Line(at, how))
