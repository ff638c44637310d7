"""Policies of software agents, and what was counted under them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "agent_policies",
        sa.Column("tenant", ID, primary_key=True),
        sa.Column("agent", ID, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
    )
    op.create_table(
        "agent_policy_changes",
        sa.Column("tenant", ID, primary_key=True),
        sa.Column("agent", ID, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
    )
    op.create_table(
        "agent_uses",
        sa.Column("run_id", ID, primary_key=True),
        sa.Column("agent", ID, primary_key=True),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("ended", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("agent_uses_by_time", "agent_uses", ["tenant", "agent", "at"])
    open_ones = sa.text("ended IS NULL")
    op.create_index(
        "agent_uses_open", "agent_uses", ["tenant", "agent", "run_id"],
        postgresql_where=open_ones, sqlite_where=open_ones,
    )  # fmt: skip
    op.create_table(
        "agent_spending",
        sa.Column("tenant", ID, primary_key=True),
        sa.Column("agent", ID, primary_key=True),
        sa.Column("period", ID, primary_key=True),
        sa.Column("what", ID, primary_key=True),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
