"""Finding texts by words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """The words of one thing, the weightiest first."""

    name: str
    title: str
    fields: str  # names and descriptions of what goes in and comes out
    parts: str  # what it is made of


class WordSearch(Protocol):
    """Ranks things by how well their words fit a question."""

    def rank(self, things: Mapping[str, Words], question: str, *, limit: int) -> list[str]:
        """Keys of the things that have a word of the question, the best first.

        Words are compared by their stems and count wherever they begin alike; rare ones weigh more.
        """
