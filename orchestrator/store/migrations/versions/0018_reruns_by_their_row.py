"""A run that took over what another had done says so in its row."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


ASIDE = "(direction = 'backward' OR path IS NOT NULL OR is_rerun)"
UNENDED = "standing NOT IN ('succeeded', 'compensated', 'abandoned')"


def upgrade() -> None:
    op.add_column(
        "runs", sa.Column("is_rerun", sa.Boolean, nullable=False, server_default=sa.false())
    )
    # Of those that have not ended; nobody asks it of the others.
    op.execute(
        "UPDATE runs SET is_rerun = true WHERE status NOT IN"
        " ('succeeded', 'compensated', 'abandoned') AND EXISTS (SELECT 1 FROM audit"
        " WHERE audit.run_id = runs.id AND audit.kind = 'run.rerun_of')"
    )
    op.execute(f"CREATE INDEX runs_aside ON runs (id) WHERE {ASIDE} AND {UNENDED}")
