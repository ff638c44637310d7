"""Aliases: what they name, who has changed them, and the same in memory as in SQL."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.core.aliases import Named
from orchestrator.errors import Conflict, NotFound
from orchestrator.ports import NewAliasChange, Store
from tests.store.making import new_run, plan


async def published(store: Store, *digests: str) -> list[str]:
    found = [await store.publish(plan(digest=each), document="", by="ada") for each in digests]
    return [version.id for version, _ in found]


def change(alias: str, version: int | None, share: float = 0.0, **more: str) -> NewAliasChange:
    return NewAliasChange(
        workflow="order", alias=alias, version=version, share=share, **{"by": "ada", **more}
    )


async def test_without_aliases_the_latest_is_offered(store: Store) -> None:
    _, second = await published(store, "a", "b")
    offered = await store.offered("order")
    assert (offered.latest, offered.aliases) == (Named(version=2, workflow_id=second), {})
    assert await store.aliases("order") == await store.alias_changes("order", limit=9) == []
    with pytest.raises(NotFound, match="order"):
        await store.offered("refund")


async def test_an_alias_moves_and_is_removed_and_all_of_it_is_kept(store: Store) -> None:
    first, second = await published(store, "a", "b")
    await store.change_alias(change("stable", 1, reason="proven"))
    await store.change_alias(change("canary", 2, 12.5, by="bob"))
    assert (await store.offered("order")).aliases == {
        "stable": Named(version=1, workflow_id=first),
        "canary": Named(version=2, workflow_id=second, share=12.5),
    }
    assert await store.offered_ids() == {"order": first}
    await store.change_alias(change("stable", 2, by="bob"))
    await store.change_alias(change("canary", None, by="eve", reason="slow"))
    (stable,) = await store.aliases("order")
    assert (stable.alias, stable.version, stable.by, stable.reason) == ("stable", 2, "bob", "")
    changes = await store.alias_changes("order", limit=9)
    assert [(each.alias, each.version, each.share, each.by, each.reason) for each in changes] == [
        ("canary", None, 0.0, "eve", "slow"), ("stable", 2, 0.0, "bob", ""),
        ("canary", 2, 12.5, "bob", ""), ("stable", 1, 0.0, "ada", "proven"),
    ]  # fmt: skip
    assert [each.alias for each in await store.alias_changes("order", limit=1)] == ["canary"]
    assert await store.changes_published() == 2 + 4


async def test_what_there_is_not_is_refused_and_changes_nothing(store: Store) -> None:
    await published(store, "a", "b")
    for wrong, told in [
        (change("stable", 3), "alias stable of workflow order: found version 3; wanted 1 to 2"),
        (change("stable", None), "alias of workflow order: found stable"),
        (NewAliasChange(workflow="refund", alias="stable", version=1, by="ada"), "refund"),
    ]:
        with pytest.raises((NotFound, Conflict)) as refused:
            await store.change_alias(wrong)
        assert told in str(refused.value)
    assert await store.alias_changes("order", limit=9) == []
    assert (await store.offered("order")).aliases == {}


async def test_aliases_are_of_one_workflow(store: Store) -> None:
    await published(store, "a", "b")
    other, _ = await store.publish(plan("refund"), document="", by="ada")
    await store.change_alias(change("stable", 1))
    assert (await store.offered("refund")).aliases == {}
    assert (await store.offered_ids())["refund"] == other.id


async def test_many_change_the_same_at_once(store: Store, other: Store) -> None:
    await published(store, "a", "b")
    await asyncio.gather(
        *((store, other)[n % 2].change_alias(change("stable", 1 + n % 2)) for n in range(10))
    )
    newest, *_ = changes = await store.alias_changes("order", limit=99)
    assert len(changes) == 10
    assert (await store.aliases("order"))[0].version in (1, 2)
    assert newest.alias == "stable"


async def test_the_first_record_of_a_run_tells_of_the_alias(store: Store) -> None:
    first, _ = await store.publish(plan(), document="", by="ada")
    runs = [new_run(first), new_run(first, alias="stable")]
    await store.accept(runs)
    told = [(await store.audit(run.id, limit=1))[0].data.get("alias") for run in runs]
    assert told == [None, "stable"]
