"""How many tokens a text costs a model: cl100k_base, whose table a package brings along.

Other models' tables differ by some ten per cent. What a provider adds around tools and messages is
not in it.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import tiktoken

TABLE = "cl100k_base"
_PIECE = 20_000  # characters: long texts are counted in pieces, which may cost a token at each seam


@cache
def _table() -> tiktoken.Encoding:
    return tiktoken.get_encoding(f"{TABLE}_offline")


def tokens(text: str) -> int:
    """Of a text."""
    pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    return sum(len(piece) for piece in _table().encode_ordinary_batch(list(pieces)))


def tokens_of(value: Any) -> int:
    """Of a value as JSON without white space."""
    return tokens(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
