"""Indexes that a run on its way does not touch; attempts and audit in partitions (PostgreSQL)."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STANDING = (
    "CASE WHEN status IN ('pending', 'running', 'compensating') THEN 'due'"
    " WHEN status IN ('waiting', 'parked') THEN 'timed' ELSE status END"
)
ANNOUNCED = "owner IS NULL AND published_at IS NOT NULL AND standing IN ('due', 'timed')"
SLEEPING = "owner IS NULL AND published_at IS NULL AND standing = 'timed'"
AT_REST = "standing NOT IN ('due', 'timed')"
HOT = "fillfactor = 50, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0.05"
APPEND_ONLY = "autovacuum_freeze_min_age = 0"
KEYS = {"audit": "run_id, seq", "attempts": "run_id, id"}
WEEKS_AHEAD = 4
WEEK = timedelta(days=7)


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    if on_postgresql:
        # Large tables are written anew or looked through; nothing else is to end that.
        op.execute("SET LOCAL statement_timeout = 0")
        op.execute("ALTER TABLE runs SET (fillfactor = 100)")  # what is old is not written again
    _stand(on_postgresql)
    if on_postgresql:
        for table in ("runs", "run_steps"):
            op.execute(f"ALTER TABLE {table} SET ({HOT})")
        now = op.get_bind().execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        for table, key in KEYS.items():
            _part(table, key, now.astimezone(UTC))


def _stand(on_postgresql: bool) -> None:
    for name in ("runs_status", "runs_announced", "runs_sleeping"):
        op.drop_index(name, "runs")
    kind = "STORED" if on_postgresql else "VIRTUAL"
    op.execute(f"ALTER TABLE runs ADD COLUMN standing TEXT GENERATED ALWAYS AS ({STANDING}) {kind}")
    for name, columns, where in (
        ("runs_announced", "published_at, lane, direction", ANNOUNCED),
        ("runs_sleeping", "wake_at, lane, direction", SLEEPING),
        ("runs_at_rest", "standing, id", AT_REST),
    ):
        op.execute(f"CREATE INDEX {name} ON runs ({columns}) WHERE {where}")


def _part(table: str, key: str, now: datetime) -> None:
    """Put a partitioned table in the table's place; the table as it is becomes its first part."""
    monday = now - (now - datetime(2024, 1, 1, tzinfo=UTC)) % WEEK
    before, rest = f"{table}_before", f"{table}_default"
    newest = op.get_bind().execute(sa.text(f"SELECT 1 FROM {table} LIMIT 1")).first()
    end = monday if newest is None else monday + WEEK
    low = _first_id(end)
    op.execute(f"ALTER TABLE {table} RENAME TO {before}")
    op.execute(f"ALTER TABLE {before} RENAME CONSTRAINT {table}_pkey TO {before}_pkey")
    op.execute(f"ALTER TABLE {before} SET ({APPEND_ONLY})")
    op.execute(
        f"CREATE TABLE {table} (LIKE {before} INCLUDING DEFAULTS, PRIMARY KEY ({key}))"
        " PARTITION BY RANGE (run_id)"
    )
    op.execute(f"CREATE TABLE {rest} PARTITION OF {table} DEFAULT WITH ({APPEND_ONLY})")
    op.execute(
        f"WITH moved AS (DELETE FROM {before} WHERE run_id >= '{low}' RETURNING *)"
        f" INSERT INTO {rest} SELECT * FROM moved"
    )
    op.execute(
        f"ALTER TABLE {table} ATTACH PARTITION {before} FOR VALUES FROM (MINVALUE) TO ('{low}')"
    )
    while end <= monday + WEEK * WEEKS_AHEAD:
        op.execute(
            f"CREATE TABLE {table}_{end:%Y%m%d} PARTITION OF {table}"
            f" FOR VALUES FROM ('{_first_id(end)}') TO ('{_first_id(end + WEEK)}')"
            f" WITH ({APPEND_ONLY})"
        )
        end += WEEK


def _first_id(at: datetime) -> str:
    """The lowest UUIDv7 of a time, as far as it is needed."""
    milliseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}"
