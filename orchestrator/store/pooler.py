"""Whether a pooler stands before PostgreSQL and lends one session to many, for a transaction each.

PgBouncer in transaction mode does. A lock that a session holds, a setting and a prepared statement
are then somebody else's after the next COMMIT. Nobody says so by itself, but it shows: whoever
speaks for a server gives its clients process ids of its own making, and two clients that are
connected at once find themselves in the same session.
"""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from orchestrator.errors import InvalidSetting, Problem
from orchestrator.store.failures import address, translated

CONNECT_SECONDS = 5
_LOOKS = 4
_LOOK_SECONDS = 5.0  # a pooler whose sessions are all taken lets others wait
WANTED = "PostgreSQL itself, or a pooler in session mode, in database_session_url"


async def connect_plainly(url: URL) -> psycopg.AsyncConnection[Any]:
    """A connection of its own, outside of any pool of ours. Raises psycopg.Error."""
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return await psycopg.AsyncConnection.connect(
        plain, autocommit=True, prepare_threshold=None, connect_timeout=CONNECT_SECONDS,
        keepalives_idle=5, keepalives_interval=2, keepalives_count=3, tcp_user_timeout=10_000,
    )  # fmt: skip


async def is_shared(url: URL) -> bool:
    """Whether clients of this address were seen to share a session. Raises Unavailable.

    Where nobody is in between this is one connection and one statement. A pooler that is kept busy
    by others may hide it.
    """
    with translated(address(url)):
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                return await _look(url)
        except TimeoutError:
            return False


async def refuse_shared(url: URL) -> None:
    """Raises InvalidSetting where `is_shared`, Unavailable."""
    if await is_shared(url):
        problem = Problem(
            place="setting database_session_url, or database_url where that is empty",
            found=f"{address(url)}, where a pooler lends sessions for one transaction",
            wanted=WANTED,
        )
        raise InvalidSetting("there is no session with the database", problems=[problem])


async def _look(url: URL) -> bool:
    async with await connect_plainly(url) as one:
        first = await _session_of(one)
        if first == one.info.backend_pid:
            return False
        for _ in range(_LOOKS):
            async with await connect_plainly(url) as other:
                found = await _session_of(one), await _session_of(other)
            if found[0] != first or found[0] == found[1]:
                return True
    return False


async def _session_of(connection: psycopg.AsyncConnection[Any]) -> int:
    """The process of the server that answers it."""
    row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    assert row is not None, "it answers with one row"
    return int(row[0])
