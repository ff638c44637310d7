"""Who was told of which proposal, which a second person has to confirm."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "proposal_notices",
        sa.Column("proposal_id", ID, primary_key=True),
        sa.Column("target", ID, primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("told_at", INSTANT),
        sa.Column("error", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["proposal_id"],
            ["proposals.id"],
            ondelete="CASCADE",
            name="proposal_notices_proposal_id_fkey",
        ),
        sqlite_with_rowid=False,
    )
    untold = sa.text("told_at IS NULL")
    op.create_index(
        "proposal_notices_untold",
        "proposal_notices",
        ["due_at"],
        postgresql_where=untold,
        sqlite_where=untold,
    )
