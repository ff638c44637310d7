"""Aliases of versions, and what was done to them."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, Table, Text

from orchestrator.store.tables.columns import ID, INSTANT, metadata

workflow_aliases = Table(
    "workflow_aliases",
    metadata,
    Column("workflow", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("share", Float, nullable=False),
    Column("changed_at", INSTANT, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

workflow_alias_changes = Table(
    "workflow_alias_changes",
    metadata,
    Column("id", ID, primary_key=True),
    Column("workflow", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("version", Integer),  # null: it was removed
    Column("share", Float, nullable=False),
    Column("changed_at", INSTANT, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("workflow_alias_changes_by_workflow", "workflow", "id"),
)
