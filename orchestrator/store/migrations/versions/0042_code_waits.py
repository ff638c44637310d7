"""Runs that wait for a worker with the code of their next step."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "code_waits",
        sa.Column("run_id", ID, primary_key=True),
        sa.Column("code", ID, nullable=False),
        sa.Column("since", INSTANT, nullable=False),
    )
    op.create_index("code_waits_by_code", "code_waits", ["code", "since"])
