"""By what a run of a software agent is the same wish as another."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("agent_uses", sa.Column("intent", sa.Text, nullable=False, server_default=""))
    op.add_column(
        "agent_uses", sa.Column("repeats", sa.Integer, nullable=False, server_default="0")
    )
    op.create_index("agent_uses_by_intent", "agent_uses", ["intent", "agent", "tenant", "at"])
