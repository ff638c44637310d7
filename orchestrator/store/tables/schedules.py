"""Schedules, and what became of their times."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text, false

from orchestrator.store.tables.columns import ID, INSTANT, metadata, partial

schedules = Table(
    "schedules",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", ID, nullable=False),
    Column("name", ID, nullable=False),
    Column("version", Integer, nullable=False),
    Column("schedule", Text, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("next_at", INSTANT),
    Column("due_at", INSTANT),
    Column("turn", Integer, nullable=False),
    Column("changed_at", INSTANT, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    partial("schedules_by_name", "tenant", "name", where="NOT deleted", unique=True),
    partial("schedules_due", "due_at", where="due_at IS NOT NULL"),
)

schedule_changes = Table(
    "schedule_changes",
    metadata,
    Column("schedule_id", ID, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("schedule", Text, nullable=False),
)

firings = Table(
    "firings",
    metadata,
    Column("schedule_id", ID, primary_key=True),
    Column("at", INSTANT, primary_key=True),
    Column("since", INSTANT),
    Column("version", Integer, nullable=False),  # of the schedule
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("run_id", ID),
    Column("reason", Text, nullable=False),
    Column("decided_at", INSTANT, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("ending", Boolean, nullable=False, server_default=false()),  # its run was asked to end
    Column("goes_on", Boolean, nullable=False),  # later times may have to wait for it
    partial("firings_that_go_on", "schedule_id", "at", where="goes_on"),
    partial("firings_due", "decided_at", where="state = 'due'"),
    partial("firings_queued", "schedule_id", where="state = 'queued'"),
    Index("firings_by_age", "decided_at"),
    sqlite_with_rowid=False,
)
