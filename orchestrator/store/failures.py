"""What goes wrong at a database, told in the words of the ports.

lost, refused, timed out, disk full, locked                   Unavailable
pool exhausted                                                Overloaded
deadlock, serialization failure (40P01, 40001)                repeated, then Unavailable
tables missing                                                Unavailable, with what to do
a prepared statement that is not there, or is twice           StoreFailure, with what to do
anything else: a bug, or a schema that is not ours            StoreFailure
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc
from sqlalchemy.engine import URL

from orchestrator.errors import OrchestratorError, Overloaded, Problem, Unavailable

_WAIT_FOR_CONNECTION_SECONDS = 1.0
_REPEATABLE = frozenset({"40P01", "40001"})  # deadlock detected, serialization failure
_MISSING = frozenset({"42P01", "3F000"})  # table, schema
_ELSEWHERE = frozenset({"26000", "42P05"})  # prepared statement: not there, there already
# Connection, resources, locks not available in time, operator intervention, system.
_OUT_OF_REACH = ("08", "53", "55", "57", "58")


class StoreFailure(OrchestratorError):
    """The database refused a statement for a reason that trying again will not cure."""


class Repeatable(Exception):
    """The transaction lost against another one; `engine` tries it again whole."""


def address(url: URL) -> str:
    """Where the database is, without user name, password or options."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    host = url.query.get("host") or url.host or "localhost"
    port = f":{url.port}" if url.port else ""
    return f"{host}{port}/{url.database or ''}"


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn every error of SQLAlchemy and its drivers into one of ours."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _of_driver(error.orig or error, where, lost=error.connection_invalidated) from error
    except _driver_errors() as error:
        raise _of_driver(error, where) from error
    except exc.TimeoutError as error:
        raise _pool_exhausted(where) from error
    except (exc.SQLAlchemyError, ValueError) as error:
        raise StoreFailure(f"database at {where}: {_first_line(error)}") from error
    except OSError as error:
        raise Unavailable("database", where, str(error) or type(error).__name__) from error


def _driver_errors() -> tuple[type[Exception], ...]:
    """SQLite's, and psycopg's where it is loaded: it is an extra."""
    psycopg = sys.modules.get("psycopg")
    return (sqlite3.Error,) if psycopg is None else (sqlite3.Error, psycopg.Error)


def _pool_exhausted(where: str) -> Overloaded:
    problem = Problem(
        place=f"database at {where}",
        found="all connections of this process's pool in use for as long as one may be waited for",
        wanted="a free one",
    )
    return Overloaded(
        "the database is kept busy by others",
        problems=[problem], retry_after_seconds=_WAIT_FOR_CONNECTION_SECONDS,
    )  # fmt: skip


def _of_driver(error: BaseException, where: str, *, lost: bool = False) -> Exception:
    state = getattr(error, "sqlstate", None) or ""
    why = _first_line(error)
    if state in _REPEATABLE:
        return Repeatable(why)
    if state in _MISSING or "no such table" in why:
        return Unavailable("database", where, f"its tables are missing ({why}); migrate it first")
    if lost or _is_out_of_reach(error, state):
        return Unavailable("database", where, why)
    if state in _ELSEWHERE:
        why += "; a pooler lends sessions for one transaction: set database_session_url"
    return StoreFailure(f"database at {where}: {why}")


def _is_out_of_reach(error: BaseException, state: str) -> bool:
    if state:
        return state.startswith(_OUT_OF_REACH)
    # No answer at all; or SQLite, where anything but a wrong statement is the file or the disk.
    wrong = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return type(error).__name__ in ("OperationalError", "InterfaceError") and not wrong


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
