"""A job on many things, cut off anywhere: each thing is acted on once, and all are in the end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.definitions.programs import Programs
from orchestrator.errors import Conflict, Unavailable
from orchestrator.ports import (
    MAINTENANCE_QUEUE,
    EscalationFilter,
    JobItemState,
    JobOrder,
    JobRecord,
    JobState,
    RunWrite,
)
from orchestrator.service import jobs as service
from orchestrator.service.escalations import Escalations
from orchestrator.service.job_kinds import job_kinds
from orchestrator.service.jobs import Jobs, JobWorker
from orchestrator.service.redelivery import Redeliverer
from orchestrator.testing.memory.store import MemoryStore, Moment
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.integration.engine.house import Broker
from tests.integration.engine.world import Kind, shop_plan
from tests.store.making import ME, escalation, new_id, new_run, registered

THINGS, BATCH = 7, 3
WHY = "the shop is back"


class Killed(BaseException):
    """The process ends here: nothing may clean up after it."""


class Line:
    """The ways to the database and the broker, cut at the n-th time that something passes."""

    def __init__(
        self, cut_at: int | None = None, how: Callable[[], BaseException] = Killed
    ) -> None:
        self.passed, self.cut_at, self.how = 0, cut_at, how

    def __call__(self, _moment: Moment, _call: str) -> None:
        self.passed += 1
        if self.passed == self.cut_at:
            raise self.how()


class CutBroker(Broker):
    """A broker over such a line; what came before and after it is shared."""

    def __init__(self, broker: Broker, line: Line) -> None:
        super().__init__(broker.hints, broker.letters)
        self._whole, self._line = broker, line

    async def publish(self, items: Sequence[Any]) -> None:
        self._line("before", "publish")
        await self._whole.publish(items)
        self._line("after", "publish")

    async def remove(self, escalation_ids: Sequence[str]) -> None:
        self._line("before", "remove")
        await self._whole.remove(escalation_ids)
        self._line("after", "remove")


class Office:
    """A deployment of which only the jobs matter."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
        self.database = MemoryDatabase(lambda: self.now)
        self.broker, self.store = Broker(), MemoryStore(self.database)
        self.escalations: list[str] = []

    async def open_escalations(self, many: int = THINGS) -> None:
        plan = shop_plan([(Kind.KEYED, Kind.KEYED)] * 2, name="order")
        version, _ = await self.store.publish(plan, document="", by="test")
        runs = [new_run(version) for _ in range(many)]
        await self.store.accept(runs)
        await registered(self.store, ME)
        taken = await self.store.claim([(run.id, 0) for run in runs], owner=ME)
        opened = [escalation(None) for _ in taken]
        await self.store.record([
            RunWrite(
                run_id=each.run.id, owner=ME, epoch=each.run.epoch, escalation=one, release=True,
                saga=replace(each.saga(plan), status=RunStatus.ESCALATED),
            )
            for each, one in zip(taken, opened, strict=True)
        ])  # fmt: skip
        self.escalations = [one.id for one in opened]
        await self.broker.publish(await self.store.escalations())

    def parts(self, line: Any = None) -> tuple[Jobs, JobWorker]:
        """What a process is made of, with its own ways to the database and the broker."""
        store = MemoryStore(self.database)
        store.line = line
        broker = CutBroker(self.broker, line) if isinstance(line, Line) else self.broker

        async def load(workflow_id: str) -> Any:
            return (await store.workflow_by_id(workflow_id)).plan

        programs = Programs(load)
        redeliverer = Redeliverer(broker, programs)
        escalations = Escalations(store, broker, programs, redeliverer)
        kinds = job_kinds(store, programs, broker, redeliverer, escalations, new_id=new_id)
        worker = JobWorker(store, broker, redeliverer, broker, kinds, monotonic=lambda: 0.0)
        return Jobs(store, broker, kinds, new_id=new_id), worker

    async def start(self, jobs: Jobs) -> JobRecord:
        which = EscalationFilter(workflow="order")
        return await jobs.start("escalations.retry", which, by="ada", reason=WHY, key="k")

    async def work(self, worker: JobWorker) -> None:
        """Take every message of jobs up, and those that come of it."""
        while (hint := self._next()) is not None:
            try:
                await worker.work(hint.run_id, hint.epoch)
            except Unavailable:
                continue

    def _next(self) -> Any:
        for hint in self.broker.hints:
            if hint.queue == MAINTENANCE_QUEUE:
                self.broker.hints.remove(hint)
                return hint
        return None

    async def sweep(self, worker: JobWorker) -> None:
        self.now += timedelta(seconds=10)
        await worker.sweep(silent_seconds=5)

    async def check(self, job: JobRecord) -> None:
        """All were acted on once, and every run goes on."""
        assert (job.state, job.done, job.refused) == (JobState.DONE, THINGS, 0)
        for known in self.escalations:
            record = await self.store.escalation(known)
            assert (record.resolution, record.closed_by) == ("retried", "ada")
            audit = [each.kind for each in await self.store.audit(record.run_id)]
            assert audit.count("operator.retried") == 1
            assert (await self.store.run(record.run_id)).status is RunStatus.RUNNING
        done = await self.store.job_items(job.id, state=JobItemState.DONE)
        assert sorted(each.item for each in done) == sorted(self.escalations)
        self.now += timedelta(seconds=10)
        lost = await self.store.take_lost(silent_seconds=5, limit=100)
        hinted = {hint.run_id for hint in self.broker.hints} | {each.run_id for each in lost}
        assert len(hinted) == THINGS, "a run that nobody wakes"


async def _goes_well(cut: Line) -> None:
    """One process works until the line is cut; another one has to end it."""
    office = Office()
    await office.open_escalations()
    jobs, worker = office.parts(cut)
    try:
        await office.start(jobs)
        await office.work(worker)
    except (Killed, Unavailable):
        pass
    calm, heir = office.parts()
    job = await office.start(calm)  # the same key: whoever heard no answer asks again
    for _ in range(2 * THINGS):
        await office.work(heir)
        job = await office.store.job(job.id)
        if job.state is not JobState.RUNNING:
            break
        await office.sweep(heir)
    await office.check(job)


async def _points() -> int:
    line = Line()
    await _goes_well(line)
    return line.passed


def _unavailable() -> BaseException:
    return Unavailable("database", "here", "connection reset")


@pytest.mark.parametrize("how", [Killed, _unavailable], ids=["killed", "cut off"])
async def test_a_job_cut_off_at_any_point_does_all_once(
    monkeypatch: pytest.MonkeyPatch, how: Callable[[], BaseException]
) -> None:
    monkeypatch.setattr(service, "LARGEST_BATCH", BATCH)
    points = await _points()
    assert points > 10 * THINGS
    for at in range(1, points + 1):
        await _goes_well(Line(at, how))


class Crowd:
    """Three workers with doubled messages, one who claims, one who pauses and ends; all at once."""

    def __init__(self, office: Office, seed: int) -> None:
        self.office = office
        self.chance = random.Random(seed)
        self.jobs, _ = office.parts(self.line)
        self.held: list[tuple[JobRecord, JobRecord]] = []  # as answered, and a good while later

    def line(self, _moment: Moment, _call: str) -> Awaitable[None]:
        return self.turns(4)

    async def turns(self, most: int) -> None:
        for _ in range(self.chance.randrange(most)):
            await asyncio.sleep(0)

    async def worker(self, job_id: str) -> None:
        _, mine = self.office.parts(self.line)
        for turn in (0, 0, 1, 1, 2, 3, 4):
            await mine.work(job_id, turn)
            await mine.sweep(silent_seconds=-1)

    async def person(self) -> None:
        for known in self.chance.sample(self.office.escalations, 2):
            with suppress(Conflict):  # it is closed by now
                await self.office.store.claim_escalation(known, by="bob")
            await self.turns(8)

    async def boss(self, job_id: str) -> None:
        for order in (JobOrder.PAUSE, JobOrder.RESUME, JobOrder.CANCEL):
            await self.turns(60)
            with suppress(Conflict):  # it has ended
                answered = await self.jobs.order(job_id, order, by="eve", reason="?")
                if order is not JobOrder.RESUME:
                    for _ in range(30):
                        await asyncio.sleep(0)
                    self.held.append((answered, await self.office.store.job(job_id)))


@pytest.mark.parametrize("seed", range(25))
async def test_workers_and_people_at_once(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(service, "LARGEST_BATCH", BATCH)
    office = Office()
    await office.open_escalations()
    crowd = Crowd(office, seed)
    job = await office.start(crowd.jobs)
    workers = (crowd.worker(job.id) for _ in range(3))
    await asyncio.gather(*workers, crowd.person(), crowd.boss(job.id))

    for answered, later in crowd.held:
        assert (later.done, later.refused) == (answered.done, answered.refused)
    job, items = await office.store.job(job.id), await office.store.job_items(job.id)
    counts = Counter(each.state for each in items)
    assert (job.done, job.refused) == (counts[JobItemState.DONE], counts[JobItemState.REFUSED])
    for each in items:
        record = await office.store.escalation(each.item)
        audit = [told.kind for told in await office.store.audit(record.run_id)]
        assert audit.count("operator.retried") == int(each.state is JobItemState.DONE)
        assert (record.closed_at is not None) is (each.state is JobItemState.DONE)
        assert each.state is not JobItemState.REFUSED or "claimed by bob" in each.outcome
    assert job.state is not JobState.DONE or job.pending == 0


async def test_what_cannot_be_acted_on_is_refused_with_its_reason() -> None:
    office = Office()
    await office.open_escalations()
    jobs, worker = office.parts()
    job = await office.start(jobs)
    taken, decided, *_ = office.escalations
    await office.store.claim_escalation(taken, by="bob")
    one = EscalationFilter(ids=(decided,))  # somebody decides otherwise meanwhile
    other = await jobs.start("escalations.abandon", one, by="bob", reason="no use")
    await worker.work(other.id, 0)
    await office.work(worker)
    job = await office.store.job(job.id)
    assert (job.state, job.done, job.refused) == (JobState.DONE, THINGS - 2, 2)
    found = await jobs.items(job.id, state=JobItemState.REFUSED)
    why = {each.item: each.outcome for each in found}
    assert "claimed by bob" in why[taken]
    assert "closed (abandoned) by bob" in why[decided]


async def test_an_act_that_breaks_holds_up_no_other() -> None:
    office = Office()
    await office.open_escalations()
    jobs, worker = office.parts()
    job = await office.start(jobs)
    broken = office.database.escalations[office.escalations[0]]
    office.database.runs[broken.run_id].workflow_id = "gone"
    await office.work(worker)
    job = await office.store.job(job.id)
    assert (job.state, job.done, job.refused) == (JobState.DONE, THINGS - 1, 1)


async def test_a_held_job_is_not_woken() -> None:
    office = Office()
    await office.open_escalations()
    jobs, worker = office.parts()
    job = await office.start(jobs)
    await jobs.order(job.id, JobOrder.PAUSE, by="eve", reason="wait")
    await office.work(worker)
    await office.sweep(worker)
    assert (await jobs.show(job.id)).done == 0
    assert office._next() is None
    await jobs.order(job.id, JobOrder.RESUME, by="eve", reason="go")
    await office.work(worker)
    await office.check(await jobs.show(job.id))
    with pytest.raises(Conflict, match="done"):
        await jobs.order(job.id, JobOrder.CANCEL, by="eve", reason="late")
