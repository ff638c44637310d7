"""Objectives of workflows: their events counted, their alarms, and who was told of those."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.execute(
        "CREATE INDEX IF NOT EXISTS runs_settled ON runs (settled_at) WHERE settled_at IS NOT NULL"
    )
    op.create_table(
        "slo_counts",
        sa.Column("workflow", ID, primary_key=True),
        sa.Column("objective", ID, primary_key=True),
        sa.Column("span", sa.Integer, primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True),
        sa.Column("good", sa.BigInteger, nullable=False),
        sa.Column("bad", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_marks",
        sa.Column("workflow", ID, primary_key=True),
        sa.Column("objective", ID, primary_key=True),
        sa.Column("counted_until", INSTANT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_alarms",
        sa.Column("id", ID, primary_key=True),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("urgency", sa.Text, nullable=False),
        sa.Column("target", sa.Float, nullable=False),
        sa.Column("long_seconds", sa.Integer, nullable=False),
        sa.Column("bad", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("burn_rate", sa.Float, nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("burning_at", INSTANT, nullable=False),
        sa.Column("closed_at", INSTANT),
    )
    is_open = sa.text("closed_at IS NULL")
    op.create_index(
        "slo_alarms_one_open", "slo_alarms", ["workflow", "kind", "urgency"], unique=True,
        postgresql_where=is_open, sqlite_where=is_open,
    )  # fmt: skip
    op.create_table(
        "alarm_notices",
        sa.Column("alarm_id", ID, primary_key=True),
        sa.Column("target", ID, primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("told_at", INSTANT),
        sa.Column("error", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["alarm_id"], ["slo_alarms.id"], ondelete="CASCADE", name="alarm_notices_alarm_id_fkey"
        ),
        sqlite_with_rowid=False,
    )
    untold = sa.text("told_at IS NULL")
    op.create_index(
        "alarm_notices_untold", "alarm_notices", ["due_at"], postgresql_where=untold,
        sqlite_where=untold,
    )  # fmt: skip
