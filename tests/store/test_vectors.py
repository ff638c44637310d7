"""What a process has made of texts is there for the next one, as long as the model is the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from orchestrator.errors import Unavailable
from orchestrator.search import HybridFinder
from orchestrator.search.meaning import Meant, Unrelated
from orchestrator.service.catalogue import Catalogue
from orchestrator.store import SqlStore, open_store
from tests.store.making import published

DAY = 86_400.0


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    """A store on a fresh database."""
    opened = open_store(url, pool_size=2)
    yield opened
    await opened.close()


async def age(store: SqlStore, days: float) -> None:
    """So long ago all were used."""
    dialect = store._database.dialect
    past = dialect.later("{now}", f"-{days * DAY}")
    statement = dialect.sql(f"UPDATE search_vectors SET used_at = {past}")
    await store._database.write(lambda tx: tx.change(statement))


async def test_vectors_are_those_of_the_same_model_and_text(store: SqlStore) -> None:
    await store.keep_vectors("m1", {"a": b"\x00\xff", "b": b"1"})
    await store.keep_vectors("m2", {"a": b"2"})
    await store.keep_vectors("m1", {"b": b"3"})
    assert await store.vectors("m1", ["a", "b", "c"]) == {"a": b"\x00\xff", "b": b"3"}
    assert await store.vectors("m2", ["a", "b"]) == {"a": b"2"}
    assert await store.vectors("m1", []) == {}


async def test_what_nobody_reads_is_forgotten_and_what_is_read_stays(store: SqlStore) -> None:
    await store.keep_vectors("m1", {"a": b"1", "b": b"2"})
    await store.keep_vectors("old", {"a": b"3"})
    await age(store, 31)
    assert await store.vectors("m1", ["a"]) == {"a": b"1"}
    assert await store.forget_vectors(unused_seconds=30 * DAY) == 2
    assert await store.vectors("m1", ["a", "b"]) == {"a": b"1"}
    assert await store.forget_vectors(unused_seconds=30 * DAY) == 0


class Letters:
    """A model: how often each letter is there."""

    unrelated = (Unrelated(0.0, 0.0),)

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> list[Meant]:
        self.asked.extend(texts)
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Meant:
        counts = [1 + text.lower().count(chr(place)) for place in range(ord("a"), ord("z"))]
        whole = np.array([counts], dtype=np.float32)
        whole /= np.linalg.norm(whole)
        return Meant(whole, whole[:, None, :])


async def answers(store: SqlStore, model: Letters) -> list[tuple[str, float]]:
    """Of a process that has just begun."""
    catalogue = Catalogue(
        store, lambda: HybridFinder(model), monotonic=lambda: 0.0,
        successes=store.count_recent_successes, vectors=store,
    )  # fmt: skip
    found = await catalogue.find("order", limit=1, allowed=lambda _: True, tenant="default")
    model.asked.remove("order")
    return [(fit.name, fit.score) for _, fit in found]


async def test_the_next_process_makes_nothing_anew_unless_the_model_is_another_one(
    store: SqlStore,
) -> None:
    await published(store)
    first, second, other = Letters("one"), Letters("one"), Letters("other")
    found = await answers(store, first)
    assert found
    assert first.asked
    assert await answers(store, second) == found
    assert second.asked == []
    assert await answers(store, other) == found
    assert other.asked == first.asked


@pytest.mark.parametrize("broken", [b"", b"\x01\x00", b"\x01\x00\x01\x00\x19\x00short"])
async def test_what_is_no_vector_is_made_anew_and_mended(store: SqlStore, broken: bytes) -> None:
    await published(store)
    model = Letters("one")
    await answers(store, model)
    made, model.asked = model.asked, []
    statement = store._database.dialect.sql("UPDATE search_vectors SET vectors = :broken")
    await store._database.write(lambda tx: tx.change(statement, broken=broken))
    assert await answers(store, model)
    assert model.asked == made
    model.asked = []
    assert await answers(store, model)
    assert model.asked == []


async def test_search_goes_on_where_vectors_cannot_be_kept(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object, **__: object) -> dict[str, bytes]:
        raise Unavailable("database", "elsewhere", "it is gone")

    await published(store)
    model = Letters("one")
    for name in ("vectors", "keep_vectors", "forget_vectors"):
        monkeypatch.setattr(store, name, lost)
    assert await answers(store, model)
    assert model.asked
