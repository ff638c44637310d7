"""Vectors of workflows' texts, kept for processes that search."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0037"
down_revision = "0035"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "search_vectors",
        sa.Column("model", ID, primary_key=True),
        sa.Column("text", ID, primary_key=True),
        sa.Column("vectors", sa.LargeBinary, nullable=False),
        sa.Column("used_at", INSTANT, nullable=False),
    )
    op.create_index("search_vectors_used", "search_vectors", ["used_at"])
