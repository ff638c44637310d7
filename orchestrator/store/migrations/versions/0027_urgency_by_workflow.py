"""Workflows say how bad an escalation of their runs is, and how soon somebody should decide."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("escalations", sa.Column("severity", sa.Text))
    op.add_column("escalations", sa.Column("due_seconds", sa.Float))
