"""Who was told of which escalation."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("escalation_id", ID, primary_key=True),
        sa.Column("target", ID, primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("told_at", INSTANT),
        sa.Column("error", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["escalation_id"],
            ["escalations.id"],
            ondelete="CASCADE",
            name="notices_escalation_id_fkey",
        ),
        sqlite_with_rowid=False,
    )
    untold = sa.text("told_at IS NULL")
    op.create_index(
        "notices_untold", "notices", ["due_at"], postgresql_where=untold, sqlite_where=untold
    )
