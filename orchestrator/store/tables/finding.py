"""What search would otherwise have to make anew in each process."""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, Table

from orchestrator.store.tables.columns import ID, INSTANT, metadata

search_vectors = Table(
    "search_vectors",
    metadata,
    Column("model", ID, primary_key=True),  # SHA-256 of its files and of how they are used
    Column("text", ID, primary_key=True),  # SHA-256 of it
    Column("vectors", LargeBinary, nullable=False),
    Column("used_at", INSTANT, nullable=False),  # to the day: read or written
    Index("search_vectors_used", "used_at"),
)
