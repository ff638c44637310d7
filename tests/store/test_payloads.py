"""Payloads that are sealed where they are stored: unreadable there, and the same when read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidSetting
from orchestrator.store import codec, open_store
from orchestrator.store.payloads import PayloadKeys, new_key
from tests.store.making import accepted

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
OLD, NEW = new_key(), new_key()


@pytest.fixture(autouse=True)
def _no_keys_afterwards() -> Iterator[None]:
    yield
    codec.seal_with(None)


@settings(max_examples=40, deadline=None)
@given(JSON)
def test_what_was_sealed_is_read_again_with_its_key_alone(value: object) -> None:
    codec.seal_with(PayloadKeys.read([OLD]))
    stored = codec.dump_payload({"kestrel": value})
    assert "kestrel" not in stored
    assert codec.dump_payload({"kestrel": value}) != stored, "no two are alike"
    codec.seal_with(PayloadKeys.read([NEW, OLD]))
    assert codec.load(stored) == codec.load(codec.resealed(stored)) == {"kestrel": value}
    codec.seal_with(PayloadKeys.read([NEW]))
    with pytest.raises(InvalidSetting, match="payload_keys"):
        codec.load(stored)
    codec.seal_with(None)
    with pytest.raises(InvalidSetting, match="payload_keys"):
        codec.load(stored)


@pytest.mark.parametrize("part", ["dek", "data"])
def test_a_changed_payload_is_refused(part: str) -> None:
    codec.seal_with(PayloadKeys.read([OLD]))
    mine, other = codec.dump_payload("mine"), codec.dump_payload("other")
    at = mine.index(f'"{part}":"') + len(part) + 24
    changed = mine[:at] + ("A" if mine[at] != "A" else "B") + mine[at + 1 :]
    assert codec.load(other) == "other"
    with pytest.raises(InvalidSetting, match="changed"):
        codec.load(changed)


@pytest.mark.parametrize("bad", [[], ["c2hvcnQ="], ["no base64!"]])
def test_what_is_no_key_is_refused_without_repeating_it(bad: list[str]) -> None:
    with pytest.raises(ValueError, match="keys of 32 bytes") as refused:
        PayloadKeys.read(bad)
    assert not [each for each in bad if each in str(refused.value)]


async def test_all_payloads_are_sealed_anew(url: str) -> None:
    store = open_store(url)
    try:
        (first,) = await accepted(store, inputs={"word": "kestrel"})
        codec.seal_with(PayloadKeys.read([OLD]))
        (second,) = await accepted(store, inputs={"word": "kestrel"})
        codec.seal_with(PayloadKeys.read([NEW, OLD]))
        assert await store.reseal_payloads() == 2
        assert await store.reseal_payloads() == 0
        codec.seal_with(PayloadKeys.read([NEW]))
        for run in (first, second):
            assert (await store.run(run.id)).inputs == {"word": "kestrel"}
        codec.seal_with(None)
        with pytest.raises(InvalidSetting, match="payload_keys"):
            await store.run(first.id)
        with pytest.raises(InvalidSetting, match="payload_keys"):
            await store.reseal_payloads()
    finally:
        await store.close()
