"""Whether database and processes have room for all connections that the workers may open.

What they open to the broker depends on Celery, so that is counted there, not computed here.
"""

from __future__ import annotations

from orchestrator.ports import DatabaseRoom

SHARE = 0.8  # of what is allowed; the rest is for commands, consoles and restarts
OTHER_FILES = 64  # of a worker: code, logs, pipes, the broker


def database_found(room: DatabaseRoom, workers: int) -> tuple[bool, str]:
    """Whether the database has room, and the numbers."""
    most = workers * room.per_worker
    found = (
        f"{workers} workers open up to {most:,} connections ({room.per_worker} each); "
        f"{room.allowed:,} are allowed, {room.in_use:,} are open now"
    )
    return max(most, room.in_use) <= SHARE * room.allowed, found


def database_advice(room: DatabaseRoom) -> str:
    """What to do where it has none."""
    fitting = int(SHARE * room.allowed) // room.per_worker
    return (
        "raise max_connections, put PgBouncer between (and set database_session_url), or run at "
        f"most {fitting} workers"
    )


def files_found(*, to_apis: int, database: DatabaseRoom | None, allowed: int) -> tuple[bool, str]:
    """Whether one worker may open as many files as it may need, and the numbers."""
    to_database = 0 if database is None else database.per_worker
    most = to_apis + to_database + OTHER_FILES
    found = (
        f"a worker opens up to {most:,} files: {to_apis:,} connections to APIs, {to_database} to "
        f"the database, {OTHER_FILES} others; {allowed:,} are allowed here"
    )
    return most <= allowed, found
