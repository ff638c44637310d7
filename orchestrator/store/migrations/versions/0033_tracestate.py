"""What tracing systems keep beside the context that a run was submitted in (W3C tracestate)."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("tracestate", sa.Text))
