"""What workers saw of APIs: written again and again, merged once, and kept for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.exchange import Outcome
from orchestrator.core.windows import HOUR_SECONDS, Window
from orchestrator.ports.api_windows import MERGED, ApiWindow
from orchestrator.store import SqlStore, open_store

_POSTGRES = pytest.param("postgres_url", marks=pytest.mark.postgres)
DAY = 86_400.0


@pytest.fixture(params=["sqlite_file_url", _POSTGRES])
def where(request: pytest.FixtureRequest) -> str:
    """Each database in turn."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def store(where: str) -> AsyncIterator[SqlStore]:
    opened = open_store(where, pool_size=2)
    yield opened
    await opened.close()


def seen(
    began: datetime, *seconds: float, worker: str = "w1", operation: str = "GET /a",
    api: str = "shop",
) -> ApiWindow:  # fmt: skip
    window = Window()
    for each in seconds:
        window.add(status=200, outcome=Outcome.LANDED, seconds=each, waited=each / 2)
    return ApiWindow(api=api, operation=operation, began=began, worker=worker, window=window)


async def hour(store: SqlStore, ago: int) -> datetime:
    """The beginning of the hour so many hours ago."""
    now = int((await store.now()).timestamp()) // HOUR_SECONDS * HOUR_SECONDS
    return datetime.fromtimestamp(now, UTC) - timedelta(hours=ago)


async def test_a_later_record_takes_the_place_of_the_one_before(store: SqlStore) -> None:
    now = await hour(store, 0)
    await store.write_api_windows([seen(now, 0.1), seen(now, 0.2, operation="GET /b")])
    await store.write_api_windows([seen(now, 0.1, 0.3), seen(now, 0.5, worker="w2")])
    await store.write_api_windows([seen(now, 9.0, api="bank")])
    found = await store.api_windows(seconds=2 * DAY, api="shop")
    assert {(each.operation, each.worker): each.window.calls for each in found} == {
        ("GET /a", "w1"): 2, ("GET /b", "w1"): 1, ("GET /a", "w2"): 1,
    }  # fmt: skip
    assert seen(now, 0.1, 0.3) in found
    assert len(await store.api_windows(seconds=2 * DAY)) == 4


async def test_an_old_hour_becomes_one_record_and_counts_the_same(store: SqlStore) -> None:
    old = await hour(store, 30)
    records = [
        seen(old + timedelta(minutes=5 * part), 0.1 * part + 0.1, worker=worker)
        for part in range(12) for worker in ("w1", "w2")
    ]  # fmt: skip
    recent = seen(await hour(store, 0), 7.0)
    await store.write_api_windows([*records, recent])
    assert await store.merge_api_windows(older_than_seconds=7200, keep_seconds=5 * DAY) == 24
    whole = Window()
    for each in records:
        whole.merge(each.window)
    merged = ApiWindow(api="shop", operation="GET /a", began=old, worker=MERGED, window=whole)
    assert await store.api_windows(seconds=3 * DAY) == [merged, recent]
    assert await store.merge_api_windows(older_than_seconds=7200, keep_seconds=5 * DAY) == 0
    # Who comes late is added.
    await store.write_api_windows([seen(old, 3.0, worker="w3")])
    await store.merge_api_windows(older_than_seconds=7200, keep_seconds=5 * DAY)
    found = await store.api_windows(seconds=3 * DAY)
    assert [(each.worker, each.window.calls) for each in found] == [(MERGED, 25), ("w1", 1)]
    assert await store.merge_api_windows(older_than_seconds=7200, keep_seconds=DAY) == 1
    assert await store.api_windows(seconds=3 * DAY) == [recent]


async def test_several_who_merge_at_once_count_nothing_twice(store: SqlStore) -> None:
    records = [
        seen(await hour(store, ago) + timedelta(minutes=5 * part), 0.1, worker=f"w{worker}")
        for ago in (3, 4, 40) for part in range(3) for worker in range(4)
    ]  # fmt: skip
    await store.write_api_windows(records)
    await asyncio.gather(*(
        store.merge_api_windows(older_than_seconds=7200, keep_seconds=5 * DAY) for _ in range(4)
    ))  # fmt: skip
    found = await store.api_windows(seconds=3 * DAY)
    assert sum(each.window.calls for each in found) == len(records)
    assert {each.worker for each in found} == {MERGED}
    assert len(found) == 3
