"""Lists of runs by tenant, workflow and status go through indexes alone."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

AT_REST = "standing NOT IN ('due', 'timed')"
INDEXES = (
    f"runs_by_standing ON runs (standing, id, workflow, tenant) WHERE {AT_REST}",
    "runs_by_tenant ON runs (tenant, id, workflow)",
    "runs_by_workflow ON runs (workflow, id, tenant)",
)


def upgrade() -> None:
    for index in INDEXES:  # on PostgreSQL they are there: see `prebuilding`
        op.execute(f"CREATE INDEX IF NOT EXISTS {index}")
    op.execute("DROP INDEX runs_at_rest")
