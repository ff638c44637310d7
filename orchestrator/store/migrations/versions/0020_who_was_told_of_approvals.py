"""Who was told of which approval: that it is asked, again after a while, and that time is over."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "wait_notices",
        sa.Column("wait_id", ID, primary_key=True),
        sa.Column("occasion", ID, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("target", ID, primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("told_at", INSTANT),
        sa.Column("error", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["wait_id"], ["waits.id"], ondelete="CASCADE", name="wait_notices_wait_id_fkey"
        ),
        sqlite_with_rowid=False,
    )
    untold = sa.text("told_at IS NULL")
    op.create_index(
        "wait_notices_untold", "wait_notices", ["due_at"], postgresql_where=untold,
        sqlite_where=untold,
    )  # fmt: skip
    expired = sa.text("outcome = 'expired' AND asks = 'approval'")
    op.create_index(
        "waits_expired", "waits", ["closed_at"], postgresql_where=expired, sqlite_where=expired
    )
