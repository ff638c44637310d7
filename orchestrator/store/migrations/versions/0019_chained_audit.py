"""The audit of each run is chained, and checkpoints say how far the chains had come.

What is there already stays outside of the chains: checkpoint 0 says when they began.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("audit_head", sa.LargeBinary))
    op.add_column("audit", sa.Column("chain", sa.LargeBinary))
    op.create_table(
        "audit_checkpoints",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("upto", ID, nullable=False),
        sa.Column("heads", sa.Integer, nullable=False),
        sa.Column("deletions", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text),
        sa.Column("signature", sa.LargeBinary),
    )
    op.create_table(
        "audit_anchors",
        sa.Column("run_id", ID, primary_key=True),
        sa.Column("checkpoint", sa.Integer, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("audit_anchors_checkpoint", "audit_anchors", ["checkpoint", "run_id"])
    is_open = sa.text("open")
    op.create_index(
        "audit_anchors_open", "audit_anchors", ["run_id"], postgresql_where=is_open,
        sqlite_where=is_open,
    )  # fmt: skip
    op.create_table(
        "audit_deletions",
        sa.Column("run_id", ID, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("checkpoint", sa.Integer),
        sqlite_with_rowid=False,
    )
    op.create_index("audit_deletions_checkpoint", "audit_deletions", ["checkpoint", "run_id"])
    now = "now()"
    if op.get_bind().dialect.name == "sqlite":
        now = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
    op.execute(
        "INSERT INTO audit_checkpoints"
        " (number, at, upto, heads, deletions, content, previous, digest)"
        f" SELECT 0, {now}, COALESCE(max(id), ''), 0, 0, '', '', '' FROM runs"
    )
