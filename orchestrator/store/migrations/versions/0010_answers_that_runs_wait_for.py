"""Signals and approvals: what runs wait for, and what answered them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "waits",
        sa.Column("id", ID, primary_key=True),
        sa.Column("run_id", ID, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("step_id", sa.Text, nullable=False),
        sa.Column("asks", sa.Text, nullable=False),
        sa.Column("signal", sa.Text),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("remind_seconds", sa.Float),
        sa.Column("remind_at", INSTANT),
        sa.Column("reminders", sa.Integer, nullable=False, server_default="0"),
        sa.Column("closed_at", INSTANT),
        sa.Column("outcome", sa.Text),
        sa.Column("answer", sa.Text),
        sa.Column("closed_by", sa.Text),
        sa.Column("via", sa.Text),
        sa.UniqueConstraint("run_id", "step", "attempt"),
    )
    asking = sa.text("closed_at IS NULL AND asks = 'approval'")
    op.create_index(
        "waits_open_approvals", "waits", ["id"], postgresql_where=asking, sqlite_where=asking
    )
    op.create_table(
        "signals",
        sa.Column(
            "run_id", ID, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True,
            nullable=False,
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("sent_at", INSTANT, nullable=False),
        sa.Column("sent_by", sa.Text, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("wait_id", ID),
        sa.UniqueConstraint("run_id", "name", "key"),
    )  # fmt: skip
