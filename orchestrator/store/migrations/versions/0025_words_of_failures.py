"""Why runs turned back, and why they escalated, is found by its words (PostgreSQL)."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

WORDS = r"to_tsvector('simple', regexp_replace(left({0}, 2000), '[\W_]+', ' ', 'g'))"
OF_RUNS = f"runs USING gin ({WORDS.format('cause')}) WITH (gin_pending_list_limit = 256)"
OF_ESCALATIONS = f"escalations USING gin ({WORDS.format('detail')})"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # Of runs it is there already: see `prebuilding`.
        op.execute(f"CREATE INDEX IF NOT EXISTS runs_by_cause ON {OF_RUNS} WHERE cause <> ''")
        op.execute(f"CREATE INDEX escalations_by_detail ON {OF_ESCALATIONS}")
