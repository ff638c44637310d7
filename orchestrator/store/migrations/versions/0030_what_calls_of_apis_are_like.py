"""What calls of APIs are like: latencies, waits, statuses, by operation and stretch of time."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "api_windows",
        sa.Column("api", ID, primary_key=True),
        sa.Column("operation", ID, primary_key=True),
        sa.Column("began", INSTANT, primary_key=True),
        sa.Column("worker", ID, primary_key=True),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("throttled", sa.BigInteger, nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("api_windows_began", "api_windows", ["began"])
