"""Find a row by its id, or by the beginning or end of it, as people type ids.

Beginnings are a range of the key. Ends are those of ids that people have just seen: they are looked
for among the newest rows and those that are not finished, so that years of others cost nothing (and
do not fit as well).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from orchestrator.errors import NotFound, Problem
from orchestrator.store.dialect import Dialect
from orchestrator.store.part import not_found
from orchestrator.store.transactions import Tx

SHORTEST = 6
NEWEST = 20_000
"""So many rows, the latest, are looked through for the end of an id."""
_LENGTH = 36
_PART_OF_AN_ID = re.compile(r"[0-9a-f-]+")
_AFTER_LAST_DIGIT = "g"  # sorts behind every character of an id


class Finder:
    """Looks ids up in one table. `unfinished`: conditions with an index, for rows of any age."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        what: str,
        select: str,
        table: str,
        column: str,
        unfinished: Sequence[str],
    ) -> None:
        self._what = what
        self.exact = dialect.sql(f"{select} WHERE {column} = :part")
        self._prefix = dialect.sql(
            f"{select} WHERE {column} >= :part AND {column} < :after ORDER BY {column} LIMIT 3"
        )
        newest = f"(SELECT id FROM {table} ORDER BY id DESC LIMIT {NEWEST}) AS newest"
        places = [f"{newest} WHERE", *(f"{table} WHERE {some} AND" for some in unfinished)]
        ends = " UNION ".join(
            f"SELECT id FROM {place} substr(id, :from_place) = :part" for place in places
        )
        self._suffix = dialect.sql(f"{select} WHERE {column} IN ({ends}) ORDER BY {column} LIMIT 3")

    async def find(self, tx: Tx, part: str) -> Any:
        """The one row (its id first) whose id is, begins or ends with `part`. Raises NotFound.

        By its end only one of the newest, or one that is not finished, is found.
        """
        part = part.strip().lower()
        exact = await tx.row(self.exact, part=part)
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
