"""APIs: what holds instead of their files, what they were let have, what they were like."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from orchestrator.store.tables.columns import ID, INSTANT, metadata

api_overrides = Table(
    "api_overrides",
    metadata,
    Column("api", ID, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("settings", Text, nullable=False),
    Column("changed_at", INSTANT, nullable=False),
)

api_changes = Table(
    "api_changes",
    metadata,
    Column("api", ID, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
)

advances = Table(
    "advances",
    metadata,
    Column("api", ID, primary_key=True),
    Column("part", ID, primary_key=True),
    Column("total", BigInteger, primary_key=True),
    Column("upto", BigInteger, nullable=False),
    Column("written_at", INSTANT, nullable=False),
    sqlite_with_rowid=False,
)

api_windows = Table(
    "api_windows",
    metadata,
    Column("api", ID, primary_key=True),
    Column("operation", ID, primary_key=True),
    Column("began", INSTANT, primary_key=True),
    Column("worker", ID, primary_key=True),  # "" when those of several were merged
    Column("calls", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("throttled", BigInteger, nullable=False),
    Column("told", Text, nullable=False),  # buckets of durations, statuses: see core/windows
    Index("api_windows_began", "began"),
    sqlite_with_rowid=False,
)
