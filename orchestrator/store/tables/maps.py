"""Maps over data: how far each has come, its items, and the runs of those that have begun."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text

from orchestrator.store.tables.columns import ID, INSTANT, metadata, partial

maps = Table(
    "maps",
    metadata,
    Column("id", ID, primary_key=True),  # that of the wait which its end answers
    Column("run_id", ID, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("step_id", Text, nullable=False),
    Column("workflow_id", ID, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("given", Text, nullable=False),  # what all items get
    Column("undoes", ID),  # the map whose items it undoes
    Column("cursor", Integer),  # then: the place in the order of completion it has come to
    Column("total", Integer, nullable=False),
    Column("next", Integer, nullable=False),  # so many have begun
    Column("running", Integer, nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("parallel", Integer, nullable=False),
    Column("most_failures", Integer, nullable=False),
    Column("stopped", Text, nullable=False),  # why no further item begins; empty: they do
    Column("cancel", Text),  # how those that run are to be cancelled
    Column("closed_at", INSTANT),
    partial("maps_open", "id", where="closed_at IS NULL"),
    Index("maps_of_runs", "run_id", "id"),
)

map_values = Table(
    "map_values",
    metadata,
    Column("map_id", ID, ForeignKey("maps.id", ondelete="CASCADE"), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("items", Text, nullable=False),
    sqlite_with_rowid=False,
)

map_items = Table(
    "map_items",
    metadata,
    Column("map_id", ID, primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("run_id", ID, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("place", Integer),  # in the order of completion of those that succeeded
    # By outcome and index: pages of one outcome, and those that run.
    Index("map_items_outcomes", "map_id", "outcome", "item"),
    partial("map_items_places", "map_id", "place", where="place IS NOT NULL", unique=True),
    sqlite_with_rowid=False,
)
