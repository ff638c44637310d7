"""The first schema: workflows, runs and their links, attempts, audit, escalations, workers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Written out, not imported from `tables`: a migration stays as it was released.
ANNOUNCED = (
    "owner IS NULL AND published_at IS NOT NULL"
    " AND status IN ('pending', 'running', 'compensating', 'waiting', 'parked')"
)
SLEEPING = "owner IS NULL AND published_at IS NULL AND status IN ('waiting', 'parked')"
OWNED = "owner IS NOT NULL"
OPEN = "closed_at IS NULL"
UNCLAIMED = "closed_at IS NULL AND claimed_by IS NULL"


def _partial(name: str, table: str, columns: list[str], where: str, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(
        name, table, columns, unique=unique, postgresql_where=condition, sqlite_where=condition
    )


def upgrade() -> None:
    op.create_table(
        "workflows",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("published_at", INSTANT, nullable=False),
        sa.Column("published_by", sa.Text, nullable=False),
        sa.UniqueConstraint("name", "version"),
    )

    op.create_table(
        "runs",
        sa.Column("id", ID, primary_key=True),
        sa.Column("workflow_id", ID, sa.ForeignKey("workflows.id"), nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("idempotency_key", sa.Text, nullable=False),
        sa.Column("inputs_digest", sa.Text, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("step", sa.Integer),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("owner", ID),
        sa.Column("claims", sa.Integer, nullable=False),
        sa.Column("hop_id", ID),
        sa.Column("parent_hop_id", ID),
        sa.Column("wake_at", INSTANT),
        sa.Column("deadline_at", INSTANT),
        sa.Column("published_at", INSTANT),
        sa.Column("cancel", sa.Text),
        sa.Column("cancel_wish", sa.Text),
        sa.Column("cancel_reason", sa.Text, nullable=False, server_default=""),
        sa.Column("cause", sa.Text, nullable=False, server_default=""),
        sa.Column("outputs", sa.Text),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT),
        sa.Column("settled_at", INSTANT),
        sa.Column("audit_seq", sa.Integer, nullable=False),
        sa.Column("audit_shift", sa.Integer, nullable=False, server_default="0"),
        sa.UniqueConstraint("tenant", "idempotency_key"),
        postgresql_with={"fillfactor": "70"},
    )
    _partial("runs_announced", "runs", ["published_at", "lane", "direction"], ANNOUNCED)
    _partial("runs_sleeping", "runs", ["wake_at", "lane", "direction"], SLEEPING)
    _partial("runs_owned", "runs", ["owner", "lane", "direction"], OWNED)
    op.create_index("runs_status", "runs", ["status", "id"])
    op.create_table(
        "run_steps",
        sa.Column("run_id", ID, primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True),
        sa.Column("direction", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("doubt", sa.Boolean, nullable=False),
        sa.Column("first_started_at", INSTANT),
        sa.Column("sequence", sa.Integer),
        sa.Column("request", sa.Text),
        sa.Column("outputs", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("started_at", INSTANT),
        sa.Column("finished_at", INSTANT),
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": "70"},
    )

    op.create_table(
        "attempts",
        sa.Column("run_id", ID, primary_key=True),
        sa.Column("id", ID, primary_key=True),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("status_code", sa.Integer),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )

    op.create_table(
        "audit",
        sa.Column("run_id", ID, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )

    op.create_table(
        "escalations",
        sa.Column("id", ID, primary_key=True),
        sa.Column("run_id", ID, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("step", sa.Integer),
        sa.Column("step_id", sa.Text),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("claimed_by", sa.Text),
        sa.Column("claimed_at", INSTANT),
        sa.Column("closed_at", INSTANT),
        sa.Column("resolution", sa.Text),
        sa.Column("closed_by", sa.Text),
        sa.Column("closing_reason", sa.Text),
    )
    op.create_index("escalations_run", "escalations", ["run_id"])
    _partial("escalations_one_open", "escalations", ["run_id"], OPEN, unique=True)
    _partial("escalations_open", "escalations", ["id"], OPEN)
    _partial("escalations_unclaimed", "escalations", ["id"], UNCLAIMED)
    op.create_table(
        "workers",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("heartbeat_at", INSTANT, nullable=False),
        sa.Column("active_runs", sa.Integer, nullable=False),
        sa.Column("reserved", sa.Integer, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
    )
