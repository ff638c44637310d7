"""Aliases of versions, and what was done to them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "workflow_aliases",
        sa.Column("workflow", sa.Text, primary_key=True),
        sa.Column("alias", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        *_who(),
    )
    op.create_table(
        "workflow_alias_changes",
        sa.Column("id", ID, primary_key=True),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("version", sa.Integer),
        *_who(),
    )
    op.create_index(
        "workflow_alias_changes_by_workflow", "workflow_alias_changes", ["workflow", "id"]
    )


def _who() -> list["sa.Column[object]"]:
    return [
        sa.Column("share", sa.Float, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    ]
