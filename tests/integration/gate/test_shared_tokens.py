"""What SharedTokens promises, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.coordination.connect import connect
from orchestrator.coordination.tokens import RedisTokens
from orchestrator.errors import Unavailable
from orchestrator.ports import SharedToken, Turn

NAME = "api:auth.oauth2"

pytestmark = pytest.mark.broker


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[RedisTokens]:
    redis = connect(valkey_url)
    yield RedisTokens(redis)
    await redis.aclose()


async def take(
    store: RedisTokens, owner: str, known: str = "", *, refused: bool = False,
    lock_seconds: float = 60.0,
) -> SharedToken:  # fmt: skip
    return await store.take(
        NAME, owner=owner, known=known, refused=refused, lock_seconds=lock_seconds
    )


async def put(
    store: RedisTokens, owner: str, version: str, base: str = "", *, valid_seconds: float = 60.0
) -> bool:
    return await store.put(
        NAME, owner=owner, base=base, version=version, sealed=f"sealed {version}",
        valid_seconds=valid_seconds, keep_seconds=60.0,
    )  # fmt: skip


async def test_the_first_fetches_and_the_others_use_it(store: RedisTokens) -> None:
    assert await take(store, "a") == SharedToken(turn=Turn.FETCH)
    assert (await take(store, "b")).turn is Turn.WAIT
    assert await put(store, "a", "1")
    found = await take(store, "b")
    assert (found.turn, found.version, found.sealed) == (Turn.USE, "1", "sealed 1")
    assert 30 < found.valid_seconds <= 60


async def test_who_knows_the_token_gets_the_lock_and_the_others_the_old_one(
    store: RedisTokens,
) -> None:
    await take(store, "a")
    await put(store, "a", "1")
    found = await take(store, "a2", "1")
    assert (found.turn, found.version, found.sealed) == (Turn.FETCH, "1", "sealed 1")
    waiting = await take(store, "b", "1")
    assert (waiting.turn, waiting.version) == (Turn.WAIT, "1")
    assert waiting.valid_seconds > 30
    assert (await take(store, "c")).turn is Turn.USE  # it knows none, and this one is good
    assert await put(store, "a2", "2", "1")
    assert (await take(store, "b", "1")).version == "2"


async def test_a_refused_token_is_used_by_nobody(store: RedisTokens) -> None:
    await take(store, "a")
    await put(store, "a", "1")
    assert (await take(store, "b", "1", refused=True)).turn is Turn.FETCH
    found = await take(store, "c")
    assert (found.turn, found.valid_seconds, found.sealed) == (Turn.WAIT, 0.0, "sealed 1")
    assert await put(store, "b", "2", "1")
    # Who is late with the same complaint does no harm to the new one.
    assert (await take(store, "d", "1", refused=True)).version == "2"
    assert (await take(store, "e")).turn is Turn.USE


async def test_the_same_wish_again_gets_the_same_answer(store: RedisTokens) -> None:
    for _ in range(2):
        assert (await take(store, "a")).turn is Turn.FETCH
    for _ in range(2):
        assert await put(store, "a", "1")
    assert (await take(store, "b", "1")).turn is Turn.FETCH  # the lock is free


async def test_a_lock_ends_and_who_comes_late_has_lost(store: RedisTokens) -> None:
    await take(store, "a", lock_seconds=0.05)
    async with asyncio.timeout(30):
        found = await take(store, "b")
        while found.turn is not Turn.FETCH:
            await asyncio.sleep(0.01)
            found = await take(store, "b")
    assert not await put(store, "a", "late")
    assert await put(store, "b", "1")
    assert not await put(store, "a", "late")
    assert (await take(store, "c")).version == "1"


async def test_late_is_not_lost_while_nobody_else_has_begun(store: RedisTokens) -> None:
    await take(store, "a", lock_seconds=60)
    await store.release(NAME, owner="a")
    assert await put(store, "a", "1")


async def test_only_its_owner_gives_a_lock_back(store: RedisTokens) -> None:
    await take(store, "a")
    await store.release(NAME, owner="b")
    assert (await take(store, "b")).turn is Turn.WAIT
    await store.release(NAME, owner="a")
    assert (await take(store, "b")).turn is Turn.FETCH


async def test_an_expired_token_is_used_by_nobody(store: RedisTokens) -> None:
    await take(store, "a")
    await put(store, "a", "1", valid_seconds=0.0)
    found = await take(store, "b")
    assert (found.turn, found.sealed, found.valid_seconds) == (Turn.FETCH, "sealed 1", 0.0)


async def test_many_at_once_are_told_to_fetch_only_once(store: RedisTokens) -> None:
    turns = [found.turn for found in await asyncio.gather(
        *(take(store, f"owner-{number}") for number in range(200))
    )]  # fmt: skip
    assert turns.count(Turn.FETCH) == 1
    assert turns.count(Turn.WAIT) == 199


async def test_a_store_that_is_away_is_said_to_be(unused_tcp_port: int) -> None:
    redis = connect(f"redis://127.0.0.1:{unused_tcp_port}/0")
    with pytest.raises(Unavailable, match="token store"):
        await take(RedisTokens(redis), "a")
    await redis.aclose()
