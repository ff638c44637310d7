"""Indexes that are built before the migration that wants them, while workers go on writing.

A migration is one transaction, and an index built in it would hold up every write to its table for
as long as it takes to go through all runs. PostgreSQL builds one beside the writers outside of a
transaction only; the migration then finds it there. A build that was broken off leaves an index
that is not valid, which is dropped and built again.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_AT_REST = "standing NOT IN ('due', 'timed')"
_WORDS = r"to_tsvector('simple', regexp_replace(left(cause, 2000), '[\W_]+', ' ', 'g'))"
INDEXES = {
    "runs_by_standing": (f"runs (standing, id, workflow, tenant) WHERE {_AT_REST}", "0013"),
    "runs_by_tenant": ("runs (tenant, id, workflow)", "0013"),
    "runs_by_workflow": ("runs (workflow, id, tenant)", "0013"),
    "runs_by_cause": (
        f"runs USING gin ({_WORDS}) WITH (gin_pending_list_limit = 256) WHERE cause <> ''", "0025"
    ),
}  # fmt: skip
"""By name: the shape as the migration wants it that has it, and that migration."""

_SINCE = "0003"
"""The revision that has their columns."""
_TABLES = text("SELECT to_regclass('alembic_version') IS NOT NULL")
_REVISION = text("SELECT max(version_num) FROM alembic_version")
_THERE = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


async def prebuild(connection: AsyncConnection) -> list[str]:
    """Build those that are missing; their names. Nothing where there are no runs to go through.

    The connection must commit by itself (AUTOCOMMIT), and nobody else may migrate.
    """
    built: list[str] = []
    if not (await connection.execute(_TABLES)).scalar():
        return built
    revision = (await connection.execute(_REVISION)).scalar() or ""
    if revision < _SINCE:
        return built
    await connection.execute(text("SET statement_timeout = 0"))
    for name, (shape, until) in INDEXES.items():
        if revision >= until:
            continue
        valid = (await connection.execute(_THERE, {"name": name})).scalar()
        if valid:
            continue
        if valid is not None:
            await connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
        await connection.execute(text(f"CREATE INDEX CONCURRENTLY {name} ON {shape}"))
        built.append(name)
    return built
