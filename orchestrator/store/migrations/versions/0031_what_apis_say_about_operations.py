"""Beside a workflow version stands what its APIs say about the operations that it calls."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workflows", sa.Column("operations", sa.Text))
