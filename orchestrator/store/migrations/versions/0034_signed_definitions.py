"""A workflow version bears a signature of whoever published it."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workflows", sa.Column("key_id", sa.Text))
    op.add_column("workflows", sa.Column("signature", sa.LargeBinary))
