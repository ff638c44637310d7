"""What is paused, by whom, why and until when."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def _index(name: str, column: str, where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(
        name, "pauses", [column], unique=unique, postgresql_where=condition, sqlite_where=condition
    )


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("id", ID, primary_key=True),
        sa.Column("scope", ID, nullable=False),
        sa.Column("run_id", ID),
        sa.Column("workflow", sa.Text),
        sa.Column("tenant", sa.Text),
        sa.Column("also_undoing", sa.Boolean, nullable=False),
        sa.Column("paused_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("until", INSTANT),
        sa.Column("ended_at", INSTANT),
        sa.Column("ended_by", sa.Text),
        sa.Column("ending_reason", sa.Text),
    )
    _index("pauses_one_active", "scope", "ended_at IS NULL", unique=True)
    _index("pauses_of_runs", "run_id", "ended_at IS NULL AND run_id IS NOT NULL")
    _index("pauses_of_many", "id", "ended_at IS NULL AND run_id IS NULL")
