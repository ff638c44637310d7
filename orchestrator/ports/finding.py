"""Finding workflows by what somebody wants done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

Allowed = Callable[[str], bool]
"""Whether a workflow of this name may be shown to whoever asks."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The words of one workflow, by where they stand; ids as they are written."""

    name: str
    title: str = ""
    description: str = ""
    apis: str = ""  # the names of those that it calls
    steps: str = ""  # their ids, and what is said about them
    operations: str = ""  # methods and paths, ids, what the API says about them, functions
    inputs: str = ""  # names and descriptions
    outputs: str = ""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that fits a question, and why."""

    name: str
    score: float  # comparable within one answer; above what the finder takes for nothing
    clear: bool  # False: only near, it may well be something else
    words: Mapping[str, Sequence[str]]  # words of the question, by the field of About they are in
    by_meaning: bool  # it is near in meaning, whatever words they have in common


class Finder(Protocol):
    """Ranks workflows by how well they fit a question. Safe to ask while it learns.

    What it knows it keeps in the process; nothing is read when it is asked.
    """

    def learn(self, things: Sequence[About]) -> None:
        """Know these from now on, instead of what was known under their names. Takes CPU."""

    def deepen(self, most: int) -> int:
        """Work that makes answers better, for that many texts; how many are left. Takes CPU."""

    def find(
        self,
        question: str,
        *,
        limit: int,
        allowed: Allowed,
        uses: Mapping[str, int] | None = None,
    ) -> list[Fit]:
        """What fits, the best first; nothing when nothing fits.

        `uses`: how often each has succeeded; decides between those that fit about as well.
        """
