r"""Search for what people know of a run: one text, looked for in several places.

Each place answers with the newest runs that it has, through an index of its own:

    runs_pkey, by_workflow, keys    the beginning of an id, a workflow, an idempotency key
    run_attributes_by_value         the beginning of an attribute's value
    runs_by_cause, …_by_detail      words of why it turned back or escalated (PostgreSQL)

SQLite has no index of words; there a text is looked for in the causes themselves, which only runs
that failed have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from orchestrator.store.codec import storable
from orchestrator.store.dialect import Dialect
from orchestrator.store.tables import FAILED, WORDS

MOST_WORDS = 8
PART_OF_AN_ID = re.compile(r"[0-9a-f-]{6,36}")
_WORD = re.compile(r"[^\W_]+")
_LAST = "\U0010ffff"  # sorts behind every character of a text

# One step for each tenant, whatever the number of runs: the key is unique within one.
_TENANTS = (
    "WITH RECURSIVE known (tenant) AS (SELECT min(tenant) FROM runs UNION ALL"
    " SELECT (SELECT min(next.tenant) FROM runs AS next WHERE next.tenant > known.tenant)"
    " FROM known WHERE known.tenant IS NOT NULL)"
    " SELECT tenant FROM known WHERE tenant IS NOT NULL"
)


def words_of(text: str, *, most: int | None = MOST_WORDS) -> list[str]:
    """Letters and digits alone, in small letters; the first eight."""
    return _WORD.findall(text.lower())[:most]


def search_parameters(text: str) -> dict[str, str]:
    """What the statements of `places` refer to."""
    known = storable(text.strip())
    words = words_of(known)
    return {
        "text": known, "text_end": known + _LAST, "id_part": known.lower(),
        "id_end": known.lower() + "g", "words": " & ".join(f"{word}:*" for word in words),
        **{f"word{n}": f"%{word}%" for n, word in enumerate(words)},
    }  # fmt: skip


def places(text: str, dialect: Dialect, *, tenant: bool) -> Iterator[str]:
    """Conditions on `runs`: a run is found where one of them holds. `tenant`: of one alone."""
    known = text.strip()
    if PART_OF_AN_ID.fullmatch(known.lower()):
        yield "runs.id >= :id_part AND runs.id < :id_end"
    yield "runs.workflow = :text"
    # Of one tenant its name is a condition of the filter.
    of = "" if tenant else f" AND runs.tenant IN ({_TENANTS})"
    yield f"runs.idempotency_key = :text{of}"
    yield (
        "runs.id IN (SELECT s.run_id FROM run_attributes AS s"
        " WHERE s.value >= :text AND s.value < :text_end)"
    )
    words = words_of(known)
    if words:
        yield f"runs.{FAILED} AND {_has_words('runs.cause', words, dialect)}"
        yield (
            "runs.id IN (SELECT e.run_id FROM escalations AS e"
            f" WHERE {_has_words('e.detail', words, dialect)})"
        )


def _has_words(column: str, words: Sequence[str], dialect: Dialect) -> str:
    if not dialect.is_sqlite:
        return f"{WORDS.format(column)} @@ to_tsquery('simple', :words)"
    return " AND ".join(f"lower({column}) LIKE :word{n}" for n, _ in enumerate(words))
