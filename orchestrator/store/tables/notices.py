"""Who is to be told of what, and who was."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, Table, Text

from orchestrator.store.tables.columns import ID, INSTANT, metadata, partial

notices = Table(
    "notices",
    metadata,
    Column("escalation_id", ID, ForeignKey("escalations.id", ondelete="CASCADE"), primary_key=True),
    Column("target", ID, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("told_at", INSTANT),
    Column("error", Text, nullable=False),
    partial("notices_untold", "due_at", where="told_at IS NULL"),
    sqlite_with_rowid=False,
)

proposal_notices = Table(
    "proposal_notices",
    metadata,
    Column("proposal_id", ID, ForeignKey("proposals.id", ondelete="CASCADE"), primary_key=True),
    Column("target", ID, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("told_at", INSTANT),
    Column("error", Text, nullable=False),
    partial("proposal_notices_untold", "due_at", where="told_at IS NULL"),
    sqlite_with_rowid=False,
)

wait_notices = Table(
    "wait_notices",
    metadata,
    Column("wait_id", ID, ForeignKey("waits.id", ondelete="CASCADE"), primary_key=True),
    Column("occasion", ID, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("target", ID, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("told_at", INSTANT),
    Column("error", Text, nullable=False),
    partial("wait_notices_untold", "due_at", where="told_at IS NULL"),
    sqlite_with_rowid=False,
)

alarm_notices = Table(
    "alarm_notices",
    metadata,
    Column("alarm_id", ID, ForeignKey("slo_alarms.id", ondelete="CASCADE"), primary_key=True),
    Column("target", ID, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("told_at", INSTANT),
    Column("error", Text, nullable=False),
    partial("alarm_notices_untold", "due_at", where="told_at IS NULL"),
    sqlite_with_rowid=False,
)
