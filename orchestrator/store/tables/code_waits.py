"""Runs that wait for a worker with the code of their next step."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from orchestrator.store.tables.columns import ID, INSTANT, metadata

code_waits = Table(
    "code_waits",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("code", ID, nullable=False),
    Column("since", INSTANT, nullable=False),
    Index("code_waits_by_code", "code", "since"),
)
