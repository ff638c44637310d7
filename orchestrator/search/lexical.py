"""BM25 over fields with weights.

A word counts as often as the weight of its field says (BM25F with one length for the whole: a word
in the name is worth four in a description). Robertson and Zaragoza 2009, "The Probabilistic
Relevance Framework: BM25 and Beyond", section 3.6.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import bm25s
import numpy as np
import numpy.typing as npt

from orchestrator.ports.finding import About
from orchestrator.search.words import stems

Scores: TypeAlias = npt.NDArray[np.float32]

WEIGHTS: Mapping[str, int] = {
    "name": 4, "title": 4, "apis": 3, "description": 2, "steps": 2, "operations": 2,
    "inputs": 1, "outputs": 1,
}  # fmt: skip
_SATURATION, _LENGTH = 1.2, 0.75
"""k1 and b, as in the literature: other values made no difference on the tuning half."""


def weighted_stems(about: About) -> list[str]:
    """All stems of a workflow, those of weighty fields several times."""
    return [
        stem
        for field, weight in WEIGHTS.items()
        for stem in stems(getattr(about, field))
        for _ in range(weight)
    ]


class Lexical:
    """An index that does not change."""

    def __init__(self, documents: Sequence[Sequence[str]]) -> None:
        self._count = len(documents)
        self._frequencies = Counter(stem for each in documents for stem in set(each))
        self._bm25: bm25s.BM25 | None = None
        if self._frequencies:
            self._bm25 = bm25s.BM25(k1=_SATURATION, b=_LENGTH, method="lucene")
            self._bm25.index([list(each) for each in documents], show_progress=False)

    def scores(self, wanted: Sequence[str]) -> Scores:
        """Of all documents, in their order: the part of what the stems could weigh that is there.

        1 would be a document that is full of all of them, 0 is one with none. A rare stem weighs
        more than a common one, and most of all one that no document has: a question that is mostly
        about something else fits nothing well, in a small collection as in a large one.
        """
        asked = list(dict.fromkeys(wanted))
        known = [stem for stem in asked if stem in self._frequencies]
        if self._bm25 is None or not known:
            return np.zeros(self._count, dtype=np.float32)
        found: Scores = self._bm25.get_scores(known)
        return found / np.float32(sum(map(self._weight, asked)))

    def _weight(self, stem: str) -> float:
        """The inverse document frequency as BM25 has it."""
        there = self._frequencies[stem]
        return math.log1p((self._count - there + 0.5) / (there + 0.5))
