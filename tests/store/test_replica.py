"""Looks that a real streaming replica answers: how old they are, and when the primary answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from orchestrator.errors import InvalidSetting, NotFound
from orchestrator.ports import OPEN_ONES, ProposalFilter, RunFilter, WorkflowVersion
from orchestrator.ports.looking import Look, looked
from orchestrator.store import Looks, SqlStore, open_store
from tests.standby import Standby, be_patient, standby_of
from tests.store.making import escalated, new_run, published

pytestmark = pytest.mark.postgres

_IS_REPLICA = text("SELECT pg_is_in_recovery()")
MAX_LAG = 10.0


class Clock:
    """One's own clock: measurements are due when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float = 3.0) -> None:
        """So much that whoever looks next waits for a measurement."""
        self.now += seconds


class Place:
    """A database with its replica, as a process that shows things has them."""

    def __init__(self, url: str, read_url: str) -> None:
        self.clock = Clock()
        self.store = open_store(url, pool_size=2)
        self.replica = self.store.replica(read_url, max_lag_seconds=MAX_LAG)
        self.replica._monotonic = self.clock
        self.shown = self.store.looked_at(self.replica)
        self.looks = Looks(self.replica, monotonic=self.clock)

    def look(self, client: str = "ada") -> Look:
        return self.looks.begin(client)

    async def is_of_replica(self, look: Look) -> bool:
        with self.looks.within(look):
            found: bool = (await self.shown._database.row(_IS_REPLICA))[0]
        assert (look.age_seconds is not None) is found
        return found


@pytest.fixture(scope="module")
def standby(postgres_server: str) -> Iterator[Standby]:
    with standby_of(postgres_server) as made:
        yield made


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)


@asynccontextmanager
async def place_of(url: str, read_url: str) -> AsyncIterator[Place]:
    place = Place(url, read_url)
    yield place
    await place.replica.close()
    await place.store.close()


@pytest.fixture
async def place(standby: Standby, postgres_url: str) -> AsyncIterator[Place]:
    standby.catch_up()
    async with place_of(postgres_url, standby.of(postgres_url)) as made:
        yield made


async def test_looks_are_the_replicas_and_all_else_is_the_primarys(
    place: Place, standby: Standby
) -> None:
    run = new_run(await published(place.store))
    await place.store.accept([run])
    standby.catch_up()
    look = place.look()
    with place.looks.within(look):
        (found,) = await place.shown.runs(RunFilter())
    assert found.id == run.id
    assert look.age_seconds == 0.0  # nothing had been written that it did not have
    assert await place.is_of_replica(look)
    (outside,) = await place.shown._database.rows(_IS_REPLICA)
    assert not outside[0]


async def test_all_that_people_look_at_is_read_there_as_it_is_here(
    standby: Standby, postgres_url: str
) -> None:
    here, there = open_store(postgres_url), open_store(standby.of(postgres_url))
    ((escalation_id, claimed), *_) = await escalated(here, 3)
    version = await here.workflow("order", 1)
    run_id = claimed.run.id
    await here.comment_escalation(escalation_id, "seen", by="ada")
    await here.make_checkpoint(None, at_least_seconds=0.0, everything=True)
    standby.catch_up()

    reads: dict[str, Callable[[SqlStore], Awaitable[Any]]] = {
        "runs": lambda s: s.runs(RunFilter(text="order", older_than_seconds=0.0)),
        "steps": lambda s: s.steps(run_id),
        "attempts": lambda s: s.attempts(run_id),
        "audit": lambda s: s.audit(run_id),
        "attributes": lambda s: s.attributes([run_id]),
        "progress": lambda s: s.progress([run_id]),
        "counts": lambda s: s.count_by_status(),
        "flow": lambda s: s.flow(seconds=3600.0),
        "escalations": lambda s: s.escalations(),
        "escalations of a run": lambda s: s.escalations_of(run_id),
        "escalation": lambda s: s.escalated_run(escalation_id),
        "waits": lambda s: s.waits_of(run_id),
        "approvals": lambda s: s.approvals(open_only=False),
        "maps": lambda s: s.maps_of(run_id),
        "jobs": lambda s: s.jobs(),
        "things of a job": lambda s: s.count_things(OPEN_ONES),
        "pauses": lambda s: s.pauses(active_only=False),
        "proposals": lambda s: s.proposals(ProposalFilter()),
        "workflows": lambda s: s.workflows(),
        "versions": lambda s: s.versions("order"),
        "aliases": lambda s: s.aliases("order"),
        "acceptances": lambda s: s.acceptances("order"),
        "overrides": lambda s: s.api_overrides(),
        "sketches": lambda s: s.api_windows(seconds=3600.0),
        "groups": _groups,
        "history": lambda s: _history(s, version),
        "schedules": lambda s: s.schedules(),
        "policies": lambda s: s.policies(),
        "alarms": lambda s: s.alarms(closed_within_seconds=3600.0),
        "stories": lambda s: s.stories(after="", most=10),
        "covered": lambda s: s.covered(1, after="", most=10),
        "checkpoints": lambda s: s.checkpoints(),
    }
    for name, read in reads.items():
        found = await read(there)
        assert found == await read(here), name
    assert {len(await reads[name](there)) for name in ("runs", "escalations")} == {3}
    for store in (here, there):
        await store.close()


async def _history(store: SqlStore, version: WorkflowVersion) -> tuple[int, Sequence[Any]]:
    found = await store.history(version, days=1.0, most_runs=100)
    return found.runs, found.tried


async def _groups(store: SqlStore) -> list[tuple[str, Sequence[str]]]:
    found = await store.run_groups(deadline_within_seconds=3600.0)
    return [(each.workflow, each.tenants) for each in found]


async def test_what_is_not_there_yet_is_asked_of_the_primary(
    place: Place, standby: Standby
) -> None:
    version = await published(place.store)
    standby.catch_up()
    assert await place.is_of_replica(place.look())  # and so it is for half a second
    with standby.held_up():
        run = new_run(version)
        await place.store.accept([run])
        look = place.look()
        with place.looks.within(look), pytest.raises(NotFound):
            await place.shown.run(run.id)
        again = place.look()
        found = await looked(place.looks, again, lambda: place.shown.run(run.id))
        assert (found.id, again.age_seconds) == (run.id, None)

        nobody = place.look()
        with pytest.raises(NotFound):
            await looked(place.looks, nobody, lambda: place.shown.run("nobody"))
        assert nobody.is_at_primary


async def test_who_has_acted_sees_it_and_others_may_wait(place: Place, standby: Standby) -> None:
    version = await published(place.store)
    standby.catch_up()
    assert await place.is_of_replica(place.look("ada"))
    with standby.held_up():
        await place.store.accept([new_run(version)])
        place.clock.later(0.1)
        place.looks.acted("ada")
        for seconds in (0.0, 3.0):
            place.clock.later(seconds)
            assert not await place.is_of_replica(place.look("ada"))
            assert await place.is_of_replica(place.look("eve"))
    standby.catch_up()
    place.clock.later()
    assert await place.is_of_replica(place.look("ada"))
    place.clock.later(0.1)
    place.looks.acted("eve")  # when those whose acts it has are forgotten
    assert set(place.looks._acted) == {"eve"}


async def test_a_write_within_a_look_is_followed_by_the_primary(place: Place) -> None:
    version = await published(place.store)
    look = place.look()
    await looked(place.looks, look, lambda: place.shown.accept([new_run(version)]))
    with place.looks.within(look):
        assert len(await place.shown.runs(RunFilter())) == 1
    assert look.is_at_primary


async def test_its_lag_is_known_and_too_much_of_it_is_told_once(
    place: Place, standby: Standby
) -> None:
    version = await published(place.store)
    standby.catch_up()
    assert await place.looks.lag_seconds() == 0.0
    with capture_logs() as logs, standby.held_up():
        place.clock.later(600.0)
        # Nothing was written meanwhile: it is not behind, whatever the time of its last change.
        assert await place.looks.lag_seconds() == 0.0
        await place.store.accept([new_run(version)])
        ages: list[float | None] = []
        for _ in range(5):
            place.clock.later()
            look = place.look()
            await place.is_of_replica(look)
            ages.append(look.age_seconds)
        assert ages == [3.0, 6.0, 9.0, None, None]
        assert await place.looks.lag_seconds() == 15.0
    standby.catch_up()
    place.clock.later()
    assert await place.is_of_replica(place.look())
    assert [each["event"] for each in logs if each["event"].startswith("replica.")] == [
        "replica.left_out"
    ]
    (told,) = [each for each in logs if each["event"] == "replica.left_out"]
    assert told["why"] == "it is 12 s behind"


async def test_one_that_dies_is_left_out_until_it_is_back(place: Place, standby: Standby) -> None:
    await published(place.store)
    standby.catch_up()
    assert await place.is_of_replica(place.look())
    standby.kill()
    with capture_logs() as logs:
        for _ in range(3):  # the first finds it dead under its hands, the others do not ask it
            look = place.look()
            with place.looks.within(look):
                assert [each.workflow for each in await place.shown.workflows()] == ["order"]
            assert look.is_at_primary
        place.clock.later()
        assert not await place.is_of_replica(place.look())
        standby.start()
        standby.catch_up()
        place.clock.later()
        assert await place.is_of_replica(place.look())
    told = [each["event"] for each in logs if each["event"].startswith("replica.")]
    assert told == ["replica.left_out", "replica.asked_again"]


async def test_what_is_no_replica_of_it_is_not_asked(postgres_url: str, sqlite_url: str) -> None:
    async with place_of(postgres_url, postgres_url) as place:
        with capture_logs() as logs:
            assert not await place.is_of_replica(place.look())
        assert logs[0]["why"] == "it is no replica, but a primary"
        facts = await place.looks.facts()
        assert facts is not None
        assert (facts.in_recovery, facts.same_system, facts.lag_seconds) == (False, True, None)
    store = open_store(sqlite_url)
    for url in (postgres_url, sqlite_url):
        with pytest.raises(InvalidSetting, match="database_read_url"):
            store.replica(url, max_lag_seconds=1.0)
    await store.close()


async def test_doctor_is_told_how_it_stands(place: Place, standby: Standby) -> None:
    facts = await place.looks.facts()
    assert facts is not None
    assert facts.where.endswith("/store")
    assert (facts.in_recovery, facts.same_system, facts.same_tables) == (True, True, True)
    assert facts.can_write  # the tests' role is a superuser
    assert (facts.lag_seconds, facts.max_lag_seconds) == (0.0, MAX_LAG)


async def test_without_one_looks_change_nothing() -> None:
    looks = Looks(None)
    assert (await looks.lag_seconds(), await looks.facts()) == (None, None)
    looks.acted("ada")
    assert looks.begin("ada").since == 0.0
