"""Versions are run when a trusted key has signed them as they stand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.engine.signing import Signer, TrustedKeys
from orchestrator.errors import NotAllowed, Untrusted
from orchestrator.ports import WorkflowVersion
from orchestrator.service.vouching import Vouching
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.unit.core.plans import plan, step

OURS, THEIRS = (Signer(Ed25519PrivateKey.generate()) for _ in range(2))


def keys(*signers: Signer) -> TrustedKeys:
    return TrustedKeys([each.public_key for each in signers])


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(MemoryDatabase(lambda: datetime.now(UTC)))


async def published(store: MemoryStore, signer: Signer | None, **changes: Any) -> WorkflowVersion:
    kept = {"document": "doc", "by": "ada", **changes}
    version, _ = await store.publish(plan(step("a")), signer=signer, **kept)
    return version


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "another"}, {"workflow": "refund"}, {"version": 2}, {"plan_digest": "0" * 64},
        {"document": "doc."}, {"operations": "x"}, {"published_by": "bob"},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
async def test_whatever_is_changed_shows(store: MemoryStore, changes: dict[str, Any]) -> None:
    version = await published(store, OURS)
    vouching = Vouching(store, keys(OURS), signer=None)
    assert vouching.doubt(version) == ""
    changed = msgspec.structs.replace(version, **changes)
    assert vouching.doubt(changed).endswith("it was changed since")
    with pytest.raises(Untrusted, match="may not be run"):
        vouching.require(changed)


async def test_what_nobody_or_a_stranger_has_signed_is_not_run(store: MemoryStore) -> None:
    bare = await published(store, None)
    vouching = Vouching(store, keys(OURS), signer=None)
    assert vouching.doubt(bare) == "no signature"
    assert Vouching(store, None, signer=None).doubt(bare) == "", "nobody asks for signatures"
    theirs = await published(store, THEIRS)
    assert vouching.doubt(theirs) == f"a signature of the key {THEIRS.key_id}, which is not trusted"
    with pytest.raises(Untrusted):
        await vouching.plan(theirs.id)
    with pytest.raises(Untrusted):
        await vouching.current(await store.workflow("order"))


async def test_keys_change_without_a_pause(store: MemoryStore) -> None:
    """Both are trusted, all is signed anew, then the old one goes."""
    version = await published(store, THEIRS)
    both = Vouching(store, keys(OURS, THEIRS), signer=OURS)
    assert [(each.signed_now, each.key_id) for each in await both.sign(unsigned=False)] == [
        (True, OURS.key_id)
    ]
    after = Vouching(store, keys(OURS), signer=OURS)
    assert (await after.current(await store.workflow("order"))).id == version.id
    assert [each.signed_now for each in await after.sign(unsigned=False)] == [False]


async def test_signing_vouches_for_nothing_that_was_changed(store: MemoryStore) -> None:
    version = await published(store, OURS)
    await store.keep_signature(version.id, key_id=OURS.key_id, signature=bytes(64))
    vouching = Vouching(store, keys(OURS), signer=OURS)
    for unsigned in (False, True):
        (verdict,) = await vouching.sign(unsigned=unsigned)
        assert not verdict.signed_now
        assert verdict.doubt.endswith("it was changed since")


async def test_what_nobody_has_signed_is_signed_when_that_is_said(store: MemoryStore) -> None:
    await published(store, None)
    vouching = Vouching(store, keys(OURS), signer=OURS)
    assert [each.doubt for each in await vouching.sign(unsigned=False)] == ["no signature"]
    assert [each.signed_now for each in await vouching.sign(unsigned=True)] == [True]
    assert [each.doubt for each in await vouching.verify()] == [""]
    with pytest.raises(NotAllowed, match="workflow_key"):
        await Vouching(store, keys(OURS), signer=None).sign(unsigned=True)
