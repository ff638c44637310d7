"""A run's writes are numbered: one that its sender gave up cannot come after a later one."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("write_number", sa.Integer, nullable=False, server_default="0"))
