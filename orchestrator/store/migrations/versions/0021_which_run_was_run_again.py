"""A run that took over what another had done names it, and is found by it."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ASIDE = "(direction = 'backward' OR path IS NOT NULL OR rerun_of IS NOT NULL)"
UNENDED = "standing NOT IN ('succeeded', 'compensated', 'abandoned')"


def upgrade() -> None:
    op.add_column("runs", sa.Column("rerun_of", ID))
    _name_the_old_runs(op.get_bind())
    op.drop_index("runs_aside", "runs")
    op.execute(f"CREATE INDEX runs_aside ON runs (id) WHERE {ASIDE} AND {UNENDED}")
    op.execute("CREATE INDEX runs_reruns ON runs (rerun_of, id) WHERE rerun_of IS NOT NULL")
    op.drop_column("runs", "is_rerun")


def _name_the_old_runs(connection: sa.Connection) -> None:
    """Of reruns that are marked; those that had ended before any was are told by their audit."""
    connection.execute(sa.text("UPDATE runs SET rerun_of = '' WHERE is_rerun"))
    told = sa.text(
        "SELECT audit.run_id, audit.data FROM runs JOIN audit ON audit.run_id = runs.id"
        " WHERE runs.is_rerun AND audit.kind = 'run.rerun_of'"
    )
    name = sa.text("UPDATE runs SET rerun_of = :old WHERE id = :new")
    # Read here: PostgreSQL's own reader stumbles over what a reason may hold (\u0000).
    for new, data in connection.execute(told).all():
        connection.execute(name, {"old": json.loads(data)["data"]["run"], "new": new})
