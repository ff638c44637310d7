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


class Deepened(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a stretch of work on texts."""

    left: int  # texts that have to be worked on yet
    made: Mapping[str, bytes]  # by the text's SHA-256, what another process need not make again


class VectorStore(Protocol):
    """The part of the database that keeps what finders make of texts.

    Whatever is not there is made again; so nothing is lost with it.
    """

    async def vectors(self, model: str, texts: Sequence[str]) -> Mapping[str, bytes]:
        """Those that were kept of the same model, by the text's SHA-256. They count as used."""

    async def keep_vectors(self, model: str, made: Mapping[str, bytes]) -> None:
        """Keep these, in place of what there is of the same texts and model."""

    async def forget_vectors(self, *, unused_seconds: float) -> int:
        """Delete what nobody has read for so long, of whatever model; how many went."""


class Finder(Protocol):
    """Ranks workflows by how well they fit a question. Safe to ask while it learns.

    What it knows it keeps in the process; nothing is read when it is asked.
    """

    @property
    def model(self) -> str:
        """What made of texts depends on, as a SHA-256; "" for nothing that could be kept."""

    def learn(self, things: Sequence[About]) -> None:
        """Know these from now on, instead of what was known under their names. Takes CPU."""

    def wanting(self) -> list[str]:
        """The SHA-256 of texts that have to be worked on."""

    def recall(self, kept: Mapping[str, bytes]) -> None:
        """Take what was made of texts before; what is not its like is left alone."""

    def deepen(self, most: int) -> Deepened:
        """Work that makes answers better, for that many texts. Takes CPU."""

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
