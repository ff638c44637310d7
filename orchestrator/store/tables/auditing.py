"""What shows later that no run's audit was changed: see `store/auditing.py`."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, Table, Text

from orchestrator.store.tables.columns import ID, INSTANT, metadata, partial

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", INSTANT, nullable=False),
    Column("upto", ID, nullable=False),  # ids of runs up to here are covered by it or one before
    Column("heads", Integer, nullable=False),
    Column("deletions", Integer, nullable=False),
    Column("content", Text, nullable=False),  # over the heads and deletions that are its own
    Column("previous", Text, nullable=False),  # digest of the one before
    Column("digest", Text, nullable=False),
    Column("key_id", Text),
    Column("signature", LargeBinary),
)

audit_anchors = Table(
    "audit_anchors",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("checkpoint", Integer, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("open", Boolean, nullable=False),  # the run's newest, and more may be told of the run
    Index("audit_anchors_checkpoint", "checkpoint", "run_id"),
    partial("audit_anchors_open", "run_id", where="open"),
    sqlite_with_rowid=False,
)

audit_deletions = Table(
    "audit_deletions",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("checkpoint", Integer),  # NULL: of none yet
    Index("audit_deletions_checkpoint", "checkpoint", "run_id"),
    sqlite_with_rowid=False,
)
