"""What the tables tell of lanes, for the number of workers that they want."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from orchestrator.core.scaling import Where
from orchestrator.core.states import Direction, RunStatus
from orchestrator.store import SqlStore, open_store
from tests.store.making import ME, accepted, claimed, escalated, registered, waiting, write


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    """A store on a fresh database."""
    opened = open_store(url, pool_size=2)
    yield opened
    await opened.close()


async def test_runs_are_told_apart_by_whose_turn_it_is(store: SqlStore) -> None:
    await registered(store, ME)
    await accepted(store, 3)
    await accepted(store, 2, lane="bulk")
    await claimed(store, 4)
    await waiting(store, 60.0, 2)  # for an answer: nobody's turn
    await waiting(store, 60.0, 5, status=RunStatus.PARKED)
    await waiting(store, -1.0, 1, status=RunStatus.PARKED)  # its time has come
    await escalated(store, 1)
    seen = await store.lanes_seen(seconds=60.0, most=100)
    found = Counter[tuple[str, Where]]()
    for each in seen.groups:
        assert (each.direction, each.plan.workflow) == (Direction.FORWARD, "order")
        found[each.lane, each.where] += each.number
    assert found == {
        ("default", Where.DUE): 4, ("bulk", Where.DUE): 2, ("default", Where.IN_HAND): 4,
        ("default", Where.PARKED): 5,
    }  # fmt: skip
    assert set(seen.owners) == {"default"}
    assert set(seen.owners["default"]) == {ME}
    oldest = max(each.oldest_seconds for each in seen.groups)
    assert 1.0 <= oldest < 30.0


async def test_those_that_ended_lately_are_counted_and_the_newest_alone(store: SqlStore) -> None:
    done = await claimed(store, 3)
    await store.record([write(run, status=RunStatus.SUCCEEDED, release=True) for run in done])
    seen = await store.lanes_seen(seconds=60.0, most=100)
    assert (seen.settled, seen.settled_seconds) == ({"default": 3}, 60.0)
    few = await store.lanes_seen(seconds=60.0, most=2)
    assert few.settled == {"default": 2}
    assert 0.0 < few.settled_seconds < 60.0
    assert (await store.lanes_seen(seconds=0.0, most=100)).settled == {}
