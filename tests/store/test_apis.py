"""What operators have changed of APIs: versions without gaps, and a record of each change."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import Conflict
from orchestrator.ports import HOLD, ApiChangeKind, ApiSetting, NewApiChange, Store


def change(
    api: str, expected: int, kind: ApiChangeKind = ApiChangeKind.SET, **values: object
) -> NewApiChange:
    number = expected + 1
    return NewApiChange(
        api=api, expected_version=expected, kind=kind, by="ada", reason=f"number {number}: ž",
        before={}, after=values,
        settings={name: ApiSetting(value=value, change=number) for name, value in values.items()},
    )  # fmt: skip


async def test_at_first_nothing_is_overridden(store: Store) -> None:
    assert await store.api_overrides() == []
    assert await store.api_changes("shop") == []


async def test_a_change_is_made_and_recorded(store: Store, other: Store) -> None:
    before = await store.now()
    made = await store.change_api(change("shop", 0, rate="5/second", concurrency=3))
    assert (made.api, made.version, made.held) == ("shop", 1, False)
    assert made.values() == {"rate": "5/second", "concurrency": 3}
    assert before <= made.changed_at <= await store.now()
    assert await other.api_overrides() == [made]
    (noted,) = await other.api_changes("shop")
    assert (noted.version, noted.kind, noted.by) == (1, ApiChangeKind.SET, "ada")
    assert (noted.at, noted.reason) == (made.changed_at, "number 1: ž")
    assert (noted.before, noted.after) == ({}, {"rate": "5/second", "concurrency": 3})


async def test_a_reset_leaves_the_version_standing(store: Store) -> None:
    await store.change_api(change("shop", 0, rate="5/second"))
    made = await store.change_api(change("shop", 1, ApiChangeKind.RESET))
    assert (made.version, made.settings) == (2, {})
    assert [each.version for each in await store.api_changes("shop")] == [2, 1]
    assert [each.version for each in await store.api_changes("shop", limit=1)] == [2]


async def test_a_hold_is_no_value(store: Store) -> None:
    held = change("shop", 0, ApiChangeKind.HOLD, **{HOLD: True, "rate": "1/second"})
    made = await store.change_api(held)
    assert made.held
    assert made.values() == {"rate": "1/second"}
    assert await store.api_overrides() == [made]


async def test_apis_come_by_name_and_do_not_meet(store: Store) -> None:
    for name in ("shop", "bank", "Zoo"):
        await store.change_api(change(name, 0, concurrency=1))
    assert [each.api for each in await store.api_overrides()] == ["Zoo", "bank", "shop"]
    assert len(await store.api_changes("bank")) == 1


@pytest.mark.parametrize("expected", [0, 2])
async def test_who_has_not_seen_the_latest_change_changes_nothing(
    store: Store, expected: int
) -> None:
    made = await store.change_api(change("shop", 0, rate="5/second"))
    with pytest.raises(Conflict, match="found change 1; wanted change"):
        await store.change_api(change("shop", expected, rate="9/second"))
    assert await store.api_overrides() == [made]
    assert len(await store.api_changes("shop")) == 1


async def test_of_two_at_once_one_is_first(store: Store, other: Store) -> None:
    both = await asyncio.gather(
        store.change_api(change("shop", 0, rate="5/second")),
        other.change_api(change("shop", 0, rate="9/second")),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in both) == ["ApiOverride", "Conflict"]
    assert len(await store.api_changes("shop")) == 1
