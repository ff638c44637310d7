"""Runs without a foreign key to their workflow version (PostgreSQL)."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite would have to write the table anew; its check costs little and stays.
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("runs_workflow_id_fkey", "runs", type_="foreignkey")
