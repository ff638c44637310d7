"""Maps over data: their counts, their items, and the runs of those that have begun."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("map_id", ID))
    op.add_column("runs", sa.Column("item", sa.Integer))
    op.execute("DROP INDEX runs_children")
    op.execute(
        "CREATE INDEX runs_children ON runs (parent_id, id)"
        " WHERE parent_id IS NOT NULL AND map_id IS NULL"
    )
    op.create_table(
        "maps",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("step_id", sa.Text, nullable=False),
        sa.Column("workflow_id", ID, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("given", sa.Text, nullable=False),
        sa.Column("undoes", ID),
        sa.Column("cursor", sa.Integer),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("next", sa.Integer, nullable=False),
        sa.Column("running", sa.Integer, nullable=False),
        sa.Column("succeeded", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("parallel", sa.Integer, nullable=False),
        sa.Column("most_failures", sa.Integer, nullable=False),
        sa.Column("stopped", sa.Text, nullable=False),
        sa.Column("cancel", sa.Text),
        sa.Column("closed_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="maps_pkey"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="maps_run_id_fkey", ondelete="CASCADE"
        ),
    )
    op.execute("CREATE INDEX maps_open ON maps (id) WHERE closed_at IS NULL")
    op.execute("CREATE INDEX maps_of_runs ON maps (run_id, id)")
    op.create_table(
        "map_values",
        sa.Column("map_id", ID, nullable=False),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("items", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("map_id", "chunk", name="map_values_pkey"),
        sa.ForeignKeyConstraint(
            ["map_id"], ["maps.id"], name="map_values_map_id_fkey", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "map_items",
        sa.Column("map_id", ID, nullable=False),
        sa.Column("item", sa.Integer, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("place", sa.Integer),
        sa.PrimaryKeyConstraint("map_id", "item", name="map_items_pkey"),
        sqlite_with_rowid=False,
    )
    op.execute("CREATE INDEX map_items_outcomes ON map_items (map_id, outcome, item)")
    op.execute(
        "CREATE UNIQUE INDEX map_items_places ON map_items (map_id, place) WHERE place IS NOT NULL"
    )
