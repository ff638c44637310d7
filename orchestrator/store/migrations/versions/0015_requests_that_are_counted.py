"""How many requests APIs were let have."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "advances",
        sa.Column("api", ID, primary_key=True),
        sa.Column("part", ID, primary_key=True),
        sa.Column("total", sa.BigInteger, primary_key=True),
        sa.Column("upto", sa.BigInteger, nullable=False),
        sa.Column("written_at", INSTANT, nullable=False),
        sqlite_with_rowid=False,
    )
