"""Runs that a step of another run began: whose they are, and what their end answers."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_FINAL = "standing IN ('abandoned', 'compensated', 'succeeded')"


def upgrade() -> None:
    op.add_column("runs", sa.Column("parent_id", ID))
    op.add_column("runs", sa.Column("wait_id", ID))
    op.add_column("runs", sa.Column("depth", sa.Integer))
    op.execute("CREATE INDEX runs_children ON runs (parent_id, id) WHERE parent_id IS NOT NULL")
    op.execute("CREATE INDEX runs_awaited ON runs (wait_id) WHERE wait_id IS NOT NULL")
    op.execute(f"CREATE INDEX runs_untold ON runs (wait_id) WHERE wait_id IS NOT NULL AND {_FINAL}")
