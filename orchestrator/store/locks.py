"""Death by held lock: the kernel frees what a process held, however it ended."""

from __future__ import annotations

from pathlib import Path

from orchestrator.ports import WorkerLocks
from orchestrator.store.engine import parse_url


def open_worker_locks(database_url: str) -> WorkerLocks:
    """The locks that belong to this database. Raises InvalidSetting for a URL we cannot use."""
    url = parse_url(database_url)
    if url.get_backend_name() == "sqlite":
        from orchestrator.store.locks_files import FileLocks  # noqa: PLC0415 -- needs fcntl

        return FileLocks(Path(f"{url.database}.workers"))
    from orchestrator.store.locks_advisory import AdvisoryLocks  # noqa: PLC0415 -- needs psycopg

    return AdvisoryLocks(url)
