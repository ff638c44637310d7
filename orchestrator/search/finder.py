"""Words and meaning together.

    score = 0.8 m(APIs, name and title) + 0.2 m(name) + 0.15 w     with a model
    score = w                                                      without one
    w: what is there of the question's words, by BM25; m: the cosine of two vectors

and up to 0.02 for how often it has succeeded. Weights and limits are those that did best on the
tuning half of the labelled intents (`orchestrator bench search`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np

from orchestrator.ports.finding import About, Allowed, Fit
from orchestrator.search.lexical import WEIGHTS, Lexical, Scores, weighted_stems
from orchestrator.search.meaning import Embedder, Vectors, open_embedder
from orchestrator.search.words import spoken, stems, stems_and_words

_MEANING_OF_ALL, _MEANING_OF_NAME, _WORDS = 0.8, 0.2, 0.15
_USES = 0.02
NEAR_IN_MEANING = 0.3
_MOST_SHOWN_FIELDS = 3
_MOST_QUESTION_CHARACTERS = 1000
_QUESTIONS_KEPT = 1024
"""Their vectors, 2 KB each: many agents have the same errand, and a vector is most of an answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of scores: nothing fits when the best is below `least`; from `clear` on there is no doubt.

    Beside a best one that fits, others are shown from `shown` on: the best is not always the right
    one.
    """

    least: float
    clear: float
    shown: float


WITH_MODEL, BY_WORDS = Limits(0.22, 0.3, 0.1), Limits(0.15, 0.3, 0.01)
"""Chosen on the tuning half: `docs/search.md` has what they keep back, and what they lose."""


@dataclass(frozen=True, slots=True)
class _Index:
    """All that a question is held against; never changed, only replaced."""

    names: Sequence[str]
    places: Mapping[str, int]  # where in names
    abouts: Sequence[About]
    lexical: Lexical
    whole: Vectors | None  # of APIs, name and title, as names; None until all are there
    name: Vectors | None


class HybridFinder:
    """Implements ports.finding.Finder."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self.embedder = embedder
        self._known: dict[str, About] = {}
        self._stems: dict[str, list[str]] = {}
        self._vectors: dict[str, Vectors] = {}  # by text
        self._asked = lru_cache(_QUESTIONS_KEPT)(self._made)
        self._index = _Index([], {}, [], Lexical([]), None, None)

    def learn(self, things: Sequence[About]) -> None:
        """Know these from now on, instead of what was known under their names."""
        for about in things:
            self._known[about.name] = about
            self._stems[about.name] = weighted_stems(about)
        self._replace()

    def deepen(self, most: int) -> int:
        """Make the vectors of so many texts; how many are left."""
        if self.embedder is None:
            return 0
        missing = [text for text in self._texts() if text not in self._vectors]
        for text, vector in zip(missing[:most], self.embedder.embed(missing[:most]), strict=True):
            self._vectors[text] = vector
        if missing and len(missing) <= most:
            self._replace()
        return max(0, len(missing) - most)

    def find(
        self,
        question: str,
        *,
        limit: int,
        allowed: Allowed,
        uses: Mapping[str, int] | None = None,
    ) -> list[Fit]:
        """What fits, the best first; nothing when nothing fits."""
        index, asked = self._index, question[:_MOST_QUESTION_CHARACTERS]
        if not index.names or not asked.strip():
            return []
        words = self._word_scores(index, asked)
        meaning = self._meaning_scores(index, asked)
        scores, limits = words, BY_WORDS
        if meaning is not None:
            scores, limits = meaning + _WORDS * words, WITH_MODEL
        order = np.argsort(-(scores + _boosts(index, uses or {})), kind="stable")
        fitting = (
            place for place in order
            if scores[place] >= limits.shown and allowed(index.names[place])
        )  # fmt: skip
        best = list(islice(fitting, limit))
        if not any(scores[place] >= limits.least for place in best):
            return []
        return [
            Fit(
                name=index.names[place], score=float(scores[place]),
                clear=bool(scores[place] >= limits.clear),
                words=_words_in_common(index.abouts[place], asked),
                by_meaning=meaning is not None and bool(meaning[place] >= NEAR_IN_MEANING),
            )
            for place in best
        ]  # fmt: skip

    @staticmethod
    def _word_scores(index: _Index, asked: str) -> Scores:
        return index.lexical.scores(stems(asked))

    def _meaning_scores(self, index: _Index, asked: str) -> Scores | None:
        if self.embedder is None or index.whole is None or index.name is None:
            return None
        vector = self._asked(asked)
        whole, name = index.whole @ vector, index.name @ vector
        found: Scores = _MEANING_OF_ALL * whole + _MEANING_OF_NAME * name
        return found

    def _made(self, asked: str) -> Vectors:
        assert self.embedder is not None, "asked without a model"
        vector: Vectors = self.embedder.embed([asked])[0]
        return vector

    def _replace(self) -> None:
        names = sorted(self._known)
        abouts = [self._known[name] for name in names]
        self._index = _Index(
            names, {name: place for place, name in enumerate(names)}, abouts,
            Lexical([self._stems[name] for name in names]),
            self._matrix(abouts, _whole), self._matrix(abouts, _name),
        )  # fmt: skip

    def _matrix(self, abouts: Sequence[About], text: Callable[[About], str]) -> Vectors | None:
        rows = [self._vectors.get(text(about)) for about in abouts]
        there = [row for row in rows if row is not None]
        return np.stack(there) if there and len(there) == len(rows) else None

    def _texts(self) -> Iterator[str]:
        seen: set[str] = set()
        for about in self._known.values():
            for text in (_whole(about), _name(about)):
                if text not in seen:
                    seen.add(text)
                    yield text


def open_finder() -> HybridFinder:
    """With the model that is installed, if there is one. Raises InvalidSetting: see meaning.py."""
    return HybridFinder(open_embedder())


def _name(about: About) -> str:
    return spoken(about.name)


def _whole(about: About) -> str:
    return f"{about.apis}: {spoken(about.name)}. {about.title or about.description}"


def _boosts(index: _Index, uses: Mapping[str, int]) -> Scores:
    """By the logarithm of how often each has succeeded, the most used one in full."""
    found = np.zeros(len(index.names), dtype=np.float32)
    most = max(uses.values(), default=0)
    for name, count in uses.items():
        if count > 0 and name in index.places:
            found[index.places[name]] = _USES * math.log1p(count) / math.log1p(most)
    return found


def _words_in_common(about: About, asked: str) -> dict[str, list[str]]:
    """By field, the weightiest first, and each word only where it weighs most."""
    left = dict(stems_and_words(asked))
    found: dict[str, list[str]] = {}
    for field in WEIGHTS:
        there = set(stems(getattr(about, field)))
        common = [stem for stem in left if stem in there]
        if common and len(found) < _MOST_SHOWN_FIELDS:
            found[field] = [left.pop(stem) for stem in common]
    return found
