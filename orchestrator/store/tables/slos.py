"""Objectives: what was counted, and what burned too fast."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Integer, Table, Text

from orchestrator.store.tables.columns import ID, INSTANT, metadata, partial
from orchestrator.store.tables.conditions import OPEN

slo_counts = Table(
    "slo_counts",
    metadata,
    Column("workflow", ID, primary_key=True),
    Column("objective", ID, primary_key=True),  # its kind, and its threshold where it has one
    Column("span", Integer, primary_key=True),  # seconds: 60 or 3600
    Column("start", BigInteger, primary_key=True),  # seconds since 1970
    Column("good", BigInteger, nullable=False),
    Column("bad", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

slo_marks = Table(
    "slo_marks",
    metadata,
    Column("workflow", ID, primary_key=True),
    Column("objective", ID, primary_key=True),
    Column("counted_until", INSTANT, nullable=False),
    sqlite_with_rowid=False,
)

slo_alarms = Table(
    "slo_alarms",
    metadata,
    Column("id", ID, primary_key=True),
    Column("workflow", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("urgency", Text, nullable=False),
    Column("target", Float, nullable=False),
    Column("long_seconds", Integer, nullable=False),
    Column("bad", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("burn_rate", Float, nullable=False),
    Column("opened_at", INSTANT, nullable=False),
    Column("burning_at", INSTANT, nullable=False),
    Column("closed_at", INSTANT),
    partial("slo_alarms_one_open", "workflow", "kind", "urgency", where=OPEN, unique=True),
)
