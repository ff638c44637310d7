"""Find a row by its id, or by the beginning or end of it, as people type ids."""

from __future__ import annotations

import re
from typing import Any

from orchestrator.errors import NotFound, Problem
from orchestrator.store.dialect import Dialect
from orchestrator.store.part import not_found
from orchestrator.store.transactions import Tx

SHORTEST = 6
_LENGTH = 36
_PART_OF_AN_ID = re.compile(r"[0-9a-f-]+")
_AFTER_LAST_DIGIT = "g"  # sorts behind every character of an id


class Finder:
    """Looks ids up in one table."""

    def __init__(self, dialect: Dialect, *, what: str, select: str, column: str) -> None:
        self._what = what
        self._exact = dialect.sql(f"{select} WHERE {column} = :part")
        self._prefix = dialect.sql(
            f"{select} WHERE {column} >= :part AND {column} < :after ORDER BY {column} LIMIT 3"
        )
        self._suffix = dialect.sql(
            f"{select} WHERE substr({column}, :from_place) = :part ORDER BY {column} LIMIT 3"
        )

    async def find(self, tx: Tx, part: str) -> Any:
        """The one row (its id first) whose id is, begins or ends with `part`. Raises NotFound."""
        part = part.strip().lower()
        exact = await tx.row(self._exact, part=part)
        if exact is not None:
            return exact
        if not SHORTEST <= len(part) < _LENGTH or not _PART_OF_AN_ID.fullmatch(part):
            raise not_found(
                self._what, part, f"an id, or {SHORTEST} characters of its begin or end"
            )
        found = await tx.rows(self._prefix, part=part, after=part + _AFTER_LAST_DIGIT)
        if not found:
            found = await tx.rows(self._suffix, part=part, from_place=_LENGTH + 1 - len(part))
        if len(found) != 1:
            raise self._not_one(part, [row[0] for row in found])
        return found[0]

    def _not_one(self, part: str, ids: list[str]) -> NotFound:
        if not ids:
            return not_found(self._what, part, "the id of one that exists")
        problem = Problem(
            place=self._what, found=f"{part}, which fits {', '.join(ids)}",
            wanted="more characters, so that one is left",
        )  # fmt: skip
        return NotFound(f"several fit {part}", problems=[problem])
