"""Published versions: immutable, numbered without gaps, found by name, number or id."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.plan import Plan
from orchestrator.errors import NotFound
from orchestrator.ports import Store
from tests.store.making import new_id, plan


async def test_the_first_version_is_one(store: Store) -> None:
    version, is_new = await store.publish(plan(), document="the text: ž", by="ada")
    assert is_new
    assert (version.workflow, version.version, version.published_by) == ("order", 1, "ada")
    assert (version.plan, version.document) == (plan(), "the text: ž")
    assert await store.workflow("order") == version
    assert await store.workflow_by_id(version.id) == version


async def test_the_same_digest_is_answered_with_the_latest(store: Store) -> None:
    first, _ = await store.publish(plan(), document="doc", by="ada")
    again, is_new = await store.publish(plan(), document="doc, reformatted", by="bob")
    assert (again, is_new) == (first, False)


async def test_versions_count_up_and_stay_as_they_are(store: Store) -> None:
    for digest in ("a", "b", "a"):
        await store.publish(plan(digest=digest), document=digest, by="ada")
    assert [(v.version, v.plan.digest) for v in await store.versions("order")] == [
        (3, "a"), (2, "b"), (1, "a"),
    ]  # fmt: skip
    assert (await store.workflow("order")).version == 3
    assert (await store.workflow("order", 2)).document == "b"


async def test_the_latest_of_each_by_name(store: Store) -> None:
    for name, digest in [("refund", "a"), ("order", "a"), ("order", "b")]:
        await store.publish(plan(name, digest=digest), document="", by="ada")
    found = await store.workflows()
    assert [(v.workflow, v.version) for v in found] == [("order", 2), ("refund", 1)]


async def test_a_plan_without_a_digest_has_one_of_its_own(store: Store) -> None:
    bare = replace(plan(), digest="")
    await store.publish(bare, document="", by="ada")
    assert (await store.publish(bare, document="", by="ada"))[1] is False
    assert (await store.publish(replace(bare, title="New"), document="", by="ada"))[1] is True


async def test_unknown_names_say_what_exists(store: Store) -> None:
    with pytest.raises(NotFound, match="nothing is published"):
        await store.workflow("order")
    await store.publish(plan(), document="", by="ada")
    with pytest.raises(NotFound, match="wanted order"):
        await store.workflow("ordre")
    with pytest.raises(NotFound, match="wanted 1 to 1"):
        await store.workflow("order", 7)
    with pytest.raises(NotFound):
        await store.workflow_by_id(new_id())
    assert await store.versions("ordre") == []


async def test_many_publishers_of_many_versions(store: Store, other: Store) -> None:
    plans: list[Plan] = [plan(digest=f"d{n % 5}") for n in range(10)]
    await asyncio.gather(
        *((store, other)[n % 2].publish(p, document="", by="ada") for n, p in enumerate(plans))
    )
    numbers = [v.version for v in await store.versions("order")]
    assert numbers == list(range(len(numbers), 0, -1))
    assert len(numbers) >= 5


async def test_how_many_versions_there_are_and_which_are_the_latest(store: Store) -> None:
    assert (await store.versions_published(), await store.latest_ids()) == (0, {})
    for digest in ("a", "b"):
        latest, _ = await store.publish(plan(digest=digest), document=digest, by="ada")
    await store.publish(plan(digest="b"), document="b", by="ada")
    assert await store.versions_published() == 2
    assert await store.latest_ids() == {"order": latest.id}


async def test_what_apis_say_about_operations_stands_beside_a_version(store: Store) -> None:
    made, _ = await store.publish(plan(), document="doc", by="ada", operations="Sends money")
    assert (await store.workflow_by_id(made.id)).operations == "Sends money"
    assert (await store.workflow("order")).operations == "Sends money"
    silent, _ = await store.publish(plan(digest="other"), document="doc", by="ada")
    assert silent.operations == ""
