"""Texts as stems."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import Stemmer

_WORD = re.compile(r"[^\W_]+")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=[0-9])")
"""Where ids are words run together: `createOrder`, `APIKey`, `oauth2`."""
_TELLS_NOTHING = frozenset({
    "a", "an", "and", "any", "are", "as", "at", "be", "been", "by", "can", "could", "did", "do",
    "does", "for", "from", "get", "had", "has", "have", "he", "her", "his", "how", "i", "if",
    "in", "into", "is", "it", "its", "let", "me", "much", "my", "new", "of", "on", "or", "our",
    "please", "s", "she", "should", "so", "some", "that", "the", "their", "them", "then", "there",
    "they", "this", "to", "t", "us", "want", "was", "we", "were", "what", "when", "where",
    "which", "while", "who", "whom", "will", "with", "would", "you", "your",
})  # fmt: skip
"""English words that say nothing about what is wanted."""
_STEMMER = Stemmer.Stemmer("english")


def stems(text: str) -> list[str]:
    """The stems of a text's words, in their order."""
    return [stem for stem, _ in stems_and_words(text)]


def stems_and_words(text: str) -> Iterator[tuple[str, str]]:
    """Stems, each with the word as it stands there."""
    for word in _WORD.findall(_HUMPS.sub(" ", text)):
        lower = word.lower()
        if lower not in _TELLS_NOTHING:
            yield _stem(lower), word


def spoken(name: str) -> str:
    """An id as words: `create-refund_now` is `create refund now`."""
    return " ".join(_WORD.findall(_HUMPS.sub(" ", name)))


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    stem: str = _STEMMER.stemWord(word)
    return stem
