"""How many requests APIs were let have: kept as long as it may matter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from orchestrator.ports.advances import Advance, AdvanceStore, WrittenAdvance, past_of
from orchestrator.store import open_store
from orchestrator.testing.memory.advances import MemoryAdvances

_POSTGRES = pytest.param("postgres_url", marks=pytest.mark.postgres)


@pytest.fixture(params=["sqlite_file_url", _POSTGRES, "memory"])
def where(request: pytest.FixtureRequest) -> str:
    """Each implementation in turn."""
    url: str = "memory" if request.param == "memory" else request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def store(where: str) -> AsyncIterator[AdvanceStore]:
    if where == "memory":
        yield MemoryAdvances(time.monotonic)
        return
    opened = open_store(where, pool_size=2)
    yield opened
    await opened.close()


def counts(rows: list[WrittenAdvance]) -> list[tuple[int, int]]:
    return [(row.total, row.upto) for row in rows]


async def test_advances_come_by_part_and_total(store: AdvanceStore) -> None:
    await store.write_advances("shop", [Advance("", 10, 20), Advance("op", 0, 1)], keep_seconds=60)
    await store.write_advances("shop", [Advance("", 0, 10)], keep_seconds=60)
    await store.write_advances("bank", [Advance("", 7, 8)], keep_seconds=60)
    found = await store.advances("shop", ["", "op", "never"], seconds=60)
    assert {part: counts(rows) for part, rows in found.items()} == {
        "": [(0, 10), (10, 20)], "op": [(0, 1)], "never": [],
    }  # fmt: skip
    assert all(0 <= row.age_seconds < 10 for row in found[""])


async def test_of_the_same_total_the_higher_counts_from_now_on(store: AdvanceStore) -> None:
    await store.write_advances("shop", [Advance("", 5, 15)], keep_seconds=60)
    await asyncio.sleep(0.05)
    again = time.monotonic()
    await store.write_advances("shop", [Advance("", 5, 10)], keep_seconds=60)
    (row,) = (await store.advances("shop", [""], seconds=60))[""]
    assert (row.total, row.upto) == (5, 15)
    assert row.age_seconds < time.monotonic() - again + 0.02


async def test_old_ones_are_forgotten_but_for_the_newest(store: AdvanceStore) -> None:
    for total in (0, 10, 20):
        await store.write_advances("shop", [Advance("", total, total + 10)], keep_seconds=60)
    await store.write_advances("shop", [Advance("op", 0, 1)], keep_seconds=60)
    await asyncio.sleep(0.1)
    await store.write_advances("shop", [Advance("", 30, 40)], keep_seconds=0.05)
    found = await store.advances("shop", ["", "op"], seconds=60)
    assert counts(found[""]) == [(20, 30), (30, 40)]
    assert counts(found["op"]) == [(0, 1)]  # another part's are not looked at


async def test_only_as_many_as_may_matter_are_read(store: AdvanceStore) -> None:
    for total in (0, 10, 20):
        await store.write_advances("shop", [Advance("", total, total + 10)], keep_seconds=60)
    await asyncio.sleep(0.1)
    await store.write_advances("shop", [Advance("", 30, 40)], keep_seconds=60)
    found = await store.advances("shop", [""], seconds=0.05)
    assert counts(found[""]) == [(20, 30), (30, 40)]


def row(age_seconds: float, total: int, upto: int) -> WrittenAdvance:
    return WrittenAdvance(age_seconds, total, upto)


def test_nothing_written_is_nothing_used() -> None:
    assert past_of([], 60.0).moments == ()


def test_what_lies_between_two_advances_counts_from_the_later_one() -> None:
    past = past_of([row(100, 3, 13), row(50, 12, 22), row(20, 20, 30)], 60.0)
    assert past.total == 30
    assert past.moments == ((100, 3), (50, 9), (20, 8), (0, 10))


def test_what_came_before_the_oldest_is_too_old_to_matter() -> None:
    past = past_of([row(121, 500, 510), row(50, 510, 520)], 60.0)
    assert past.moments == ((121, 0), (50, 10), (0, 10))


def test_what_the_last_one_allows_was_used_within_its_window() -> None:
    assert past_of([row(200, 500, 510)], 60.0).moments == ((200, 0), (140, 10))
