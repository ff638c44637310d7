"""Attributes by which runs are looked up."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "run_attributes",
        sa.Column("run_id", ID, primary_key=True),
        sa.Column("name", ID, primary_key=True),
        sa.Column("value", ID, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "run_attributes_by_value", "run_attributes", ["value", "name", "run_id", "tenant"]
    )
