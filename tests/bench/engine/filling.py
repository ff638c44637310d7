"""Months of finished runs, made in the database itself: real ones, multiplied.

A few runs of real workers are the template. Each made run is one of them with an id of its own and
its times moved, evenly over the past; its steps, attempts and audit go with it. Columns are those
of `orchestrator.store.tables`, whatever they are; the weeks of the past have partitions of their
own, as if workers had made them at the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

from orchestrator.store import tables
from orchestrator.store.partitions import APPEND_ONLY, TABLES, WEEK, first_id, monday_of

DETAILS = (tables.run_steps, tables.attempts, tables.audit)
FILLED = (tables.runs, *DETAILS)
SPREAD_DAYS = 180
_CHUNK = 20_000  # runs of one transaction
_AT_ONCE = 2  # transactions
_POSTGRESQL = postgresql.dialect()

# Only while it is filled, and only of these sessions: what was lost in a crash is filled again, and
# the rows are copies of rows whose references hold.
_FILLING = "SET synchronous_commit = off; SET session_replication_role = replica"


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What is in a database. Sizes in bytes, with indexes."""

    runs: int
    with_details: int  # the newest of them; the others have their row in `runs` alone
    sizes: dict[str, int]

    def figures(self) -> dict[str, Any]:
        """For people and for `--json`."""
        return {
            "finished_runs": self.runs,
            "with_steps_attempts_and_audit": self.with_details,
            "mib": {name: round(size / 2**20) for name, size in self.sizes.items()},
        }


def fill(url: str, *, runs: int, details: int) -> Filled:
    """So many more finished runs, of which the newest `details` have all their rows; then as
    autovacuum would leave it. The database must hold finished runs to take as a template."""
    with psycopg.connect(url, autocommit=True) as link:
        for table in TABLES:
            _cut_into_weeks(link, table)
        _make_templates(link)
        _make_ids(link, runs)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda first: _fill_chunk(url, first, runs, details), _chunks(runs)))
        for name in ("ids", *(table.name for table in FILLED)):
            link.execute(sql.SQL("DROP TABLE {}").format(_own(name)))
        link.execute("VACUUM (ANALYZE)")
        link.execute("CHECKPOINT")
        return Filled(runs=_count(link), with_details=min(details, runs), sizes=_sizes(link))


def _cut_into_weeks(link: psycopg.Connection[Any], table: str) -> None:
    """Instead of the one partition for all that was before the migration."""
    row = link.execute("SELECT now() AT TIME ZONE 'UTC'").fetchone()
    assert row is not None
    before = sql.Identifier(f"{table}_before")
    named = {"parent": sql.Identifier(table), "before": before}
    with link.transaction():
        link.execute(sql.SQL("ALTER TABLE {parent} DETACH PARTITION {before}").format(**named))
        for low in _mondays(row[0].replace(tzinfo=UTC)):
            link.execute(_week(table, low))
        link.execute(sql.SQL("INSERT INTO {parent} SELECT * FROM {before}").format(**named))
        link.execute(sql.SQL("DROP TABLE {before}").format(**named))


def _mondays(now: datetime) -> Iterator[datetime]:
    """Of all weeks that are filled, and of this one, which may be there."""
    at = monday_of(now - timedelta(days=SPREAD_DAYS))
    while at <= now:
        yield at
        at += WEEK


def _week(table: str, low: datetime) -> sql.Composed:
    template = (
        "CREATE TABLE IF NOT EXISTS {} PARTITION OF {} FOR VALUES FROM ({}) TO ({}) WITH ({})"
    )
    return sql.SQL(template).format(
        sql.Identifier(f"{table}_{low:%Y%m%d}"),
        sql.Identifier(table),
        sql.Literal(first_id(low)),
        sql.Literal(first_id(low + WEEK)),
        sql.SQL(APPEND_ONLY),
    )


def _make_templates(link: psycopg.Connection[Any]) -> None:
    numbered = (
        "CREATE UNLOGGED TABLE {} AS"
        " SELECT runs.*, row_number() OVER (ORDER BY id) - 1 AS bench_place"
        " FROM runs WHERE settled_at IS NOT NULL"
    )
    link.execute(sql.SQL(numbered).format(_own("runs")))
    for table in DETAILS:
        some = "CREATE UNLOGGED TABLE {} AS SELECT * FROM {} WHERE run_id IN (SELECT id FROM {})"
        link.execute(
            sql.SQL(some).format(_own(table.name), sql.Identifier(table.name), _own("runs"))
        )


def _make_ids(link: psycopg.Connection[Any], runs: int) -> None:
    """For each run to be made: its place, its template, its id, and how far its times are moved."""
    template = (
        "CREATE UNLOGGED TABLE {ids} AS"
        " SELECT place, t.id AS template, at - t.created_at AS shift,"
        "  uuidv7(at - clock_timestamp())::text AS id"
        " FROM (SELECT place,"
        "  now() - interval '1 day' * {days} * (1 - place::float8 / {runs}) AS at"
        "  FROM generate_series(0, {runs} - 1) AS place) AS made"
        " JOIN {templates} AS t ON t.bench_place = place % (SELECT count(*) FROM {templates})"
        " ORDER BY place"
    )
    link.execute(
        sql.SQL(template).format(
            ids=_own("ids"),
            days=sql.Literal(SPREAD_DAYS),
            runs=sql.Literal(runs),
            templates=_own("runs"),
        )
    )
    link.execute(sql.SQL("CREATE INDEX ON {} (place)").format(_own("ids")))
    link.execute("ANALYZE")


def _chunks(runs: int) -> range:
    return range(0, runs, _CHUNK)


def _fill_chunk(url: str, first: int, runs: int, details: int) -> None:
    last = min(first + _CHUNK, runs) - 1
    with psycopg.connect(url) as link:
        link.execute(_FILLING)
        for table in FILLED:
            lowest = first if table is tables.runs else max(first, runs - details)
            link.execute(_insert(table, lowest, last))


def _insert(table: Table, first: int, last: int) -> sql.Composed:
    columns = [column for column in table.columns if column.computed is None]
    key = "id" if table is tables.runs else "run_id"
    template = (
        "INSERT INTO {table} ({names}) SELECT {values} FROM {ids} AS made"
        " JOIN {template} AS t ON t.{key} = made.template"
        " WHERE made.place BETWEEN {first} AND {last} ORDER BY made.place"
    )
    return sql.SQL(template).format(
        table=sql.Identifier(table.name),
        names=sql.SQL(", ").join(sql.Identifier(column.name) for column in columns),
        values=sql.SQL(", ").join(_values(columns, key)),
        ids=_own("ids"),
        template=_own(table.name),
        key=sql.Identifier(key),
        first=sql.Literal(first),
        last=sql.Literal(last),
    )


def _values(columns: list[Column[Any]], key: str) -> Iterator[sql.Composed]:
    for column in columns:
        if column.name in (key, "idempotency_key"):
            yield sql.SQL("made.id").format()
            continue
        is_time = isinstance(column.type.dialect_impl(_POSTGRESQL), postgresql.TIMESTAMP)
        value = sql.SQL("t.{} + made.shift" if is_time else "t.{}")
        yield value.format(sql.Identifier(column.name))


def _own(name: str) -> sql.Identifier:
    """A table of the filling."""
    return sql.Identifier(f"bench_{name}")


def _count(link: psycopg.Connection[Any]) -> int:
    row = link.execute("SELECT count(*) FROM runs WHERE settled_at IS NOT NULL").fetchone()
    assert row is not None
    return int(row[0])


def _sizes(link: psycopg.Connection[Any]) -> dict[str, int]:
    """The parts of a partitioned table count as it."""
    size = (
        "SELECT coalesce(sum(pg_total_relation_size(relid)), pg_total_relation_size(%(t)s))"
        " FROM pg_partition_tree(%(t)s)"
    )
    rows = {table.name: link.execute(size, {"t": table.name}).fetchone() for table in FILLED}
    return {name: int(row[0]) for name, row in rows.items() if row is not None}
