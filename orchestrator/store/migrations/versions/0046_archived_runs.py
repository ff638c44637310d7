"""Runs that are in an archive, and its batches."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0046"
down_revision = "0043"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")
PLANNED = sa.text("manifest IS NULL")


def upgrade() -> None:
    op.create_table(
        "archive_batches",
        sa.Column("id", ID, primary_key=True),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("day", ID, nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("planned_at", INSTANT, nullable=False),
        sa.Column("held_until", INSTANT),
        sa.Column("manifest", sa.Text()),
        sa.Column("archived_at", INSTANT),
    )
    op.create_index(
        "archive_batches_planned", "archive_batches", ["planned_at"],
        postgresql_where=PLANNED, sqlite_where=PLANNED,
    )  # fmt: skip
    op.create_table(
        "archived_runs",
        sa.Column("run_id", ID, primary_key=True),
        sa.Column("batch", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("archived_runs_by_batch", "archived_runs", ["batch", "run_id"])
