"""Published versions: immutable, numbered without gaps, found by name, number or id."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from orchestrator.cli.output import to_json
from orchestrator.core.plan import Plan
from orchestrator.engine.signing import Signer, TrustedKeys
from orchestrator.errors import NotFound
from orchestrator.ports import Store
from orchestrator.store import open_store
from tests.store.making import new_id, plan

OURS, THEIRS = (Signer(Ed25519PrivateKey.generate()) for _ in range(2))


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
    assert (await store.changes_published(), await store.offered_ids()) == (0, {})
    for digest in ("a", "b"):
        latest, _ = await store.publish(plan(digest=digest), document=digest, by="ada")
    await store.publish(plan(digest="b"), document="b", by="ada")
    assert await store.changes_published() == 2
    assert await store.offered_ids() == {"order": latest.id}


async def test_what_apis_say_about_operations_stands_beside_a_version(store: Store) -> None:
    made, _ = await store.publish(plan(), document="doc", by="ada", operations="Sends money")
    assert (await store.workflow_by_id(made.id)).operations == "Sends money"
    assert (await store.workflow("order")).operations == "Sends money"
    silent, _ = await store.publish(plan(digest="other"), document="doc", by="ada")
    assert silent.operations == ""


async def test_what_is_published_is_signed_as_it_is_stored(store: Store) -> None:
    odd = "a document: \u017e, \U0001f600 and\r\ntwo lines\n"
    version, _ = await store.publish(plan(), document=odd, by="ada", operations=odd, signer=OURS)
    keys = TrustedKeys([OURS.public_key])
    for found in (
        version, await store.workflow("order"), await store.workflow_by_id(version.id),
        *await store.workflows(), *await store.versions("order"),
    ):  # fmt: skip
        assert keys.confirms(found) is True
    assert (await store.publish(plan(), document=odd, by="ada", operations=odd, signer=OURS)) == (
        version, False,
    )  # fmt: skip


async def test_who_publishes_the_same_again_signs_what_is_there(store: Store) -> None:
    bare, _ = await store.publish(plan(), document="doc", by="ada")
    signed, is_new = await store.publish(plan(), document="doc", by="bob", signer=OURS)
    assert (signed.id, signed.key_id, signed.published_by, is_new) == (
        bare.id, OURS.key_id, "ada", False,
    )  # fmt: skip
    assert await store.workflow_by_id(bare.id) == signed


async def test_who_signs_vouches_for_no_text_that_is_not_theirs(store: Store) -> None:
    """The plan is the same, the document, which agents read, is not: it is another version."""
    await store.publish(plan(), document="doc, and a word of somebody else", by="ada")
    signed, is_new = await store.publish(plan(), document="doc", by="bob", signer=OURS)
    assert (signed.version, signed.document, is_new) == (2, "doc", True)


async def test_a_signature_takes_the_place_of_another(store: Store) -> None:
    version, _ = await store.publish(plan(), document="", by="ada", signer=THEIRS)
    ours = OURS.sign(version.text())
    await store.keep_signature(version.id, key_id=OURS.key_id, signature=ours)
    found = await store.workflow_by_id(version.id)
    assert (found.key_id, found.signature) == (OURS.key_id, ours)


async def test_a_plan_that_cannot_be_read_is_listed_and_says_so(url: str) -> None:
    sql = open_store(url)
    try:
        version, _ = await sql.publish(plan(), document="", by="ada")
        change = text("UPDATE workflows SET plan = '{' WHERE id = :id")
        await sql._database.write(lambda tx: tx.change(change, id=version.id))
        for (found,) in (await sql.workflows(), await sql.versions("order")):
            told = json.loads(to_json(found))
            assert "stored plan, line 1, column 2: found ''" in told["unread"]
            assert (told["version"], told["plan"]["steps"]) == (1, [])
    finally:
        await sql.close()


async def test_a_changed_plan_shows_and_publishing_again_makes_another_version(url: str) -> None:
    sql = open_store(url)
    try:
        version, _ = await sql.publish(plan(), document="", by="ada", signer=OURS)
        change = text("UPDATE workflows SET plan = replace(plan, :old, :new) WHERE id = :id")
        await sql._database.write(
            lambda tx: tx.change(change, id=version.id, old='"s1"', new='"s9"')
        )
        found = await sql.workflow_by_id(version.id)
        assert [step.id for step in found.plan.steps] != [step.id for step in plan().steps]
        assert found.plan.digest == version.plan.digest, "the row's own digest was left as it was"
        assert TrustedKeys([OURS.public_key]).confirms(found) is False
        again, is_new = await sql.publish(plan(), document="", by="ada", signer=OURS)
        assert (again.version, again.plan, is_new) == (2, plan(), True)
    finally:
        await sql.close()
