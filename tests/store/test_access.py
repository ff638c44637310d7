"""Keys to the network's face: usable until they expire or are revoked, and kept after that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.errors import Conflict, NotFound
from orchestrator.ports import NewAccessKey, Role
from orchestrator.store import SqlStore, open_store
from tests.store.making import new_id


@pytest.fixture
async def keys(url: str) -> Any:
    store = open_store(url, pool_size=2)
    yield store
    await store.close()


def new_key(**changes: Any) -> NewAccessKey:
    made = NewAccessKey(
        id=new_id(), name="ada", role=Role.OPERATOR, tenant=None, digest="d" * 64,
        created_by="root", lives_seconds=None,
    )  # fmt: skip
    return replace(made, **changes)


async def test_a_key_is_kept_as_it_was_made(keys: SqlStore) -> None:
    before = await keys.now()
    made = await keys.add_key(new_key(tenant="acme", name="ada\0 ž"))
    assert (made.name, made.role, made.tenant) == ("ada\ufffd ž", Role.OPERATOR, "acme")
    assert before <= made.created_at <= await keys.now()
    assert made.expires_at is made.revoked_at is made.revoked_by is None
    assert await keys.usable_keys([made.id, new_id()]) == [made]
    assert await keys.keys() == [made]


async def test_keys_come_newest_first(keys: SqlStore) -> None:
    made = [await keys.add_key(new_key()) for _ in range(3)]
    assert await keys.keys() == made[::-1]


@pytest.mark.parametrize("unknown", ["", "nothing", "01939c5e-7f2a-7c11-9f4e-0c2f5a1b9d10", "x\0y"])
async def test_what_is_not_there_is_not_usable(keys: SqlStore, unknown: str) -> None:
    assert not await keys.usable_keys([unknown])


async def test_a_key_expires_by_the_databases_clock(keys: SqlStore) -> None:
    made = await keys.add_key(new_key(lives_seconds=0.05))
    assert made.expires_at is not None
    assert made.expires_at > made.created_at
    await asyncio.sleep((made.expires_at - await keys.now()).total_seconds() + 0.02)
    assert not await keys.usable_keys([made.id])
    assert await keys.keys() == [made]
    lasting = await keys.add_key(new_key(lives_seconds=60.5))
    assert await keys.usable_keys([made.id, lasting.id]) == [lasting]


async def test_a_key_is_revoked_once_and_stays_known(keys: SqlStore) -> None:
    made = await keys.add_key(new_key())
    gone = await keys.revoke_key(made.id, by="eve")
    assert gone.revoked_at is not None
    assert (gone.revoked_by, gone.name) == ("eve", "ada")
    assert not await keys.usable_keys([made.id])
    assert await keys.keys() == [gone]
    with pytest.raises(Conflict, match="revoked by eve"):
        await keys.revoke_key(made.id, by="mallory")
    with pytest.raises(NotFound, match="whole id of a key"):
        await keys.revoke_key(new_id(), by="eve")
