"""Decisions that a second person has to confirm, and how many a job has made of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "proposals",
        sa.Column("id", ID, primary_key=True),
        sa.Column("run_id", ID, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("proposed_by", sa.Text, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("proposed_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("closed_at", INSTANT),
        sa.Column("outcome", sa.Text),
        sa.Column("closed_by", sa.Text),
        sa.Column("closing_reason", sa.Text),
    )
    op.create_index("proposals_run", "proposals", ["run_id"])
    is_open = sa.text("closed_at IS NULL")
    op.create_index(
        "proposals_one_open", "proposals", ["run_id", "subject_id"], unique=True,
        postgresql_where=is_open, sqlite_where=is_open,
    )  # fmt: skip
    op.create_index(
        "proposals_open", "proposals", ["id"], postgresql_where=is_open, sqlite_where=is_open
    )
    op.add_column("jobs", sa.Column("proposed", sa.Integer, nullable=False, server_default="0"))
