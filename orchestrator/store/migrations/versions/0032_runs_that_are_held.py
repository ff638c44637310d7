"""Runs that a person has to approve before they begin are looked up by their approvals."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

_HOLDING = sa.text("closed_at IS NULL AND attempt = 0")


def upgrade() -> None:
    op.create_index(
        "waits_holding", "waits", ["run_id"], postgresql_where=_HOLDING, sqlite_where=_HOLDING
    )
