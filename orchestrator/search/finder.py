"""Words and meaning together.

    score = 0.44 m(whole) + 0.44 p(whole) + 0.12 m(name) + 0.13 w     with models
    score = w                                                         without
    w: what is there of the question's words, by BM25; m: how near two texts are in meaning; p: by
    their word pieces, of the first twenty by the rest alone; whole: APIs, name and title

and up to 0.02 for how often it has succeeded. Weights and limits are those that did best on the
tuning half of the labelled intents (`orchestrator bench search`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np

from orchestrator.ports.finding import About, Allowed, Deepened, Fit
from orchestrator.search.lexical import WEIGHTS, Lexical, Scores, weighted_stems
from orchestrator.search.meaning import (
    Embedder,
    Meant,
    Vectors,
    laid_out,
    nearness,
    nearness_by_pieces,
    open_embedder,
    packed,
    unpacked,
)
from orchestrator.search.words import spoken, stems, stems_and_words

_WHOLE, _PIECES, _NAME, _WORDS = 0.44, 0.44, 0.12, 0.13
_LOOKED_AT_CLOSELY = 20
_USES = 0.02
NEAR_IN_MEANING = 0.3
_MOST_SHOWN_FIELDS = 3
_MOST_QUESTION_CHARACTERS = 1000
_NO_ROWS = np.zeros((0, 0), dtype=np.float32)
_QUESTIONS_KEPT = 256
"""Their vectors, 35 KB each: many agents have the same errand, and most of an answer is these."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of scores: nothing fits when the best is below `least`; from `clear` on there is no doubt.

    Beside a best one that fits, others are shown from `shown` on: the best is not always the right
    one.
    """

    least: float
    clear: float
    shown: float


WITH_MODEL, BY_WORDS = Limits(0.16, 0.3, 0.1), Limits(0.15, 0.3, 0.01)
"""Chosen on the tuning half: `docs/search.md` has what they keep back, and what they lose."""


@dataclass(frozen=True, slots=True)
class _Index:
    """All that a question is held against; never changed, only replaced."""

    names: Sequence[str]
    places: Mapping[str, int]  # where in names
    abouts: Sequence[About]
    lexical: Lexical
    rows: Vectors  # of APIs, name and title, and of names; none until all are there
    pieces: Sequence[Meant]  # of the former; none until all are there


class HybridFinder:
    """Implements ports.finding.Finder."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self.embedder = embedder
        self._known: dict[str, About] = {}
        self._stems: dict[str, list[str]] = {}
        self._meant: dict[str, Meant] = {}  # by text
        self._asked = lru_cache(_QUESTIONS_KEPT)(self._made)
        self._index = _Index([], {}, [], Lexical([]), _NO_ROWS, [])

    def learn(self, things: Sequence[About]) -> None:
        """Know these from now on, instead of what was known under their names."""
        for about in things:
            self._known[about.name] = about
            self._stems[about.name] = weighted_stems(about)
        self._replace()

    @property
    def model(self) -> str:
        """See Finder."""
        return "" if self.embedder is None else self.embedder.digest

    def wanting(self) -> list[str]:
        """See Finder."""
        return list(self._missing())

    def recall(self, kept: Mapping[str, bytes]) -> None:
        """See Finder."""
        missing = self._missing()
        for digest, vectors in kept.items():
            meant = unpacked(vectors)
            if digest in missing and meant is not None:
                self._meant[missing.pop(digest)] = meant
        if kept and not missing:
            self._replace()

    def deepen(self, most: int) -> Deepened:
        """Make the vectors of so many texts."""
        missing = list(self._missing().items())
        if self.embedder is None or not missing:
            return Deepened(left=0, made={})
        now, made = missing[:most], {}
        for (digest, text), meant in zip(
            now, self.embedder.embed([text for _, text in now]), strict=True
        ):
            # Most of what is kept is pieces, and half the digits find the same.
            self._meant[text] = Meant(meant.whole, meant.pieces.astype(np.float16))
            made[digest] = packed(self._meant[text])
        if len(now) == len(missing):
            self._replace()
        return Deepened(left=len(missing) - len(now), made=made)

    def _missing(self) -> dict[str, str]:
        """Texts without vectors, by SHA-256."""
        if self.embedder is None:
            return {}
        texts = (text for text in self._texts() if text not in self._meant)
        return {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}

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
        limits, meaning = BY_WORDS, None
        scores = self._word_scores(index, asked)
        boosts = _boosts(index, uses or {})
        if index.pieces and self.embedder is not None:
            limits = WITH_MODEL
            meaning, scores = self._by_meaning(index, asked, scores, boosts, allowed)
        order = np.argsort(-(scores + boosts), kind="stable")
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

    def _by_meaning(
        self, index: _Index, asked: str, words: Scores, boosts: Scores, allowed: Allowed
    ) -> tuple[Scores, Scores]:
        """How near each is in meaning, and its score; 0 for what is not looked at closely."""
        assert self.embedder is not None
        meant, unrelated = self._asked(asked), self.embedder.unrelated
        roughly = nearness(meant, index.rows, _WHOLE + _NAME, unrelated)
        order = np.argsort(-(roughly + _WORDS * words + boosts), kind="stable")
        permitted = (place for place in order if allowed(index.names[place]))
        first = list(islice(permitted, _LOOKED_AT_CLOSELY))
        meaning, scores = np.zeros_like(roughly), np.zeros_like(roughly)
        if first:
            closely = nearness_by_pieces(meant, [index.pieces[place] for place in first], unrelated)
            meaning[first] = roughly[first] + _PIECES * closely
            scores[first] = meaning[first] + _WORDS * words[first]
        return meaning, scores

    def _made(self, asked: str) -> Meant:
        assert self.embedder is not None, "asked without a model"
        return self.embedder.embed([asked])[0]

    def _replace(self) -> None:
        names = sorted(self._known)
        abouts = [self._known[name] for name in names]
        wholes, spoken_names = (self._all_meant(abouts, text) for text in (_whole, _name))
        is_there = bool(wholes and spoken_names)
        self._index = _Index(
            names, {name: place for place, name in enumerate(names)}, abouts,
            Lexical([self._stems[name] for name in names]),
            self._rows(wholes, spoken_names) if is_there else _NO_ROWS, wholes if is_there else [],
        )  # fmt: skip

    def _rows(self, wholes: Sequence[Meant], spoken_names: Sequence[Meant]) -> Vectors:
        assert self.embedder is not None
        unrelated = self.embedder.unrelated
        return np.stack([
            laid_out([(_WHOLE, whole.whole), (_NAME, name.whole)], unrelated)
            for whole, name in zip(wholes, spoken_names, strict=True)
        ])  # fmt: skip

    def _all_meant(self, abouts: Sequence[About], text: Callable[[About], str]) -> list[Meant]:
        """Of all, or none while some are missing."""
        found = [self._meant.get(text(about)) for about in abouts]
        there = [each for each in found if each is not None]
        return there if len(there) == len(found) else []

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
