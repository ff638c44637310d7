"""Schedules, what was done to them, and what became of their times."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", ID, primary_key=True),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("schedule", sa.Text, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("next_at", INSTANT),
        sa.Column("due_at", INSTANT),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    _partial("schedules_by_name", "schedules", ["tenant", "name"], "NOT deleted", unique=True)
    _partial("schedules_due", "schedules", ["due_at"], "due_at IS NOT NULL")
    op.create_table(
        "schedule_changes",
        sa.Column("schedule_id", ID, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("schedule", sa.Text, nullable=False),
    )
    op.create_table(
        "firings",
        sa.Column("schedule_id", ID, primary_key=True),
        sa.Column("at", INSTANT, primary_key=True),
        sa.Column("since", INSTANT),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("run_id", ID),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided_at", INSTANT, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("ending", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("goes_on", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    _partial("firings_that_go_on", "firings", ["schedule_id", "at"], "goes_on")
    _partial("firings_due", "firings", ["decided_at"], "state = 'due'")
    _partial("firings_queued", "firings", ["schedule_id"], "state = 'queued'")
    op.create_index("firings_by_age", "firings", ["decided_at"])


def _partial(
    name: str, table: str, columns: list[str], where: str, *, unique: bool = False
) -> None:
    condition = sa.text(where)
    op.create_index(
        name, table, columns, unique=unique, postgresql_where=condition, sqlite_where=condition
    )
