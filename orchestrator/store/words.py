"""Full-text search over a few thousand short texts, in memory: SQLite's FTS5 with its BM25."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing

from orchestrator.ports.words import Words

_WEIGHTS = "0, 10, 5, 2, 1"  # of key, name, title, fields, parts
_RANK = f"""
    SELECT key FROM (
        SELECT key, bm25(stems, {_WEIGHTS}) AS score FROM stems WHERE stems MATCH :words
        UNION ALL
        SELECT key, bm25(starts, {_WEIGHTS}) / 2 FROM starts WHERE starts MATCH :words
    ) GROUP BY key ORDER BY sum(score), key LIMIT :limit"""
"""Lower is better. Stems find `refunded` by `refund`, beginnings `payment` by `pay`."""
_WORD = re.compile(r"\w+")
_MOST_WORDS = 50
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_EVERYWHERE = frozenset({
    "a", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "for", "from", "have",
    "i", "in", "into", "is", "it", "me", "my", "new", "of", "on", "or", "some", "that", "the",
    "then", "this", "to", "want", "we", "what", "which", "with", "you",
})  # fmt: skip
"""Words that say nothing about what is wanted."""


class FullTextSearch:
    """Implements ports.words.WordSearch. The index lives as long as a question."""

    def rank(self, things: Mapping[str, Words], question: str, *, limit: int) -> list[str]:
        """Keys of the things that have a word of the question, the best first."""
        wanted = _query(question)
        if not wanted:
            return []
        rows = [
            (key, *(_spaced(text) for text in (w.name, w.title, w.fields, w.parts)))
            for key, w in things.items()
        ]
        with closing(sqlite3.connect(":memory:")) as database:
            for table, tokenizer in (("stems", "porter unicode61"), ("starts", "unicode61")):
                database.execute(
                    f"CREATE VIRTUAL TABLE {table} USING fts5("
                    f"key UNINDEXED, name, title, fields, parts, tokenize = '{tokenizer}')"
                )
                database.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", rows)
            found = database.execute(_RANK, {"words": wanted, "limit": limit}).fetchall()
        return [key for (key,) in found]


def _query(question: str) -> str:
    """`"refund"* OR "order"*`; every word quoted, so that none is an operator."""
    words = dict.fromkeys(word.lower() for word in _WORD.findall(_spaced(question)))
    telling = [word for word in words if word not in _EVERYWHERE]
    return " OR ".join(f'"{word}"*' for word in telling[:_MOST_WORDS])


def _spaced(text: str) -> str:
    """`createOrder_now` as `create Order now`: ids are words run together."""
    return _HUMPS.sub(" ", text).replace("_", " ")
