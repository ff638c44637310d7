"""Runs of schedules, begun by passes over real services and SQL. No worker drives them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.core.schedules import CatchUp, Overlap, Rhythm, Schedule, due_at, key_of, told
from orchestrator.errors import Conflict, InvalidInput, NotFound, Unavailable
from orchestrator.ports import Accepted, RunFilter
from orchestrator.ports.schedules import NewScheduleChange, ScheduleChangeKind
from orchestrator.service.schedule_watch import ScheduleWatch
from orchestrator.service.submitting import Submission, Submitter
from orchestrator.settings import Settings
from orchestrator.store import SqlStore, open_store
from orchestrator.wiring_services import Services, open_services

DOCUMENT = """
arazzo: 1.0.1
info: {title: report, version: "1"}
sourceDescriptions: [{name: people, url: "waits:", type: openapi}]
workflows:
  - workflowId: report
    inputs:
      type: object
      required: [at]
      properties: {at: {type: string}}
    steps:
      - stepId: wait
        operationId: $sourceDescriptions.people.signal
        requestBody: {payload: {signal: go}}
"""
MINUTELY = Schedule(
    workflow="report", rhythm=Rhythm(every_seconds=60), time_input="at", overlap=Overlap.ALLOW,
    catch_up=CatchUp.ALL,
)  # fmt: skip


class House:
    """Services, the store beneath them, and passes."""

    def __init__(self, services: Services, store: SqlStore) -> None:
        self.services, self.store = services, store
        self.use = services.schedules

    async def look(self, submitter: Submitter | None = None) -> None:
        watch = ScheduleWatch(
            self.store, submitter or self.services.submitter, self.services.runs, left_seconds=0.0
        )
        await watch.one_pass()

    async def made(self, schedule: Schedule = MINUTELY, *, ago: float = 5.0) -> datetime:
        """One whose next time was so many minutes ago; that time."""
        made = await self.use.set("acme", "nightly", schedule, by="ada", reason="why")
        first = (await self.store.now()).replace(microsecond=0) - timedelta(minutes=ago)
        rhythm = replace(made.schedule.rhythm, starts_at=first)
        schedule = replace(made.schedule, rhythm=rhythm)
        await self.store.change_schedule(
            NewScheduleChange(
                id=made.id, tenant="acme", name="nightly", expected=made, by="ada", reason="why",
                kind=ScheduleChangeKind.SET, schedule=schedule, next_at=first,
                due_at=due_at(schedule, made.id, first),
            )
        )  # fmt: skip
        return first

    async def firings(self) -> list[tuple[str, str | None]]:
        view = await self.use.show("acme", "nightly")
        return [(each.state.value, each.run_id) for each in reversed(view.firings)]

    async def runs(self) -> int:
        return len(await self.services.runs.list(RunFilter()))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    settings = Settings(config_dir=tmp_path, state_dir=tmp_path)
    async with open_services(settings) as services:
        document = tmp_path / "report.arazzo.yaml"
        document.write_text(DOCUMENT)
        await services.workflows.publish(document, by="root")
        store = open_store(settings.database)
        yield House(services, store)
        await store.close()


class Dies(Submitter):
    """Accepts, or does not, and is gone before it can say so."""

    def __init__(self, inner: Submitter | None) -> None:
        self._inner = inner

    async def submit(self, submissions: Sequence[Submission]) -> list[Accepted]:
        if self._inner is not None:
            await self._inner.submit(submissions)
        raise Unavailable("broker", "here", "gone")


async def test_each_time_has_one_run_with_its_time(house: House) -> None:
    first = await house.made()
    await house.look()
    await house.look()
    found = await house.firings()
    assert [state for state, _ in found] == ["started"] * 6
    assert len({run_id for _, run_id in found}) == await house.runs() == 6
    assert found[0][1] is not None
    run = await house.services.runs.get(found[0][1])
    view = await house.use.show("acme", "nightly")
    assert run.actor == "schedule:nightly"
    assert run.tenant == "acme"
    assert run.idempotency_key == key_of(view.record.id, first)
    assert run.inputs == {"at": told(first)}


@pytest.mark.parametrize("accepted", [True, False])
async def test_who_decided_dies_and_another_begins_it_once(house: House, accepted: bool) -> None:
    await house.made(ago=0.1)
    with pytest.raises(Unavailable):
        await house.look(Dies(house.services.submitter if accepted else None))
    assert [state for state, _ in await house.firings()] == ["due"]
    await house.look()
    assert [state for state, _ in await house.firings()] == ["started"]
    assert await house.runs() == 1


async def test_a_run_that_is_refused_is_told_of_and_the_next_one_tried(house: House) -> None:
    await house.made(replace(MINUTELY, version=1), ago=0.1)
    made = (await house.use.show("acme", "nightly")).record
    broken = replace(made.schedule, time_input=None)
    await house.store.change_schedule(
        NewScheduleChange(
            id=made.id, tenant="acme", name="nightly", expected=made, by="ada", reason="why",
            kind=ScheduleChangeKind.SET, schedule=broken, next_at=made.next_at, due_at=made.due_at,
        )
    )  # fmt: skip
    await house.look()
    view = await house.use.show("acme", "nightly")
    assert [each.state.value for each in view.firings] == ["failed"]
    assert "at" in view.firings[0].reason
    assert view.upcoming
    assert await house.runs() == 0


async def test_the_old_run_is_asked_to_end_and_the_new_one_waits(house: House) -> None:
    await house.made(replace(MINUTELY, overlap=Overlap.CANCEL), ago=1.1)
    await house.look()
    await house.look()
    (_, old), (state, _) = await house.firings()
    assert state == "queued"
    assert old is not None
    await house.look()
    audit = await house.store.audit(old)
    assert [each.kind for each in audit].count("run.cancel_requested") == 1


async def test_one_waits_for_the_other(house: House) -> None:
    await house.made(replace(MINUTELY, overlap=Overlap.QUEUE), ago=2.1)
    for _ in range(3):
        await house.look()
    assert [state for state, _ in await house.firings()] == ["started", "queued", "queued"]
    assert await house.runs() == 1


async def test_paused_it_begins_nothing_and_then_goes_on_with_its_next_time(house: House) -> None:
    await house.made()
    with pytest.raises(InvalidInput, match="reason"):
        await house.use.pause("acme", "nightly", by="ada", reason=" ")
    await house.use.pause("acme", "nightly", by="ada", reason="wrong prices")
    with pytest.raises(Conflict, match="paused by ada"):
        await house.use.pause("acme", "nightly", by="bob", reason="again")
    await house.look()
    assert await house.firings() == []
    resumed = await house.use.resume("acme", "nightly", by="bob", reason="right again")
    assert resumed.next_at is not None
    assert resumed.next_at > await house.store.now()
    await house.look()
    assert await house.firings() == []


async def test_one_now_and_those_of_last_hour(house: House) -> None:
    await house.use.set("acme", "nightly", MINUTELY, by="ada", reason="why")
    await house.use.trigger("acme", "nightly", by="ada")
    await house.look()
    assert [state for state, _ in await house.firings()] == ["started"]
    first = await house.made(replace(MINUTELY, overlap=Overlap.QUEUE), ago=5.0)
    given = {"since": first, "until": first + timedelta(minutes=3), "by": "ada"}
    times = await house.use.backfill("acme", "nightly", **given, dry_run=True)
    assert len(times) == 4
    assert len(await house.firings()) == 1
    await house.use.backfill("acme", "nightly", **given)
    await house.look()
    found = [state for state, _ in await house.firings()]
    assert len(found) == 7
    assert found.count("queued") + found.count("due") + found.count("started") == 7
    later = first + timedelta(days=1)
    with pytest.raises(InvalidInput, match="until now"):
        await house.use.backfill("acme", "nightly", since=first, until=later, by="ada")


async def test_what_is_wrong_is_named(house: House) -> None:
    wrong = Schedule(
        workflow="report", rhythm=Rhythm(cron="61 * * * *", zone="Europe/Atlantis"),
        jitter_seconds=-1.0,
    )  # fmt: skip
    with pytest.raises(InvalidInput) as caught:
        await house.use.set("acme", "../x", wrong, by="ada", reason="why")
    assert [each.place for each in caught.value.problems] == ["name", "zone", "cron", "jitter"]
    with pytest.raises(InvalidInput, match="at"):
        await house.use.set(
            "acme", "nightly", replace(MINUTELY, time_input=None), by="ada", reason="why"
        )
    with pytest.raises(NotFound):
        await house.use.set(
            "acme", "nightly", replace(MINUTELY, workflow="none"), by="ada", reason="why"
        )
    await house.use.set("acme", "nightly", MINUTELY, by="ada", reason="why", expected_version=0)
    with pytest.raises(Conflict, match="version 1"):
        await house.use.set("acme", "nightly", MINUTELY, by="bob", reason="why", expected_version=0)
