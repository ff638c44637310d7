"""Traces: the context a run was submitted in, and settled runs whose traces are to be told of."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("traceparent", sa.Text))
    op.create_table(
        "traces",
        sa.Column("run_id", ID, primary_key=True),
        sa.Column("due_at", INSTANT),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], ondelete="CASCADE", name="traces_run_id_fkey"
        ),
        sqlite_with_rowid=False,
    )
    for name, column, where in (
        ("traces_due", "due_at", "due_at IS NOT NULL"),
        ("traces_resting", "run_id", "due_at IS NULL"),
    ):
        some = sa.text(where)
        op.create_index(name, "traces", [column], postgresql_where=some, sqlite_where=some)
