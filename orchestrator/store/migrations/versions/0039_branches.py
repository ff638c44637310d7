"""Branches of parallel blocks: which one a run is, of which run, and what its failure means."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("branch", sa.Text))
    op.add_column("runs", sa.Column("whole_id", ID))
    op.add_column("runs", sa.Column("fails_fast", sa.Boolean))
