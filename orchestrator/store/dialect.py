"""Where the two databases differ in words: fragments that statements are put together from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, text

from orchestrator.store import codec


@dataclass(frozen=True, kw_only=True, slots=True)
class Bulk:
    """A statement for each of many rows: over a batch `:batch`, or with numbered parameters."""

    statement: TextClause
    takes_now: bool  # the time is one more parameter, after the columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """One database's words. `time` makes of an aware time what its statements take."""

    name: str  # "sqlite" or "postgresql"
    time: Callable[[datetime | None], Any]
    words: Mapping[str, str]
    each: str  # a JSON array as rows with a column `value`
    shift: str
    since_1970: str
    types: Mapping[str, str]
    chained: str  # the next link of an audit's chain, see core/chain
    entry: str  # of what is written now
    begin_reading: str  # on one snapshot
    begin_writing: str

    def sql(self, template: str, **more: str) -> TextClause:
        """A statement; `{now}`, `{for_update}` … are replaced by this database's words."""
        return text(template.format_map({**self.words, **more}))

    def batch(self, columns: Mapping[str, str], parameter: str = "batch") -> str:
        """A table source `b` over a batch (`codec.dump_batch`); column name -> "text", "int" …"""
        picked = ", ".join(
            self._pick(place, name, self.types[kind])
            for place, (name, kind) in enumerate(columns.items())
        )
        return f"(SELECT {picked} FROM {self.each.format(f':{parameter}')})"

    def bulk(
        self, columns: Mapping[str, str], head: str, *, where: str = "true", tail: str = ""
    ) -> Bulk:
        """`head FROM batch AS b WHERE … tail`: INSERT … SELECT or UPDATE; `b.x` is a column."""
        if not self.is_sqlite:
            return Bulk(
                statement=self.sql(f"{head} FROM {self.batch(columns)} AS b WHERE {where} {tail}"),
                takes_now=False,
            )
        places = {name: f"?{place}" for place, name in enumerate(columns, 1)}
        numbered = re.sub(
            r"\bb\.(\w+)", lambda found: places[found[1]], f"{head} WHERE {where} {tail}"
        )
        now = f"?{len(columns) + 1}"
        return Bulk(
            statement=text(numbered.format_map({**self.words, "now": now})),
            takes_now="{now}" in numbered,
        )

    def later(self, start: str, seconds: str) -> str:
        """The time `seconds` (an expression; negative: earlier) after `start`."""
        return self.shift.format(start=start, seconds=seconds)

    def epoch_seconds(self, at: str) -> str:
        """The time `at` as whole seconds since 1970, rounded down."""
        return self.since_1970.format(at=at)

    def link_after(self, head: str, run_id: str, entries: str) -> str:
        """The chain's link after `head` (NULL: none yet); `entries` in hex."""
        return self.chained.format(head=head, run_id=run_id, entries=entries)

    def entry_now(self, said: str) -> str:
        """In hex: the entry of a record that is written now and whose content is `said` in hex."""
        return self.entry.format(said=said)

    def _pick(self, place: int, name: str, kind: str) -> str:
        value = f"(value->>{place})"
        return f"CAST({value} AS {kind}) AS {name}" if kind else f"{value} AS {name}"

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded one, with a single writer at a time."""
        return self.name == "sqlite"


def _sqlite_time(at: datetime | None) -> int | None:
    return None if at is None else codec.micros(at)


SQLITE = Dialect(
    name="sqlite",
    time=_sqlite_time,
    words={
        "now": ":now",  # bound to the clock once per transaction: the database has no better one
        "clock": ":now",
        "real": "REAL",
        # A writing transaction is alone, so there is nothing to lock and nobody to skip.
        "for_update": "",
        "for_update_of_runs": "",
        "for_update_of_maps": "",
        # Else it would go through all items of a map for the few that run.
        "by_outcome": "INDEXED BY map_items_outcomes",
        # The table before it comes first: else all runs would be gone through for the few maps.
        "join_then": "CROSS JOIN",
        "skip_locked": "",
        "for_key_share": "",
        "unsynced": "true",
        "few": "true",
        "no_bytes": "x''",
        "joined": "group_concat",
    },
    each="json_each({})",
    shift="({start} + CAST({seconds} * 1000000 AS INTEGER))",
    since_1970="({at} / 1000000)",
    chained="audit_link({head}, {run_id}, {entries})",  # functions of ours: see engine
    entry="audit_entry({{now}}, {said})",
    types={"text": "", "int": "", "time": "", "bool": "", "real": ""},
    begin_reading="BEGIN",
    begin_writing="BEGIN IMMEDIATE",
)

POSTGRESQL = Dialect(
    name="postgresql",
    time=lambda at: at,
    words={
        "now": "now()",  # when the transaction began
        "clock": "clock_timestamp()",
        "real": "double precision",
        "for_update": "FOR UPDATE",
        "for_update_of_runs": "FOR UPDATE OF runs",
        "for_update_of_maps": "FOR UPDATE OF m",
        "by_outcome": "",
        "join_then": "JOIN",
        "skip_locked": "FOR UPDATE SKIP LOCKED",
        "for_key_share": "FOR KEY SHARE",
        # True of all rows of a batch, and taken for rare: so each run is looked up by its key. Else
        # a plan that was made while the table was small would go through all of it for ever.
        "few": "b.run_id = b.run_id || ''",
        "no_bytes": "CAST('' AS bytea)",
        "joined": "string_agg",
        # True, and from here on this transaction's commit does not wait for the disk.
        "unsynced": "set_config('synchronous_commit', 'off', true) = 'off'",
    },
    each="jsonb_array_elements(CAST({} AS jsonb))",
    shift="({start} + {seconds} * interval '1 second')",
    since_1970="CAST(floor(extract(epoch FROM {at})) AS bigint)",
    chained=("sha256(COALESCE({head}, convert_to({run_id}, 'UTF8')) || decode({entries}, 'hex'))"),
    entry=(
        "(encode(int8send(CAST(extract(epoch FROM {{now}}) * 1000000 AS bigint)), 'hex') || {said})"
    ),
    types={
        "text": "text",
        "int": "bigint",
        "time": "timestamptz",
        "bool": "boolean",
        "real": "double precision",
    },
    begin_reading="BEGIN ISOLATION LEVEL REPEATABLE READ",
    begin_writing="BEGIN ISOLATION LEVEL READ COMMITTED",
)
DIALECTS = {dialect.name: dialect for dialect in (SQLITE, POSTGRESQL)}
