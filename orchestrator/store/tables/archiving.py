"""Which runs are in files besides, or alone: see `store/archiving.py`."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text

from orchestrator.store.tables.columns import ID, INSTANT, metadata, partial

archive_batches = Table(
    "archive_batches",
    metadata,
    Column("id", ID, primary_key=True),  # a digest of its runs and their heads
    Column("tenant", Text, nullable=False),
    Column("day", ID, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("planned_at", INSTANT, nullable=False),
    Column("held_until", INSTANT),  # somebody is writing it
    Column("manifest", Text),  # its SHA-256; NULL: it is not written yet
    Column("archived_at", INSTANT),
    partial("archive_batches_planned", "planned_at", where="manifest IS NULL"),
)

archived_runs = Table(
    "archived_runs",
    metadata,
    Column("run_id", ID, primary_key=True),  # goes with its run
    Column("batch", ID, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Index("archived_runs_by_batch", "batch", "run_id"),
    sqlite_with_rowid=False,
)
