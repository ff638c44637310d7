"""Vectors in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class KeptVectors:
    """Vectors, of whatever model; the real one's tests are in store/test_vectors.py."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], bytes] = {}

    async def vectors(self, model: str, texts: Sequence[str]) -> dict[str, bytes]:
        return {text: self.rows[model, text] for text in texts if (model, text) in self.rows}

    async def keep_vectors(self, model: str, made: Mapping[str, bytes]) -> None:
        self.rows.update({(model, text): vectors for text, vectors in made.items()})

    async def forget_vectors(self, *, unused_seconds: float) -> int:
        return 0
