"""Who has accepted compensations that were derived."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "acceptances",
        sa.Column("id", ID, primary_key=True),
        sa.Column("workflow", ID, nullable=False),
        sa.Column("step", ID, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("compensation", sa.Text, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("accepted_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("acceptances_workflow", "acceptances", ["workflow", "id"])
